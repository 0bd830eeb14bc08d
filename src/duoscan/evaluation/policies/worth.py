"""Worth of policies on paired patients, and waiting times, with intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap
from duoscan.evaluation.metrics import Means
from duoscan.evaluation.policies.answered import Answered, answered
from duoscan.evaluation.policies.measured import bound_worth, paired_patients
from duoscan.policies.assumptions import HOW_COSTS, HOW_DEPARTMENT
from duoscan.policies.queueing import Department, Flow, at_prevalence, replicate
from duoscan.policies.worth import (
    ClassShares,
    Costs,
    cheapest,
    cost_weights,
    net_benefit_weights,
    treat_all,
    xray_share,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.evaluation.sample import FloatArray
    from duoscan.policies.assumptions import Assumptions
    from duoscan.policies.policy import Policy
    from duoscan.policies.scores import PatientScores

THRESHOLDS = tuple(round(step * 0.02, 2) for step in range(1, 31))
"""Threshold probabilities of the decision curves, 0.02 to 0.6."""

PREVALENCES = tuple(round(step * 0.02, 2) for step in range(1, 41))
"""Of the curves over prevalence, 0.02 to 0.8."""

REPLICATIONS = 20
Triple = list[float | None]


@dataclass(frozen=True)
class MeasuredPolicy:
    """A policy on calibration and test patients.

    Attributes:
        policy: Resolved.
        calibration: Its shares there, for choosing.
        test: Its answers there, for measuring.
    """

    policy: Policy
    calibration: ClassShares
    test: Answered


def measured_policies(
    policies: Sequence[Policy], calibration: PatientScores, test: PatientScores
) -> list[MeasuredPolicy]:
    """Apply each policy to the paired patients of both groups.

    Raises:
        InputError: A group has no paired patients of both classes.
    """
    chosen_on, measured_on = paired_patients(calibration), paired_patients(test)
    return [
        MeasuredPolicy(policy, answered(policy, chosen_on).shares, answered(policy, measured_on)) for policy in policies
    ]


def worth_json(measured: Sequence[MeasuredPolicy], prevalence: float, assumptions: Assumptions) -> dict[str, Any]:
    """Net benefit and cost of every policy as in ``triage.json``; each estimate is ``[value, low, high]``.

    Args:
        measured: In the order of the operating table.
        prevalence: Where the policies are to be used; taken as known.
        assumptions: The user's.
    """
    harm, treat_from = assumptions.ct_harm, assumptions.treat_from
    return {
        "ct_harm": harm,
        "treat_from": treat_from,
        "target_sensitivity": assumptions.target_sensitivity,
        "thresholds": list(THRESHOLDS),
        "prevalences": list(PREVALENCES),
        "net_benefit": {
            "at": [_triple(each.test.worth(net_benefit_weights(prevalence, treat_from, harm))) for each in measured],
            "over_thresholds": [
                [_triple(each.test.worth(net_benefit_weights(prevalence, t, harm))) for t in THRESHOLDS]
                for each in measured
            ],
            "treat_all_over_thresholds": [treat_all(prevalence, t) for t in THRESHOLDS],
            "over_prevalence": [
                [_triple(each.test.worth(net_benefit_weights(p, treat_from, harm))) for p in PREVALENCES]
                for each in measured
            ],
            "treat_all_over_prevalence": [treat_all(p, treat_from) for p in PREVALENCES],
            "treat_none": 0.0,
        },
        "cost": _costs_json(measured, prevalence, assumptions),
    }


def bounded_worth_json(
    policies: Sequence[Policy],
    test: PatientScores,
    prevalence: float,
    assumptions: Assumptions,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """What the policies are worth at least and at most where X-ray and CT are not of the same people.

    Each entry is two estimates ``[value, low, high]``, of the lower and of the upper bound.

    Args:
        policies: In the order of the operating table.
        test: With either score missing.
        prevalence: Where the policies are to be used; taken as known.
        assumptions: The user's.
        resamples: Bootstrap resamples of patients.
        seed: Of all chance.
    """
    harm, treat_from, costs = assumptions.ct_harm, assumptions.treat_from, assumptions.costs
    rows: dict[str, list[list[Triple]]] = {"net_benefit": [], "cost": []}
    for policy in policies:
        asked = {"net_benefit": net_benefit_weights(prevalence, treat_from, harm)}
        if costs is not None:
            asked["cost"] = cost_weights(prevalence, costs, xray_share(policy.kind))
        for name, ends in bound_worth(policy, test, asked, resamples=resamples, seed=seed).items():
            rows[name].append([_triple(end) for end in ends])
    return {"ct_harm": harm, "treat_from": treat_from, **rows}


def cost(of: Answered, policy: Policy, prevalence: float, costs: Costs) -> Estimate:
    """Expected cost of a patient under a policy."""
    return of.worth(cost_weights(prevalence, costs, xray_share(policy.kind)))


def cheapest_policy(
    measured: Sequence[MeasuredPolicy], prevalence: float, costs: Costs, target_sensitivity: float
) -> int | None:
    """Place of the cheapest policy that keeps the target on the calibration patients; ``None`` where none does."""
    by_place = {str(place): each.calibration for place, each in enumerate(measured)}
    found = cheapest(by_place, prevalence, costs, target_sensitivity)
    return None if found is None else int(found)


def _costs_json(measured: Sequence[MeasuredPolicy], prevalence: float, assumptions: Assumptions) -> dict[str, Any]:
    costs, target = assumptions.costs, assumptions.target_sensitivity
    if costs is None:
        return {"refusal": f"no costs are given and none is assumed; {HOW_COSTS}"}
    chosen = cheapest_policy(measured, prevalence, costs, target)
    return {
        "costs": dict(vars(costs)),
        "at": [_triple(cost(each.test, each.policy, prevalence, costs)) for each in measured],
        "over_prevalence": [
            [_triple(cost(each.test, each.policy, p, costs)) for p in PREVALENCES] for each in measured
        ],
        "cheapest": chosen,
        "cheapest_over_prevalence": [cheapest_policy(measured, p, costs, target) for p in PREVALENCES],
    }


def waiting_json(
    measured: Sequence[MeasuredPolicy],
    test: PatientScores,
    prevalence: float,
    department: Department | None,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Simulated waiting under every policy as in ``triage.json``, first come first served and sick first.

    The interval is over replications of the simulation: of its chance, not of the patients' scores.

    Args:
        measured: In the order of the operating table.
        test: Patients to draw from.
        prevalence: Of the patients who arrive.
        department: As the user states it; ``None`` simulates nothing.
        resamples: Bootstrap resamples of replications.
        seed: Of all chance.
    """
    if department is None:
        return {"refusal": f"no department is given and none is assumed; {HOW_DEPARTMENT}"}
    paired = paired_patients(test)
    weights = at_prevalence(paired.sick, prevalence)
    rows: list[dict[str, Any]] = []
    for each in measured:
        reads_xray = xray_share(each.policy.kind) > 0.0
        first = (paired.xray >= each.policy.xray_threshold) & reads_xray
        flow = Flow(paired.sick, first, each.test.outcome.to_ct, weights, reads_xray)
        try:
            orders = {
                name: replicate(department, flow, sick_first=sick_first, replications=REPLICATIONS, seed=seed)
                for name, sick_first in (("first_come", False), ("sick_first", True))
            }
        except InputError as error:  # a station cannot keep up with what this policy sends
            rows.append({"refusal": str(error)})
            continue
        rows.append(
            {
                name: {
                    figure: _triple(estimate)
                    for figure, estimate in waiting_times(runs, resamples=resamples, seed=seed).items()
                }
                for name, runs in orders.items()
            }
        )
    return {"department": dict(vars(department)), "replications": REPLICATIONS, "policies": rows}


def waiting_times(
    replications: Mapping[str, FloatArray], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Mean over replications of each waiting figure in minutes; the replications are what is resampled.

    Args:
        replications: As ``triage.queueing.replicate`` gives, each shape (R,).
        resamples: Bootstrap resamples.
        seed: Makes the intervals repeatable.
    """
    count = len(next(iter(replications.values())))
    return bootstrap(Means(replications), [str(each) for each in range(count)], resamples=resamples, seed=seed)


def _triple(estimate: Estimate) -> Triple:
    value = None if np.isnan(estimate.value) else estimate.value
    return [value, estimate.low, estimate.high]
