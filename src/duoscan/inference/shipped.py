"""The two bundles that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import BundleError
from duoscan.inference.bundle import SUFFIX, Bundle, read_bundle

if TYPE_CHECKING:
    from duoscan.terms import Modality


def shipped_path(modality: Modality) -> Path:
    """Where the package keeps the bundle of a modality."""
    return Path(str(resources.files("duoscan") / "models" / f"{modality}{SUFFIX}"))


def shipped_finder(modality: Modality) -> Path:
    """Where the package keeps the lung finder of a modality, which trainings put into their bundles."""
    return Path(str(resources.files("duoscan") / "models" / f"lungs-{modality}.onnx"))


def load_bundle(path: Path | None, modality: Modality) -> Bundle:
    """A named bundle, or the shipped one, checked to be fit for answering this modality.

    Raises:
        BundleError: Damaged, of the other modality, or trained for a shortcut audit.
    """
    bundle = read_bundle(path or shipped_path(modality))
    if bundle.info.modality is not modality:
        raise BundleError(
            f"{bundle.path}: is a {bundle.info.modality.spoken} model, a {modality.spoken} model is needed here"
        )
    if bundle.info.contract.probe != "none":
        raise BundleError(
            f"{bundle.path}: was trained on '{bundle.info.contract.probe}' images for a shortcut audit; "
            "it must not answer for patients"
        )
    return bundle
