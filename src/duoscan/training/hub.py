"""Is a model hub there at all? Asked before a library tries for minutes."""

from __future__ import annotations

from duoscan.errors import RecipeError
from duoscan.inference.hub import silent_hub

OFFLINE = (
    "offline these work: a folder of weights, plain:small, or model.pretrained=false with a folder or monai:DenseNet121"
)


def check_hub(spec: str) -> None:
    """Refuse to go to the Hugging Face hub where nobody answers.

    Args:
        spec: The backbone as a person named it.

    Raises:
        RecipeError: ``HF_HUB_OFFLINE`` is set, or there is no connection within two seconds.
    """
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise RecipeError(
            f"model.backbone '{spec}' cannot be loaded: HF_HUB_OFFLINE is set, and it is not in the cache; {OFFLINE}"
        )
    if host := silent_hub():
        raise RecipeError(f"model.backbone '{spec}' cannot be loaded: no connection to {host}; {OFFLINE}")


def is_cached(name: str, commit: str, *, weights: bool) -> bool:
    """Whether a model lies on this machine already, so that nobody need be asked.

    Args:
        name: ``owner/name``.
        commit: Which of its states.
        weights: Whether its weights are wanted too.
    """
    from huggingface_hub import try_to_load_from_cache

    def is_there(file: str) -> bool:
        return isinstance(try_to_load_from_cache(name, file, revision=commit), str)

    return is_there("config.json") and (
        not weights or is_there("model.safetensors") or is_there("model.safetensors.index.json")
    )
