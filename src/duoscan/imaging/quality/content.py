"""What an image shows, and how: a chest radiograph, a chest CT slice or neither; upright, rotated, a negative.

Two small networks (one hidden layer) read the edges that :mod:`duoscan.imaging.modality` reads, a thumbnail and the
grey values. One tells what is shown, one for each modality what was done to it. How far an image lies from those
they were fitted on is its Mahalanobis distance in the leading components of the same features (Lee et al., NeurIPS
2018, on features of a network). ``benchmarks/fit_input_quality.py`` fits all of it and measures it on sources that
were left out. A patient mirrored left to right is not told: the heart alone would have to say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from duoscan.formats.image import Pixels
from duoscan.imaging.modality import edge_features, standard_grey
from duoscan.imaging.preprocess import lung_grey
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from numpy.typing import NDArray

MODEL_FILE = "content_model.npz"

OTHER = "other"
LUNGLESS = "lungless"
KINDS = (Modality.CXR.value, Modality.CT.value, OTHER, LUNGLESS)
"""What an image may show, in the order of the network's outputs."""

FINE = "fine"
LATERAL = "lateral"
FAULTS: dict[str, str] = {
    "rotated left": "rotated: looks turned by 90° to the left; turn it upright",
    "rotated right": "rotated: looks turned by 90° to the right; turn it upright",
    "upside down": "rotated: looks upside down; turn it upright",
    "inverted": "inverted: looks like a negative; export it with air dark and bone bright",
    "blurred": "blurred: fine structure is lost; give the original image",
    "cropped": "cropped: shows only a part of the chest; give the whole image",
    "too bright": "overexposed: much of the image is lost in white; export it again with a wider window",
    "too dark": "underexposed: much of the image is lost in black; export it again with a wider window",
    LATERAL: "lateral: looks like a side view; only frontal radiographs (PA, AP) are answered",
}
"""What may be wrong, and what to do about it."""

STATES: dict[Modality, tuple[str, ...]] = {
    Modality.CXR: (FINE, *FAULTS),
    # A patient who lies prone is upside down in an axial slice, and no image has a side view of it.
    Modality.CT: (FINE, *(name for name in FAULTS if name not in {"upside down", LATERAL})),
}
"""How an image may be, by modality, in the order of the network's outputs."""

_THUMBNAIL = 16
_GREYS = np.linspace(0, 1, 13)
_FAINTEST = 1e-3
_DARK = (0.2, 0.4, 0.6)
_WHITE_QUANTILE = 0.95

_SEEN = {
    Modality.CXR.value: "a chest X-ray",
    Modality.CT.value: "a CT slice",
    OTHER: "something else",
    LUNGLESS: "a slice without lung",
}


class Network(NamedTuple):
    """One hidden layer of rectified units: weights (F, H), (H, K) and biases (H,), (K,)."""

    inner: NDArray[np.float32]
    inner_bias: NDArray[np.float32]
    outer: NDArray[np.float32]
    outer_bias: NDArray[np.float32]

    def __call__(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probabilities (N, K) of standardised features (N, F)."""
        hidden = np.maximum(standardised @ self.inner + self.inner_bias, 0)
        logits = hidden @ self.outer + self.outer_bias
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))


class Crowd(NamedTuple):
    """The images of one modality: mean (F,), and components (F, C) scaled to unit variance in each."""

    centre: NDArray[np.float32]
    components: NDArray[np.float32]

    def distance(self, standardised: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mahalanobis distance (N,) per root of a component, so that 1 is common."""
        along = (standardised - self.centre) @ self.components
        return np.asarray(np.sqrt(np.mean(along**2, axis=1)))


@dataclass(frozen=True)
class ContentModel:
    """Everything fitted.

    Attributes:
        mean: Of each feature, shape (F,).
        scale: Standard deviation of each feature, shape (F,).
        kind: Network of :data:`KINDS`.
        states: Networks of :data:`STATES`.
        crowds: The images seen, by modality.
        most_kind: Largest probability of each kind, in the order of :data:`KINDS`, by modality; of its own it is 1.
        most_fault: Largest probability of each fault of a modality, in the order of :data:`STATES` without ``fine``.
        most_distance: Largest distance from the crowd of a modality.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    kind: Network
    states: dict[Modality, Network]
    crowds: dict[Modality, Crowd]
    most_kind: dict[Modality, NDArray[np.float32]]
    most_fault: dict[Modality, NDArray[np.float32]]
    most_distance: dict[Modality, float]

    def standardised(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Features of mean 0 and deviation 1, clipped so that no single one decides."""
        return np.clip((features - self.mean) / self.scale, -8, 8)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name, as :data:`MODEL_FILE` holds them."""
        named = {"mean": self.mean, "scale": self.scale}
        named |= {f"kind.{key}": value for key, value in self.kind._asdict().items()}
        for modality in Modality:
            named |= {f"{modality}.state.{key}": value for key, value in self.states[modality]._asdict().items()}
            named |= {f"{modality}.crowd.{key}": value for key, value in self.crowds[modality]._asdict().items()}
            named[f"{modality}.most_kind"] = self.most_kind[modality]
            named[f"{modality}.most_fault"] = self.most_fault[modality]
            named[f"{modality}.most_distance"] = np.array(self.most_distance[modality], dtype=np.float32)
        return named

    @classmethod
    def from_arrays(cls, named: Mapping[str, NDArray[np.float32]]) -> ContentModel:
        """What :meth:`arrays` gave."""

        def network(prefix: str) -> Network:
            return Network(*(named[f"{prefix}.{key}"] for key in Network._fields))

        return cls(
            named["mean"],
            named["scale"],
            network("kind"),
            {modality: network(f"{modality}.state") for modality in Modality},
            {modality: Crowd(*(named[f"{modality}.crowd.{key}"] for key in Crowd._fields)) for modality in Modality},
            {modality: named[f"{modality}.most_kind"] for modality in Modality},
            {modality: named[f"{modality}.most_fault"] for modality in Modality},
            {modality: float(named[f"{modality}.most_distance"]) for modality in Modality},
        )

    def why_unfit(self, features: NDArray[np.float64], modality: Modality | None) -> str | None:
        """As :func:`why_not_answerable`, of features of shape (F,)."""
        row = self.standardised(features[None])
        kinds = self.kind(row)[0]
        if modality is None:
            modality = max(Modality, key=lambda one: kinds[KINDS.index(one.value)])
            wanted = "a chest X-ray or an axial chest CT slice"
        else:
            wanted = "a chest X-ray" if modality is Modality.CXR else "an axial chest CT slice"
        excess = np.where(kinds > self.most_kind[modality], kinds, 0)
        if excess.any():
            seen = _SEEN[KINDS[int(np.argmax(excess))]]
            return f"not {wanted}: it looks like {seen}; give a whole, frontal or axial image of the chest"
        shares = self.states[modality](row)[0, 1:]
        worst = int(np.argmax(shares))
        if shares[worst] > self.most_fault[modality][worst]:
            return FAULTS[STATES[modality][1 + worst]]
        distance = float(self.crowds[modality].distance(row)[0])
        if distance > self.most_distance[modality]:
            limit = self.most_distance[modality]
            return (
                f"unfamiliar: unlike the chest images this check was fitted on (distance {distance:.1f}, "
                f"at most {limit:.1f}); let a person look at it"
            )
        return None


def why_not_answerable(pixels: Pixels, modality: Modality | None = None) -> str | None:
    """Why the image should not be answered, or ``None``.

    Args:
        pixels: A decoded image, grey or HU.
        modality: What it is said to be; ``None`` where nothing is said.
    """
    return content_model().why_unfit(content_features(pixels), modality)


def content_features(pixels: Pixels) -> NDArray[np.float64]:
    """What is judged: edges, a 16 × 16 thumbnail without its contrast, 13 quantiles of grey, enclosed dark.

    Args:
        pixels: Grey or HU, which are shown in the lung window.

    Returns:
        Shape (407,).
    """
    grey = standard_grey(Pixels(lung_grey(pixels)))
    block = len(grey) // _THUMBNAIL
    thumbnail = grey.reshape(_THUMBNAIL, block, _THUMBNAIL, block).mean(axis=(1, 3))
    thumbnail = (thumbnail - thumbnail.mean()) / max(float(thumbnail.std()), _FAINTEST)
    return np.concatenate([edge_features(grey), thumbnail.ravel(), np.quantile(grey, _GREYS), _enclosed(grey)])


def _enclosed(grey: NDArray[np.float64]) -> list[float]:
    """Shares of the image that are darker than a share of white and lie between brighter pixels in row and column.

    In a slice these are lung and gut; the air round the body is not enclosed.
    """
    relative = grey / max(float(np.quantile(grey, _WHITE_QUANTILE)), _FAINTEST)
    shares = []
    for level in _DARK:
        bright = relative >= level
        inside = ~bright
        for axis in (0, 1):
            inside &= np.maximum.accumulate(bright, axis=axis)
            inside &= np.flip(np.maximum.accumulate(np.flip(bright, axis), axis=axis), axis)
        shares.append(float(inside.mean()))
    return shares


@cache
def content_model() -> ContentModel:
    """The fitted model of the package."""
    return read_model(files("duoscan.imaging.quality").joinpath(MODEL_FILE))


def read_model(path: Traversable) -> ContentModel:
    """A model as ``benchmarks/fit_input_quality.py`` writes it."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return ContentModel.from_arrays({name: stored[name].astype(np.float32) for name in stored.files})
