"""Is a model hub there at all? Asked before a library tries for minutes."""

from __future__ import annotations

import socket
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from duoscan.errors import RecipeError

WAIT_S = 2.0
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
    address = urlsplit(constants.ENDPOINT)
    proxy = urlsplit(getproxies().get(address.scheme, ""))
    first = proxy if proxy.hostname else address
    if not _answers(first.hostname or "", first.port or (443 if first.scheme == "https" else 80)):
        raise RecipeError(f"model.backbone '{spec}' cannot be loaded: no connection to {address.hostname}; {OFFLINE}")


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


def _answers(host: str, port: int) -> bool:
    """Whether a connection is there in time; looking up a name may take longer, and cannot be told to end."""
    found: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), WAIT_S).close()
        except OSError:
            return
        found.append(True)

    asking = Thread(target=connect, daemon=True)
    asking.start()
    asking.join(WAIT_S)
    return bool(found)
