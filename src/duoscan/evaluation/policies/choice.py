"""The choice of a policy: the fewest CTs of those shown to be hardly worse than CT for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.evaluation.policies.measured import PolicyFigures, paired_patients
from duoscan.evaluation.policies.noninferiority import PairedDifference, differences, patients_needed
from duoscan.evaluation.policies.operating import is_paired
from duoscan.policies.policy import apply_policy_to_all
from duoscan.policies.rule import PolicyKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.policies.operating import Offer, Setting
    from duoscan.policies.joint import PatientScores
    from duoscan.policies.policy import PolicyDraft

LEVEL = 0.05
"""Chance that a policy is chosen which is worse by the margin, all rivals together."""


@dataclass(frozen=True)
class Rival:
    """A policy held against CT for all on the calibration patients.

    Attributes:
        offer: The policy.
        differences: Sensitivity and specificity, its own less that of CT for all.
    """

    offer: Offer
    differences: dict[str, PairedDifference]

    def keeps(self, margin: float) -> bool:
        """Whether it is shown to lose less than the margin of both; calling more positive saves CTs too."""
        return all(each.low > -margin for each in self.differences.values())


@dataclass(frozen=True)
class Choice:
    """The policy chosen, and why.

    Attributes:
        offer: The policy.
        why: In a sentence.
        rivals: Held against CT for all; empty where nothing was.
        level: Of each of their limits, one-sided.
    """

    offer: Offer
    why: str
    rivals: tuple[Rival, ...] = ()
    level: float = LEVEL

    def rivals_json(self, margin: float) -> list[dict[str, Any]]:
        """As in ``triage.json``."""
        return [
            {
                "name": rival.offer.policy.name,
                **{name: each.to_json() for name, each in rival.differences.items()},
                "keeps": rival.keeps(margin),
            }
            for rival in self.rivals
        ]


def choose(
    offers: Sequence[Offer],
    calibration: PatientScores,
    setting: Setting,
    wanted: PolicyKind | None = None,
    given: PolicyDraft | None = None,
) -> Choice:
    """The policy asked for; else the one with the fewest CTs shown to be hardly worse than CT for all, else that.

    Where the user asked for a miss rate, only certified policies are held against CT for all. The test patients have
    no part in the choice.

    Args:
        offers: The operating table.
        calibration: Its calibration patients.
        setting: With the margin, and whether a miss rate was asked for.
        wanted: A kind asked for.
        given: The user's own policy, which then is the last offer.
    """
    if given is not None:
        return Choice(offers[-1], "given as a file")
    if wanted is not None:
        return Choice(next(offer for offer in offers if offer.policy.kind is wanted), "asked for by name")
    everyone = next(offer for offer in offers if offer.policy.kind is PolicyKind.CT_FOR_ALL)
    if not is_paired(calibration):
        return Choice(everyone, "without paired calibration patients no policy can be held against it")
    others = [offer for offer in offers if offer is not everyone]
    if setting.miss_rate_asked:
        others = [offer for offer in others if offer.policy.certificate]
        if not others:
            return Choice(everyone, "a miss rate was asked for, and no policy with fewer CTs is certified to keep it")
    level = LEVEL / len(others)
    rivals = _rivals(others, everyone, calibration, level)
    keeping = [rival.offer for rival in rivals if rival.keeps(setting.margin)]
    if not keeping:
        return Choice(everyone, _none_keeps(calibration, setting.margin, level), rivals, level)
    return Choice(
        min([*keeping, everyone], key=_burden),
        f"on the calibration patients it sends the fewest to CT of those shown to lose less than {setting.margin:g} of "
        f"the sensitivity and of the specificity of CT for all (paired, one-sided level {LEVEL:g} over "
        f"{len(others)} rivals)",
        rivals,
        level,
    )


def _rivals(others: Sequence[Offer], everyone: Offer, calibration: PatientScores, level: float) -> tuple[Rival, ...]:
    paired = paired_patients(calibration)
    outcome, *outcomes = (apply_policy_to_all(offer.policy, paired.xray, paired.ct) for offer in (everyone, *others))
    return tuple(
        Rival(offer, differences(of, outcome, paired.sick, level)) for offer, of in zip(others, outcomes, strict=True)
    )


def _burden(offer: Offer) -> tuple[float, ...]:
    """CTs; of as many, the more sensitive and then the more specific goes first."""
    if not isinstance(offer.calibration, PolicyFigures):
        raise TypeError(offer.calibration)
    values = {name: estimate.value for name, estimate in offer.calibration.figures.items()}
    return values["to_ct"], -values["sensitivity"], -values["specificity"]


def _none_keeps(calibration: PatientScores, margin: float, level: float) -> str:
    """Why none is chosen, with the patients that are missing."""
    paired = paired_patients(calibration)
    needed = patients_needed(margin, level)
    counts = {"sick": int(paired.sick.sum()), "well": int((~paired.sick).sum())}
    said = f"no policy with fewer CTs is shown to lose less than {margin:g} of its sensitivity and of its specificity"
    missing = [f"{needed - count} more {who} (there are {count})" for who, count in counts.items() if count < needed]
    if not missing:
        return f"{said}: they answer too many of the calibration patients otherwise"
    return (
        f"{said}: where none is answered otherwise that takes {needed} sick and {needed} well calibration patients; "
        f"missing are {' and '.join(missing)}"
    )
