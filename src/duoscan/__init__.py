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
    from duoscan.audit.storage import Audited as Audited
    from duoscan.cases.case import CaseAnswer as CaseAnswer
    from duoscan.cases.case import Screening as Screening
    from duoscan.cases.screening import Screener as Screener
    from duoscan.cases.stored import read_screening as read_screening
    from duoscan.errors import DuoscanError as DuoscanError
    from duoscan.evaluation.evaluate import Evaluation as Evaluation
    from duoscan.inference.bundle import Bundle as Bundle
    from duoscan.inference.bundle import read_bundle as read_bundle
    from duoscan.inference.predictor import Predictor as Predictor
    from duoscan.inference.predictor import predict_manifest as predict_manifest
    from duoscan.interfaces.python.data import import_images as import_images
    from duoscan.interfaces.python.data import make_phantoms as make_phantoms
    from duoscan.interfaces.python.data import manifest_of as manifest_of
    from duoscan.interfaces.python.evidence import Measurement as Measurement
    from duoscan.interfaces.python.evidence import audit_manifest as audit_manifest
    from duoscan.interfaces.python.evidence import evaluate as evaluate
    from duoscan.interfaces.python.models import train as train
    from duoscan.interfaces.python.policy import Policies as Policies
    from duoscan.interfaces.python.policy import certify as certify
    from duoscan.interfaces.python.policy import compare_policies as compare_policies
    from duoscan.interfaces.python.tables import Table as Table
    from duoscan.manifest.patient_rules import PatientRules as PatientRules
    from duoscan.manifest.records import Manifest as Manifest
    from duoscan.manifest.splits import split_by_patient as split_by_patient
    from duoscan.manifest.table import read_manifest as read_manifest
    from duoscan.manifest.table import write_manifest as write_manifest
    from duoscan.policies.policy import Policy as Policy
    from duoscan.policies.policy import read_policy as read_policy
    from duoscan.predictions import Prediction as Prediction
    from duoscan.predictions import read_predictions as read_predictions
    from duoscan.predictions import write_predictions as write_predictions

_HOMES = {
    "Audited": "duoscan.audit.storage",
    "Bundle": "duoscan.inference.bundle",
    "CaseAnswer": "duoscan.cases.case",
    "DuoscanError": "duoscan.errors",
    "Evaluation": "duoscan.evaluation.evaluate",
    "Manifest": "duoscan.manifest.records",
    "Measurement": "duoscan.interfaces.python.evidence",
    "PatientRules": "duoscan.manifest.patient_rules",
    "Policies": "duoscan.interfaces.python.policy",
    "Policy": "duoscan.policies.policy",
    "Prediction": "duoscan.predictions",
    "Predictor": "duoscan.inference.predictor",
    "Screener": "duoscan.cases.screening",
    "Screening": "duoscan.cases.case",
    "Table": "duoscan.interfaces.python.tables",
    "audit_manifest": "duoscan.interfaces.python.evidence",
    "certify": "duoscan.interfaces.python.policy",
    "compare_policies": "duoscan.interfaces.python.policy",
    "evaluate": "duoscan.interfaces.python.evidence",
    "import_images": "duoscan.interfaces.python.data",
    "make_phantoms": "duoscan.interfaces.python.data",
    "manifest_of": "duoscan.interfaces.python.data",
    "predict_manifest": "duoscan.inference.predictor",
    "read_bundle": "duoscan.inference.bundle",
    "read_manifest": "duoscan.manifest.table",
    "read_policy": "duoscan.policies.policy",
    "read_predictions": "duoscan.predictions",
    "read_screening": "duoscan.cases.stored",
    "split_by_patient": "duoscan.manifest.splits",
    "train": "duoscan.interfaces.python.models",
    "write_manifest": "duoscan.manifest.table",
    "write_predictions": "duoscan.predictions",
}

__all__ = [
    "Audited",
    "Bundle",
    "CaseAnswer",
    "DuoscanError",
    "Evaluation",
    "Manifest",
    "Measurement",
    "PatientRules",
    "Policies",
    "Policy",
    "Prediction",
    "Predictor",
    "Screener",
    "Screening",
    "Table",
    "__version__",
    "audit_manifest",
    "certify",
    "compare_policies",
    "evaluate",
    "import_images",
    "make_phantoms",
    "manifest_of",
    "predict_manifest",
    "read_bundle",
    "read_manifest",
    "read_policy",
    "read_predictions",
    "read_screening",
    "split_by_patient",
    "train",
    "write_manifest",
    "write_predictions",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        msg = f"module 'duoscan' has no attribute '{name}'"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """The public names, before any was used: for completion in a notebook."""
    return __all__
