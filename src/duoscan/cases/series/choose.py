"""Which stack of a CT study is answered, and why the others are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.cases.series.kernels import is_sharp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.cases.series.assemble import Stack

MOST_THICKNESS_MM = 5.0
"""Thicker slices average findings away; they are answered only where nothing thinner is there."""

ENOUGH_COVERAGE = 0.8
"""A stack that shows this share of the most lung that any of the study shows is as good as that one."""


@dataclass(frozen=True)
class StackChoice:
    """The stacks of a study, best first.

    Attributes:
        ranked: Places of the stacks that may be answered.
        reasons: Place → why the stack is set aside; of the ranked ones but the first, what the first is better in.
        note: What there is to say of the first; empty where nothing is.
    """

    ranked: tuple[int, ...]
    reasons: dict[int, str]
    note: str = ""


def why_not_eligible(stack: Stack) -> str | None:
    """Why no image of the stack may be answered, or ``None``."""
    return stack.first.set_aside


def choose(stacks: Sequence[Stack], lung_mm: Callable[[Stack], float]) -> StackChoice:
    """Rank the stacks of one study by rules, of which the first that tells two apart decides.

    1. shows at least four fifths of the most lung that any of them shows,
    2. no bone kernel; a lung or soft reconstruction of the same scan shows the lungs as the model knows them,
    3. slices of 5 mm or thinner,
    4. leaves no position out,
    5. the thinner slices,
    6. the lower series number, then the name.

    Args:
        stacks: All of the study.
        lung_mm: How many millimetres of lung a stack shows along its normal; asked only where there is a choice.
    """
    reasons = {place: why for place, stack in enumerate(stacks) if (why := why_not_eligible(stack))}
    eligible = [place for place in range(len(stacks)) if place not in reasons]
    if not eligible:
        return StackChoice((), reasons)
    lungs = {place: lung_mm(stacks[place]) if len(eligible) > 1 else 0.0 for place in eligible}
    most = max(lungs.values())
    ranks = {place: _rank(stacks[place], has_coverage=lungs[place] >= ENOUGH_COVERAGE * most) for place in eligible}
    ranked = sorted(eligible, key=lambda place: (*ranks[place], place))
    best = ranked[0]
    for place in ranked[1:]:
        reasons[place] = _why_worse(ranks[place], ranks[best])
    note = "only a bone kernel is there" if _is_bone(stacks[best]) else ""
    return StackChoice(tuple(ranked), reasons, note)


# In the order of the rules; each says what the stack that was set aside lacks.
_LACKS = (
    "shows less of the lungs than another series",
    "a bone kernel; a lung or soft reconstruction is there",
    f"slices thicker than {MOST_THICKNESS_MM:g} mm; thinner ones are there",
    "leaves positions out; a complete series is there",
    "thicker slices than another series",
)


def _rank(stack: Stack, *, has_coverage: bool) -> tuple[float, ...]:
    thickness = stack.first.plane.thickness_mm
    return (
        float(not has_coverage),
        float(_is_bone(stack)),
        float(thickness is not None and thickness > MOST_THICKNESS_MM),
        float(stack.missing > 0),
        thickness or MOST_THICKNESS_MM,
    )


def _is_bone(stack: Stack) -> bool:
    return is_sharp(stack.first.plane.kernel, stack.first.description)


def _why_worse(rank: tuple[float, ...], best: tuple[float, ...]) -> str:
    for lack, own, other in zip(_LACKS, rank, best, strict=True):
        if own > other:
            return lack
    return "another series of the study is as good and was taken"
