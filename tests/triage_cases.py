"""Paired patients whose scores are known, and the document that ``duoscan triage`` would write of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from duoscan.audit.gate import Check, Verdict
from duoscan.audit.result import Level
from duoscan.evaluation.policies.choice import choose
from duoscan.evaluation.policies.document import Extras, Ground, abstentions, triage_document
from duoscan.evaluation.policies.modalities import Dose
from duoscan.evaluation.policies.operating import Setting, operating_table
from duoscan.policies.assumptions import Assumptions
from duoscan.policies.certify import Promise
from duoscan.policies.queueing import Department
from duoscan.policies.scores import PatientScores
from duoscan.policies.worth import Costs

COSTS = Costs(miss=100, false_positive=10, xray=1, ct=6)
# The CT scanner keeps up with some policies and not with CT for all.
DEPARTMENT = Department(arrivals_per_hour=6, readers=1, read_minutes=5, scanners=1, scan_minutes=12)
XRAY_THRESHOLD, CT_THRESHOLD = 0.5, 0.45


def cohort(seed: int, sick: int = 80, well: int = 120, *, levels: int | None = None) -> PatientScores:
    """Patients whose CT tells better than their X-ray; rounded to ``levels`` where ties are wanted."""
    rng = np.random.default_rng(seed)
    truth = np.arange(sick + well) < sick
    xray = np.where(truth, rng.beta(4, 2, len(truth)), rng.beta(2, 4, len(truth)))
    ct = np.where(truth, rng.beta(9, 2, len(truth)), rng.beta(2, 9, len(truth)))
    if levels:
        xray, ct = np.round(xray * levels) / levels, np.round(ct * levels) / levels
    return PatientScores(tuple(f"p{i}" for i in range(len(truth))), truth, xray, ct)


def apart(group: PatientScores) -> PatientScores:
    """Of either examination only."""
    even = np.arange(len(group)) % 2 == 0
    xray, ct = np.where(even, group.xray, np.nan), np.where(even, np.nan, group.ct)
    return PatientScores(group.names, group.sick, xray, ct)


def setting(**changes: Any) -> Setting:
    """Of the tests: few resamples, since only closed forms are held against the page."""
    stated = {"promise": Promise(0.05), "prevalence": 0.1, "resamples": 100} | changes
    return Setting(XRAY_THRESHOLD, CT_THRESHOLD, **stated)


def verdict(level: Level) -> dict[str, Any]:
    """What the gate says."""
    return Verdict(level, (Check("untouched", "Measured on a test part", level, ("stated by the test",)),)).to_json()


def document(
    calibration: PatientScores,
    test: PatientScores,
    of: Setting,
    assumptions: Assumptions | None = None,
    level: Level = Level.WARN,
) -> dict[str, Any]:
    """As in ``triage.json``."""
    offers = operating_table(calibration, test, of)
    sources = dict.fromkeys(test.names, "<b>north</b>")
    models = {
        "xray": {"name": "bright-cxr", "graph_sha256": "x" * 64, "threshold": XRAY_THRESHOLD},
        "ct": {"name": "bright-ct", "graph_sha256": "c" * 64, "threshold": CT_THRESHOLD},
    }
    ground = Ground(calibration, test, sources, models, "val rows", ("a note",), "duoscan triage xray ct")
    extras = Extras(assumptions or Assumptions(), Dose(0.02, 7), 0.1)
    found = triage_document(
        offers, choose(offers, calibration, of), of, ground, extras, abstentions(ground, of, extras)
    )
    return found | {"verdicts": {phase: verdict(level) for phase in ("xray", "ct")}}
