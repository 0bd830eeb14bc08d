"""Is a policy shown to be hardly worse than CT for all? Paired, on the same patients.

That a difference is not seen among few patients does not say that there is none. So a policy must be *shown* to be
less than a margin below: the lower limit of its paired difference must lie above minus the margin (non-inferiority).
The limit is Tango's score limit (Statistics in Medicine 1998), or where that is higher, Clopper and Pearson's of the
share that the policy alone gets wrong, since the difference can be no lower than that. Score limits are approximate:
counted out for 30 patients or more, whatever the truth, 0.01 is at most 0.014, 0.025 at most 0.034 and 0.05 at most
0.072; it is that much only where the two policies disagree on nearly everyone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.errors import MissingExtraError
from duoscan.policies.certify import positives_needed

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray
    from duoscan.policies.policy import Outcome

_MOST = 100_000  # patients nobody has

TANGO_IS_APPROXIMATE = (
    "The limits are approximate: a level of 0.05 may be up to 0.072, 0.025 up to 0.034, 0.01 up to 0.014, and that "
    "much only where two policies disagree on nearly everyone."
)
"""For wherever the limits are printed."""


@dataclass(frozen=True)
class PairedDifference:
    """A share of right answers under one policy less that under another, on the same patients.

    Attributes:
        patients: All of them.
        lost: Whom only the other policy gets right.
        gained: Whom only this one gets right.
        low: Lower limit of the difference, one-sided.
    """

    patients: int
    lost: int
    gained: int
    low: float

    @classmethod
    def of(cls, right: BoolArray, right_of_other: BoolArray, level: float) -> PairedDifference:
        """From the answers to N patients, each shape (N,), at a one-sided level such as 0.05.

        Raises:
            MissingExtraError: scipy is not installed.
        """
        lost, gained = int((right_of_other & ~right).sum()), int((right & ~right_of_other).sum())
        return cls(len(right), lost, gained, lower_limit(lost, gained, len(right), level))

    @property
    def value(self) -> float:
        """As observed."""
        return (self.gained - self.lost) / self.patients

    def patients_for(self, margin: float, level: float) -> int | None:
        """With how many patients the margin would be kept if the next ones were lost and gained as these.

        ``None`` where the margin is as good as lost, so that more patients would not help.
        """
        if self.value <= -margin:
            return None
        share_lost, share_gained = self.lost / self.patients, self.gained / self.patients

        def keeps(patients: int) -> bool:
            return lower_limit(share_lost * patients, share_gained * patients, patients, level) > -margin

        enough = 1
        while not keeps(enough):
            enough *= 2
            if enough > _MOST:
                return None
        few = enough // 2
        while enough - few > 1:
            middle = (few + enough) // 2
            few, enough = (few, middle) if keeps(middle) else (middle, enough)
        return enough

    def to_json(self) -> dict[str, Any]:
        """As in ``triage.json``."""
        return {"value": self.value, **vars(self)}


def differences(outcome: Outcome, other: Outcome, sick: BoolArray, level: float) -> dict[str, PairedDifference]:
    """Sensitivity and specificity of one policy against another's, on paired patients of both classes.

    Args:
        outcome: What the policy says of N patients.
        other: What the other says of them.
        sick: shape (N,).
        level: Of each limit, one-sided.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    return {
        "sensitivity": PairedDifference.of(outcome.positive[sick], other.positive[sick], level),
        "specificity": PairedDifference.of(outcome.negative[~sick], other.negative[~sick], level),
    }


def lower_limit(lost: float, gained: float, patients: int, level: float) -> float:
    """One-sided lower limit of a paired difference of shares; see the module.

    Example:
        >>> round(lower_limit(0, 0, 44, 0.01), 3), round(lower_limit(0, 0, 90, 0.01), 3)
        (-0.099, -0.05)
    """
    try:
        from scipy.stats import beta
    except ImportError as error:
        raise MissingExtraError("evaluate", "holding a policy against another") from error
    most_lost = 1.0 if lost == patients else float(beta.ppf(1.0 - level, lost + 1, patients - lost))
    return max(-most_lost, tango_lower(lost, gained, patients, level))


def tango_lower(lost: float, gained: float, patients: int, level: float) -> float:
    """Tango's lower limit alone: the least difference that its score test does not refuse.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    try:
        from scipy.optimize import brentq
        from scipy.stats import norm
    except ImportError as error:
        raise MissingExtraError("evaluate", "holding a policy against another") from error
    if lost == patients:
        return -1.0
    z, observed = float(norm.isf(level)), (gained - lost) / patients
    below = -1.0 + 1e-12
    return float(brentq(lambda difference: _score(lost, gained, patients, difference) - z, below, observed - 1e-12))


def _score(lost: float, gained: float, patients: int, difference: float) -> float:
    """How many standard errors the observed difference lies above a stated one; the error is the one at that."""
    # The share lost if the stated difference were true, by maximum likelihood.
    b = (2 * patients - gained + lost) * difference - lost - gained
    c = -lost * difference * (1.0 - difference)
    share = (math.sqrt(max(0.0, b * b - 8.0 * patients * c)) - b) / (4.0 * patients)
    variance = max(patients * (2.0 * share + difference * (1.0 - difference)), 1e-300)
    return (gained - lost - patients * difference) / math.sqrt(variance)


def patients_needed(margin: float, level: float) -> int:
    """The fewest patients with whom a policy can be shown to keep the margin: none is answered otherwise.

    Args:
        margin: Largest loss accepted, above 0 and below 1.
        level: One-sided.

    Example:
        >>> patients_needed(0.1, 0.01), patients_needed(0.05, 0.01)
        (44, 90)
    """
    return positives_needed(margin, level)
