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
    from duoscan.policies.policy import PolicyDraft
    from duoscan.policies.scores import PatientScores

LEVEL = 0.05
"""Chance that a policy is chosen which is worse by the margin, all rivals together."""

_WHO = {"sensitivity": "sick", "specificity": "well"}


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
        return Choice(everyone, _none_keeps(rivals, setting.margin, level), rivals, level)
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


def _none_keeps(rivals: Sequence[Rival], margin: float, level: float) -> str:
    """Why none is chosen, with the patients that are missing: those of the policy that needs fewest more."""
    said = f"no policy with fewer CTs is shown to lose less than {margin:g} of its sensitivity and of its specificity"
    nearest = min(
        ((sum(more.values()), rival, more) for rival in rivals if (more := _missing(rival, margin, level)) is not None),
        key=lambda each: each[0],
        default=None,
    )
    if nearest is None:
        least = patients_needed(margin, level)
        return f"{said}: all lose too much; where none is answered otherwise {least} sick and {least} well would do"
    _, rival, more = nearest
    counts = {_WHO[name]: each.patients for name, each in rival.differences.items()}
    missing = [f"{count} more {who} (there are {counts[who]})" for who, count in more.items() if count]
    return f"{said}; nearest is {rival.offer.policy.kind}: if it goes on as so far, missing are {' and '.join(missing)}"


def _missing(rival: Rival, margin: float, level: float) -> dict[str, int] | None:
    """By class, how many more calibration patients a policy needs; ``None`` where no number would do."""
    needed = {_WHO[name]: (each.patients_for(margin, level), each.patients) for name, each in rival.differences.items()}
    if any(number is None for number, _ in needed.values()):
        return None
    return {who: max(0, (number or 0) - patients) for who, (number, patients) in needed.items()}
