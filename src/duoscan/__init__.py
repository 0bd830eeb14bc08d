"""duoscan: two-phase COVID-19 detection from chest X-ray and CT, with numbers that can be believed.

Research software, not a medical device::

    import duoscan
    for case in duoscan.Screener().screen(["incoming"]):
        print(case.patient_id, case.answer, case.reason)

Everything here is loaded on first use, so that ``import duoscan`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from duoscan.version import __version__ as __version__

if TYPE_CHECKING:
    from duoscan.cases.screening import CaseAnswer as CaseAnswer
    from duoscan.cases.screening import Screener as Screener
    from duoscan.inference.bundle import Bundle as Bundle
    from duoscan.inference.bundle import read_bundle as read_bundle
    from duoscan.inference.predictor import Predictor as Predictor
    from duoscan.inference.predictor import predict_manifest as predict_manifest
    from duoscan.manifest.table import read_manifest as read_manifest

_HOMES = {
    "Bundle": "duoscan.inference.bundle",
    "CaseAnswer": "duoscan.cases.screening",
    "Predictor": "duoscan.inference.predictor",
    "Screener": "duoscan.cases.screening",
    "predict_manifest": "duoscan.inference.predictor",
    "read_bundle": "duoscan.inference.bundle",
    "read_manifest": "duoscan.manifest.table",
}

__all__ = [
    "Bundle",
    "CaseAnswer",
    "Predictor",
    "Screener",
    "__version__",
    "predict_manifest",
    "read_bundle",
    "read_manifest",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'duoscan' has no attribute '{name}'"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, before any was used: for completion in a notebook."""
    return __all__
