"""One item of a checklist: what it asks for, and what a run can answer of it."""

from __future__ import annotations

import string
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OPEN = "☐ OPEN:"


class Status(StrEnum):
    """How far an item is answered."""

    FILLED = "filled"
    PARTLY = "partly filled"
    OPEN = "open"


@dataclass(frozen=True)
class Item:
    """One item of a published checklist, in our own words.

    Attributes:
        number: As in the publication.
        section: Heading it stands under.
        asks: What is to be reported.
        draft: What a run can say of it, with facts in braces; empty where a run knows nothing.
        left: What only a person can say; empty where the draft answers the item.
    """

    number: str
    section: str
    asks: str
    draft: str = ""
    left: str = ""


@dataclass(frozen=True)
class ItemAnswer:
    """An item and what was drafted for it."""

    item: Item
    text: str
    left: str

    @property
    def status(self) -> Status:
        """Filled only where nothing is left."""
        if not self.text:
            return Status.OPEN
        return Status.PARTLY if self.left else Status.FILLED


def answer(item: Item, facts: Mapping[str, str]) -> ItemAnswer:
    """Fill an item in; where one of its facts is unknown it stays open and asks for that.

    Args:
        item: The item.
        facts: What is known; a fact that is unknown is not in it.
    """
    wanted = [name for _, name, _, _ in string.Formatter().parse(item.draft) if name]
    missing = [name.replace("_", " ") for name in wanted if not facts.get(name)]
    if not item.draft or missing:
        left = item.left or item.asks
        return ItemAnswer(item, "", f"{left} (not known to the run: {', '.join(missing)})" if missing else left)
    return ItemAnswer(item, item.draft.format_map(facts), item.left)


def tally(answers: Sequence[ItemAnswer]) -> dict[Status, int]:
    """How many items are filled, partly filled and open."""
    return {status: sum(one.status is status for one in answers) for status in Status}
