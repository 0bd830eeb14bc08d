"""What an audit says: a level, the reasons for it, and the figures behind them.

Every audit answers with an :class:`AuditResult`, and the gate, the report and the cards read nothing else of it.
So a new audit is one module with one function.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Level(StrEnum):
    """How much an audit carries a number.

    ``pass`` means that what is looked for would have been seen. ``not known`` is an audit that raised no alarm on so
    few patients that what is looked for may be there all the same.
    """

    PASS = "pass"  # noqa: S105 - a level, no password
    WARN = "warn"
    FAIL = "fail"
    NOT_RUN = "not run"
    NOT_KNOWN = "not known"


ORDER = (Level.PASS, Level.NOT_RUN, Level.NOT_KNOWN, Level.WARN, Level.FAIL)
"""From best to worst; what was not looked at, or not long enough, is no pass."""


def worst(levels: Iterable[Level]) -> Level:
    """The worst level of what was judged; ``PASS`` where nothing was."""
    return max(levels, key=ORDER.index, default=Level.PASS)


def against(judged: Iterable[tuple[Level, str]]) -> tuple[str, ...]:
    """Of what was judged, what speaks against the number; all of it where nothing does. Good news stands apart."""
    judged = list(judged)
    return tuple(text for level, text in judged if level is not Level.PASS) or tuple(text for _, text in judged)


@dataclass(frozen=True)
class AuditTable:
    """Figures for a person, ready to print.

    Attributes:
        title: What it shows.
        columns: Heads of the columns.
        rows: Cells, as many a row as there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class AuditResult:
    """What one audit found.

    Attributes:
        name: As in files and commands, e.g. ``copies``.
        title: As a person reads it, e.g. ``Copies of one image``.
        level: What it means for a number measured on these data.
        reasons: One sentence each: what was found, and where not ``pass``, what to do.
        facts: The figures, fit for JSON.
        tables: The same for a person.
    """

    name: str
    title: str
    level: Level
    reasons: tuple[str, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    tables: tuple[AuditTable, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As in ``audit.json``."""
        return {
            "name": self.name,
            "title": self.title,
            "level": self.level.value,
            "reasons": list(self.reasons),
            "facts": self.facts,
            "tables": [
                {"title": table.title, "columns": list(table.columns), "rows": [list(row) for row in table.rows]}
                for table in self.tables
            ],
        }


def not_run(name: str, title: str, why: str) -> AuditResult:
    """The result of an audit that could not be run: an unknown is never a pass."""
    return AuditResult(name, title, Level.NOT_RUN, (why,))
