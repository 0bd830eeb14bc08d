"""Several models side by side: each measured alone, each compared with the first, all tests adjusted together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from duoscan.evaluation.comparison import Comparison, Side, compare
from duoscan.evaluation.paired_tests import holm, multiple_comparison_note

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class SideBySide:
    """Models in the order given.

    Attributes:
        sides: Each with its evaluation; the first is the one that others are compared with.
        comparisons: The first against each other one, in their order; p-values are adjusted by Holm's method for all
            tests of all comparisons together.
    """

    sides: tuple[Side, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def test_note(self) -> str:
        """What a reader must know of so many tests; empty for one or none."""
        return multiple_comparison_note(sum(len(one.tests) for one in self.comparisons))

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            "format": "duoscan-comparison",
            "version": 1,
            "models": [{"name": side.name} | side.evaluation.to_json() for side in self.sides],
            "comparisons": [one.to_json() for one in self.comparisons],
            "notes": [self.test_note] if self.test_note else [],
        }


def side_by_side(sides: Sequence[Side]) -> SideBySide:
    """Compare the first with every other one; see :func:`duoscan.evaluation.comparison.compare`.

    Args:
        sides: Two or more.
    """
    found = [compare(sides[0], other) for other in sides[1:]]
    chances = {f"{place} {test.metric}": test.p_value for place, one in enumerate(found) for test in one.tests}
    adjusted = holm(chances)
    return SideBySide(
        tuple(sides),
        tuple(
            replace(one, tests=tuple(replace(test, adjusted=adjusted[f"{place} {test.metric}"]) for test in one.tests))
            for place, one in enumerate(found)
        ),
    )
