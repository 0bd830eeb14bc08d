"""The worklist as a person asks for it: filtered, sorted, a page at a time; the database does all of it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select, tuple_

from duoscan.errors import InputError
from duoscan.files import parse_json
from duoscan.policies.rule import Answer
from duoscan.worklist.store.cases import CaseRow, CaseState, case_columns, case_row, joined_claims
from duoscan.worklist.store.schema import CASES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Select

PAGE_ROWS = 50
_MOST_ROWS = 200
_LARGEST = 2**31
_UNKNOWN = -1.0  # a probability that is not known sorts before all others

SORTS: dict[str, tuple[Any, ...]] = {
    "urgency": (CASES.c.urgency, CASES.c.arrived),
    "patient": (CASES.c.patient_id,),
    "answer": (CASES.c.answer,),
    "xray": (func.coalesce(CASES.c.xray_probability, _UNKNOWN),),
    "ct": (func.coalesce(CASES.c.ct_probability, _UNKNOWN),),
    "images": (CASES.c.images,),
    "arrived": (CASES.c.arrived,),
    "changed": (CASES.c.changed,),
    "state": (CASES.c.state,),
}
"""Columns to sort by; the id decides where they are alike."""

_SHOWN = {"open", "all", *CaseState}
_ANSWERS = {"", *Answer}
_CLAIMS = {"", "mine", "free"}


@dataclass(frozen=True)
class Listing:
    """What to show.

    Attributes:
        shown: ``open`` (not signed off), ``all``, or one state.
        answer: One answer; empty for all.
        patient: Part of the patient's id; empty for all.
        claimed: ``mine``, ``free`` or empty for all.
        sort: Name of the column.
        is_descending: The largest first.
        after: Cursor of the page before; empty for the first.
        rows: Most rows.
    """

    shown: str = "open"
    answer: str = ""
    patient: str = ""
    claimed: str = ""
    sort: str = "urgency"
    is_descending: bool = False
    after: str = ""
    rows: int = PAGE_ROWS

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Listing:
        """Of the parameters of an address.

        Raises:
            InputError: A value is none of those there are.
        """
        known = {"shown": _SHOWN, "answer": _ANSWERS, "claimed": _CLAIMS, "sort": set(SORTS), "order": {"up", "down"}}
        for name, words in known.items():
            if name in query and query[name] not in words:
                raise InputError(f"{name}: not one of {', '.join(sorted(filter(None, words)))}")
        rows = query.get("rows", str(PAGE_ROWS))
        if not rows.isascii() or not rows.isdecimal() or not 1 <= int(rows) <= _MOST_ROWS:
            raise InputError(f"rows: not a number from 1 to {_MOST_ROWS}")
        return cls(
            shown=query.get("shown", "open"),
            answer=query.get("answer", ""),
            patient=query.get("patient", "")[:100].replace("\0", ""),
            claimed=query.get("claimed", ""),
            sort=query.get("sort", "urgency"),
            is_descending=query.get("order") == "down",
            after=query.get("after", ""),
            rows=int(rows),
        )

    @property
    def query(self) -> dict[str, str]:
        """As the parameters of an address, without the page; what is as by default is left out."""
        stated = {
            "shown": self.shown,
            "answer": self.answer,
            "patient": self.patient,
            "claimed": self.claimed,
            "sort": self.sort,
            "order": "down" if self.is_descending else "up",
        }
        usual = {"shown": "open", "sort": "urgency", "order": "up"}
        return {name: value for name, value in stated.items() if value != usual.get(name, "")}


@dataclass(frozen=True)
class Page:
    """Some rows.

    Attributes:
        cases: In order.
        total: How many there are on all pages.
        next: Cursor of the next page; empty where this is the last.
    """

    cases: tuple[CaseRow, ...]
    total: int
    next: str


def read_page(connection: Connection, listing: Listing, account: str, *, now: float) -> Page:
    """One page.

    Raises:
        InputError: The cursor is none of this list.
    """
    columns = (*SORTS[listing.sort], CASES.c.id)
    query = _filtered(select(*case_columns(), *_labelled(columns)).select_from(joined_claims()), listing, account, now)
    if listing.after:
        place = tuple_(*_place_of(listing.after, columns))
        query = query.where(tuple_(*columns) < place if listing.is_descending else tuple_(*columns) > place)
    order = [column.desc() if listing.is_descending else column.asc() for column in columns]
    found = connection.execute(query.order_by(*order).limit(listing.rows + 1)).all()
    rows = found[: listing.rows]
    total = connection.execute(_filtered(select(func.count()).select_from(CASES), listing, account, now)).scalar_one()
    names = len(case_columns())
    after = _cursor(rows[-1][names:]) if len(found) > len(rows) else ""
    return Page(tuple(map(case_row, rows)), int(total), after)


def latest_change(connection: Connection) -> tuple[float, int]:
    """What differs as soon as anything in the list does."""
    row = connection.execute(select(func.max(CASES.c.changed), func.count())).one()
    return float(row[0] or 0), int(row[1])


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """How many cases of each state have which answer."""
    query = select(CASES.c.state, CASES.c.answer, func.count()).group_by(CASES.c.state, CASES.c.answer)
    return {(row[0], row[1]): int(row[2]) for row in connection.execute(query)}


def _labelled(columns: tuple[Any, ...]) -> list[Any]:
    return [column.label(f"place_{number}") for number, column in enumerate(columns)]


def _filtered(query: Select[Any], listing: Listing, account: str, now: float) -> Select[Any]:
    if listing.shown == "open":
        query = query.where(CASES.c.signed == 0)
    elif listing.shown != "all":
        query = query.where(CASES.c.state == listing.shown)
    if listing.answer:
        query = query.where(CASES.c.answer == listing.answer)
    if listing.patient:
        query = query.where(CASES.c.patient_id.icontains(listing.patient, autoescape=True))
    if listing.claimed == "mine":
        query = query.where(CASES.c.claimed_by == account, CASES.c.claimed_until >= now)
    elif listing.claimed == "free":
        query = query.where((CASES.c.claimed_by.is_(None)) | (CASES.c.claimed_until < now))
    return query


def _cursor(place: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(place)).encode()).decode().rstrip("=")


def _place_of(cursor: str, columns: tuple[Any, ...]) -> list[Any]:
    try:
        place = parse_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        place = None
    if isinstance(place, list) and len(place) == len(columns) and all(map(_fits, place, columns)):
        return place
    raise InputError("after: no cursor of this list; begin again without it")


def _fits(value: object, column: Any) -> bool:
    if column.type.python_type is str:
        return isinstance(value, str) and value.isprintable()
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
