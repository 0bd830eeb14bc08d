"""What went through the room lately: how much, with which answers, how fast it was signed, how readers agreed."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from duoscan.policies.rule import Answer, PhaseState
from duoscan.worklist.store.schema import CASES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

DAYS = 28
_READ = frozenset({PhaseState.POSITIVE, PhaseState.NEGATIVE, PhaseState.UNREADABLE})


@dataclass(frozen=True)
class Lately:
    """The cases that arrived in the last days.

    Attributes:
        days: Each day with how many arrived, the earliest first.
        answers: How many have which answer; those not answered yet are in none.
        sent_to_ct: How many had their CT read, or are told to need one.
        hours_to_sign: Median from arrival to sign-off; ``None`` where nothing was signed.
        agreement: How many were signed how.
    """

    days: tuple[tuple[str, int], ...]
    answers: dict[str, int]
    sent_to_ct: int
    hours_to_sign: float | None
    agreement: dict[str, int]

    @property
    def arrived(self) -> int:
        """All of them."""
        return sum(count for _, count in self.days)

    @property
    def answered(self) -> int:
        """Those with an answer."""
        return sum(self.answers.values())


def read_lately(connection: Connection, *, now: float) -> Lately:
    """Count the cases of the last :data:`DAYS` days, today (UTC) among them."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    dates = [today - dt.timedelta(days=back) for back in reversed(range(DAYS))]
    since = dt.datetime.combine(dates[0], dt.time(), dt.UTC).timestamp()
    columns = (CASES.c.arrived, CASES.c.signed, CASES.c.answer, CASES.c.ct_state, CASES.c.agreement)
    rows = connection.execute(select(*columns).where(CASES.c.arrived >= since)).all()
    arrived = Counter(dt.datetime.fromtimestamp(row.arrived, dt.UTC).date() for row in rows)
    return Lately(
        days=tuple((day.isoformat(), arrived[day]) for day in dates),
        answers=_counted([row.answer for row in rows]),
        sent_to_ct=sum(row.answer == Answer.CT_NEEDED or row.ct_state in _READ for row in rows if row.answer),
        hours_to_sign=_median_hours([row.signed - row.arrived for row in rows if row.signed]),
        agreement=_counted([row.agreement for row in rows]),
    )


def _counted(words: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(filter(None, words)).items()))


def _median_hours(seconds: Sequence[float]) -> float | None:
    return statistics.median(seconds) / 3600 if seconds else None
