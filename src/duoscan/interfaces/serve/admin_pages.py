"""What an admin does: accounts and their links, and the trail of all that was done."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from duoscan.errors import InputError
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.worklist.store.accounts import (
    Role,
    accounts,
    add_account,
    change_account,
    make_link,
    read_account,
)
from duoscan.worklist.store.trail import check_trail, entries, record

LINK_S = 3 * 86_400.0


def accounts_page(visit: Visit) -> Response:
    """All accounts."""
    return _shown(visit)


def _shown(visit: Visit, *, link: str = "", name: str = "") -> Response:
    with visit.room.store.database.read() as connection:
        found = accounts(connection)
    return visit.page("accounts.html", accounts=found, roles=list(Role), link=link, name=name)


def _role(visit: Visit) -> Role:
    try:
        return Role(visit.form.get("role", ""))
    except ValueError as error:
        raise InputError(f"role: one of {', '.join(Role)}") from error


def new_account(visit: Visit) -> Response:
    """Make an account, and a link by which its owner chooses the password."""
    name, role = visit.form.get("name", "").strip(), _role(visit)
    with visit.room.store.database.write() as connection:
        account = add_account(connection, name, role, now=visit.now)
        token = make_link(connection, account, now=visit.now, lasts_s=LINK_S)
        record(
            connection, actor=visit.account.name, action="make account", subject=account, now=visit.now, role=role
        )  # fmt: skip
    return _shown(visit, link=f"/link/{token}", name=name)


def edit_account(visit: Visit) -> Response:
    """Another role, closed or open, or a new link; it bites at once."""
    with visit.room.store.database.write() as connection:
        account = read_account(connection, visit.path["account"])
        if account is None:
            raise Refusal(404, "no such account")
        if "link" in visit.form:
            token = make_link(connection, account.id, now=visit.now, lasts_s=LINK_S)
            record(connection, actor=visit.account.name, action="make link", subject=account.id, now=visit.now)
        else:
            token, role, is_closed = "", _role(visit), "closed" in visit.form
            change_account(connection, account.id, role=role, is_closed=is_closed)
            record(
                connection, actor=visit.account.name, action="change account", subject=account.id, now=visit.now,
                role=role, is_closed=is_closed,
            )  # fmt: skip
    return _shown(visit, link=f"/link/{token}", name=account.name) if token else RedirectResponse("/accounts", 303)


def trail_page(visit: Visit) -> Response:
    """Who did what, the newest first."""
    before = visit.query.get("before", "")
    if before and (not before.isascii() or not before.isdecimal() or len(before) > 9):
        raise InputError("before: the number of a line")
    with visit.room.store.database.read() as connection:
        found = entries(connection, before=int(before) if before else None)
        checked = check_trail(connection) if "check" in visit.query else None
    return visit.page("trail.html", entries=found, checked=checked)


ENDPOINTS = (
    Endpoint("GET", "/accounts", Action.ADMINISTER, accounts_page),
    Endpoint("POST", "/accounts", Action.ADMINISTER, new_account),
    Endpoint("POST", "/accounts/{account}", Action.ADMINISTER, edit_account),
    Endpoint("GET", "/trail", Action.ADMINISTER, trail_page),
)
