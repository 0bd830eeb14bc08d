"""What the interactive page needs to move prevalence, miss rate and costs itself.

The page does not ask anything: it holds the calibration scores, the paired test patients' scores and the rule as small
tables, and certifies and counts by the same steps as :mod:`duoscan.policies.certify` and
:mod:`duoscan.evaluation.policies.answered`. A test drives it in a browser and holds its numbers against these modules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.policies.document import scores_from_json
from duoscan.evaluation.policies.operating import rule_in_threshold
from duoscan.policies.certify import CT_CHOSEN_HERE, leaving_scores
from duoscan.policies.policy import DESCRIPTIONS, Policy
from duoscan.policies.rule import Answer, PhaseState, PolicyKind, Step, after_xray, decide
from duoscan.policies.worth import xray_share

if TYPE_CHECKING:
    from duoscan.policies.certify import Scope
    from duoscan.policies.policy import FloatArray
    from duoscan.policies.scores import PatientScores

RANGES = {
    "prevalence": (0.001, 0.9, 0.001),
    "alpha": (0.005, 0.25, 0.005),
    "ct_harm": (0.0, 0.1, 0.001),
    "treat_from": (0.01, 0.6, 0.01),
}
"""Of each slider: least, most, step."""

_CT_STATES = (PhaseState.NEGATIVE, PhaseState.POSITIVE)


def explorer_data(document: dict[str, Any]) -> dict[str, Any] | None:
    """The page's data; ``None`` where patients are not paired, so that nothing can be counted anew.

    Args:
        document: Of ``triage.json``.
    """
    worth = document["worth"]
    if "refusal" in worth:
        return None
    calibration = scores_from_json(document["scores"]["calibration"])
    test = scores_from_json(document["scores"]["test"])
    promise = document["promise"]
    return {
        "prevalence": document["prevalence"],
        "prevalence_origin": document["prevalence_origin"],
        "units": {group: document[group]["units"] for group in ("calibration", "test")},
        **promise,
        "no_joint": CT_CHOSEN_HERE,
        "ct_harm": worth["ct_harm"],
        "treat_from": worth["treat_from"],
        "target_sensitivity": worth["target_sensitivity"],
        "costs": worth["cost"].get("costs"),
        "thresholds": worth["thresholds"],
        "prevalences": worth["prevalences"],
        "chosen": document["chosen"]["place"],
        "policies": [
            _policy(entry, calibration, document["models"]["ct"]["threshold"]) for entry in document["policies"]
        ],
        "rules": {kind.value: _rule(kind) for kind in PolicyKind},
        "sick_xray": _numbers(np.sort(_known(calibration.xray[calibration.sick]))),
        "sick_ct": _numbers(np.sort(_known(calibration.ct[calibration.sick]))),
        "calibration": _paired(calibration),
        "test": _paired(test),
        "ranges": RANGES,
    }


def _policy(entry: dict[str, Any], calibration: PatientScores, operating_point: float) -> dict[str, Any]:
    policy = Policy.model_validate(entry["policy"])
    stated = {
        "kind": policy.kind.value,
        "name": policy.name,
        "description": DESCRIPTIONS[policy.kind],
        "xray_threshold": policy.xray_threshold,
        "xray_rule_in": policy.xray_rule_in,
        "ct_threshold": policy.ct_threshold,
        "xray_share": xray_share(policy.kind),
        "follows_miss_rate": entry["follows_miss_rate"],
    }
    if entry["follows_miss_rate"]:
        rule_in = rule_in_threshold(calibration) if policy.xray_rule_in is not None else None
        # Not the certified CT threshold of the policy: at another miss rate there may be none.
        stated |= {"xray_rule_in": rule_in, "ct_threshold": operating_point}
        moved = {"xray_threshold": 0.0, "xray_rule_in": rule_in, "ct_threshold": operating_point, "certificate": None}
        plain = policy.model_copy(update=moved)
        stated["leaving"] = {scope: _leaving(plain, calibration, scope) for scope in ("xray", "joint")}
    return stated


def _leaving(policy: Policy, calibration: PatientScores, scope: Scope) -> list[float | None]:
    return _numbers(np.sort(leaving_scores(policy, calibration, scope)))


def _rule(kind: PolicyKind) -> dict[str, Any]:
    """Where an X-ray below, between and above the thresholds leads, and what is answered with either CT."""
    xray_states = (PhaseState.NEGATIVE, PhaseState.UNCERTAIN, PhaseState.POSITIVE)
    if kind is not PolicyKind.THREE_ZONES:  # only three zones know an uncertain X-ray
        xray_states = (PhaseState.NEGATIVE, PhaseState.POSITIVE, PhaseState.POSITIVE)
    return {
        "sent": [after_xray(xray, need_ct=False, kind=kind)[0] is Step.TO_CT for xray in xray_states],
        "positive": [
            [decide(xray, ct, need_ct=False, kind=kind)[0] is Answer.POSITIVE for ct in _CT_STATES]
            for xray in xray_states
        ],
    }


def _paired(group: PatientScores) -> dict[str, list[Any]]:
    both = group.where(group.is_paired)
    return {"sick": [int(each) for each in both.sick], "xray": _numbers(both.xray), "ct": _numbers(both.ct)}


def _known(scores: FloatArray) -> FloatArray:
    return scores[~np.isnan(scores)]


def _numbers(values: FloatArray) -> list[float | None]:
    """As JSON; ``null`` is minus infinity: a patient whom the CT lets go at every X-ray threshold."""
    return [float(value) if np.isfinite(value) else None for value in values]
