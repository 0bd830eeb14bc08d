"""The worklist, what keeps it up to date, and views that somebody saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sqlalchemy import delete, select
from starlette.responses import RedirectResponse, Response, StreamingResponse

from duoscan.errors import InputError
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Visit
from duoscan.worklist.store.listing import Listing, read_page
from duoscan.worklist.store.queue import insert_once
from duoscan.worklist.store.schema import VIEWS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_KEEP_ALIVE_S = 15.0
_MOST_VIEWS = 50
_LONGEST_NAME = 60


def worklist_page(visit: Visit) -> Response:
    """All of it, or only the rows where a part is asked for."""
    listing = Listing.parse(visit.query)
    with visit.room.store.database.read() as connection:
        page = read_page(connection, listing, visit.account.id, now=visit.now)
        views = connection.execute(
            select(VIEWS.c.name, VIEWS.c.query).where(VIEWS.c.account == visit.account.id).order_by(VIEWS.c.name)
        ).all()
    values: dict[str, Any] = {"listing": listing, "page": page, "views": views, "address": _address, "now": visit.now}
    # Asked for by a script, the rows are enough; the answer is another one then, which caches must know.
    is_part = visit.request.headers.get("hx-target") == "list"
    response = visit.page("rows.html" if is_part else "worklist.html", **values)
    response.headers["Vary"] = "HX-Target"
    return response


def _address(listing: Listing, **changed: str) -> str:
    """Of the list with something changed."""
    query = {name: value for name, value in (listing.query | changed).items() if value}
    return f"/?{urlencode(query)}" if query else "/"


async def events(visit: Visit) -> Response:
    """A line each time the list changed, until the reader goes or the server stops."""

    async def lines() -> AsyncIterator[str]:
        yield "retry: 2000\n\n"
        changes = visit.room.changes
        while not changes.is_stopping:
            yield "data: changed\n\n" if await changes.wait(_KEEP_ALIVE_S) else ": still here\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


def save_view(visit: Visit) -> Response:
    """Keep a list's filters and order under a name, or forget it."""
    name = visit.form.get("name", "").strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(f"name of the view: write up to {_LONGEST_NAME} characters")
    listing = Listing.parse(visit.form | {"name": ""})
    account = visit.account.id
    with visit.room.store.database.write() as connection:
        own = select(VIEWS.c.name).where(VIEWS.c.account == account)
        known = set(connection.execute(own).scalars())
        connection.execute(delete(VIEWS).where(VIEWS.c.account == account, VIEWS.c.name == name))
        if "forget" not in visit.form:
            if len(known - {name}) >= _MOST_VIEWS:
                raise InputError(f"{_MOST_VIEWS} views are kept at most; forget one first")
            insert_once(connection, VIEWS, account=account, name=name, query=urlencode(listing.query))
    return RedirectResponse(_address(listing), 303)


ENDPOINTS = (
    Endpoint("GET", "/", Action.LOOK, worklist_page),
    Endpoint("GET", "/events", Action.LOOK, stream=events),
    Endpoint("POST", "/views", Action.OWN_ACCOUNT, save_view),
)
