"""Coming in and going out: password, one-time link, what somebody likes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse, Response

from duoscan.errors import InputError
from duoscan.files import parse_json
from duoscan.interfaces.serve.guard import cookie_name
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.worklist.store.accounts import (
    SessionKind,
    check_password,
    close_session,
    hash_password,
    is_password,
    linked_account,
    open_session,
    set_password,
    set_preferences,
    stored_password,
    use_link,
)
from duoscan.worklist.store.trail import record

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_COUNTED = 10_000
_HOTKEYS = ("next", "claim", "request", "agree", "disagree", "cannot", "invert", "heat", "cine", "up", "down", "reset")
_THEMES = ("dark", "light")


def sign_in_page(visit: Visit) -> Response:
    """Where a name and a password are asked for."""
    if visit.session is not None:
        return RedirectResponse("/", 303)
    return visit.page("sign_in.html", name="", fault="")


def sign_in(visit: Visit) -> Response:
    """Check a password; too many wrong ones make name and address wait."""
    name, password = visit.form.get("name", "")[:200], visit.form.get("password", "")
    client = visit.request.client
    counted = (f"name {name}", f"address {client.host if client else ''}")
    if any(_is_waiting(visit, one) for one in counted):
        raise Refusal(429, "too many wrong passwords; wait some minutes")
    database = visit.room.store.database
    with database.read() as connection:
        account, known = stored_password(connection, name)
    if not is_password(known, password) or account is None:
        _count(visit, counted)
        with database.write() as connection:
            record(connection, actor="server", action="wrong password", subject=account or "", now=visit.now)
        return visit.page("sign_in.html", 401, name=name, fault="Name or password is wrong.")
    return _let_in(visit, account, name)


def _let_in(visit: Visit, account: str, name: str) -> Response:
    room = visit.room
    with room.store.database.write() as connection:
        token = open_session(connection, account, SessionKind.BROWSER, now=visit.now, lasts_s=room.config.session_s)
        record(connection, actor=name, action="sign in", subject=account, now=visit.now)
    response = RedirectResponse("/", 303)
    response.set_cookie(
        cookie_name(room), token, max_age=int(room.config.session_s), path="/", secure=room.config.https,
        httponly=True, samesite="lax",
    )  # fmt: skip
    return response


def _is_waiting(visit: Visit, one: str) -> bool:
    limits = visit.room.config.limits
    recent = [at for at in visit.room.failures.get(one, ()) if at > visit.now - limits.sign_in_wait_s]
    return len(recent) >= limits.sign_in_failures


def _count(visit: Visit, counted: Iterable[str]) -> None:
    failures = visit.room.failures
    if len(failures) > _MOST_COUNTED:
        failures.clear()
    most = visit.room.config.limits.sign_in_failures
    for one in counted:
        failures[one] = [*failures.get(one, ()), visit.now][-most:]


def sign_out(visit: Visit) -> Response:
    """End the session."""
    if visit.session is not None:
        with visit.room.store.database.write() as connection:
            close_session(connection, visit.session.token_hash)
            record(
                connection, actor=visit.account.name, action="sign out", subject=visit.account.id, now=visit.now
            )  # fmt: skip
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(cookie_name(visit.room), path="/", secure=visit.room.config.https, httponly=True)
    return response


def link_page(visit: Visit) -> Response:
    """Where whoever has a link chooses a password."""
    with visit.room.store.database.read() as connection:
        account = linked_account(connection, visit.path["token"], now=visit.now)
    if account is None:
        raise Refusal(404, "this link was used, or is too old; ask an admin for another one")
    return visit.page("link.html", account=account, token=visit.path["token"], fault="")


def use_link_page(visit: Visit) -> Response:
    """Set the password by a link, which ends it."""
    token = visit.path["token"]
    database = visit.room.store.database
    with database.read() as connection:
        account = linked_account(connection, token, now=visit.now)
    if account is None:
        raise Refusal(404, "this link was used, or is too old; ask an admin for another one")
    try:
        _check_twice(visit)
    except InputError as error:
        return visit.page("link.html", 400, account=account, token=token, fault=f"{error}.")
    password_hash = hash_password(visit.form["password"])
    with database.write() as connection:
        if not use_link(connection, token, now=visit.now):
            raise Refusal(404, "this link was just used; ask an admin for another one")
        set_password(connection, account.id, password_hash)
        record(connection, actor=account.name, action="set password", subject=account.id, now=visit.now)
    return _let_in(visit, account.id, account.name)


def _check_twice(visit: Visit) -> None:
    check_password(visit.form.get("password", ""))
    if visit.form.get("password") != visit.form.get("again"):
        raise InputError("the two passwords differ")


def account_page(visit: Visit) -> Response:
    """One's own account."""
    return visit.page("account.html", fault="")


def change_password(visit: Visit) -> Response:
    """Set another password; the old one is asked for."""
    account, database = visit.account, visit.room.store.database
    with database.read() as connection:
        _, known = stored_password(connection, account.name)
    if _is_waiting(visit, f"name {account.name}"):
        raise Refusal(429, "too many wrong passwords; wait some minutes")
    if not is_password(known, visit.form.get("old", "")):
        _count(visit, [f"name {account.name}"])
        return visit.page("account.html", 400, fault="The old password is wrong.")
    try:
        _check_twice(visit)
    except InputError as error:
        return visit.page("account.html", 400, fault=f"{error}.")
    password_hash = hash_password(visit.form["password"])
    with database.write() as connection:
        set_password(connection, account.id, password_hash)
        record(connection, actor=account.name, action="set password", subject=account.id, now=visit.now)
    return _let_in(visit, account.id, account.name)


def make_token(visit: Visit) -> Response:
    """A token for a program; shown once."""
    account, year_s = visit.account, 365 * 86_400.0
    with visit.room.store.database.write() as connection:
        label = visit.form.get("label", "")
        token = open_session(
            connection, account.id, SessionKind.TOKEN, now=visit.now, lasts_s=year_s, label=label
        )  # fmt: skip
        record(connection, actor=account.name, action="make token", subject=account.id, now=visit.now)
    return visit.page("account.html", fault="", token=token)


def keep_preferences(visit: Visit) -> Response:
    """Keep theme and hotkeys.

    Raises:
        InputError: Something else was sent.
    """
    try:
        sent = parse_json(visit.body)
    except ValueError as error:
        raise InputError("preferences: not JSON") from error
    if not isinstance(sent, dict):
        raise InputError("preferences: not an object")
    kept = dict(visit.account.preferences)
    if sent.get("theme") in _THEMES:
        kept["theme"] = sent["theme"]
    if isinstance(keys := sent.get("keys"), dict):
        kept["keys"] = {name: str(keys[name])[:12] for name in _HOTKEYS if name in keys}
    with visit.room.store.database.write() as connection:
        set_preferences(connection, visit.account.id, kept)
    return Response(json.dumps(kept), media_type="application/json")


ENDPOINTS = (
    Endpoint("GET", "/sign-in", Action.COME_IN, sign_in_page),
    Endpoint("POST", "/sign-in", Action.COME_IN, sign_in),
    Endpoint("GET", "/link/{token}", Action.COME_IN, link_page),
    Endpoint("POST", "/link/{token}", Action.COME_IN, use_link_page),
    Endpoint("POST", "/sign-out", Action.OWN_ACCOUNT, sign_out),
    Endpoint("GET", "/account", Action.OWN_ACCOUNT, account_page),
    Endpoint("POST", "/account/password", Action.OWN_ACCOUNT, change_password),
    Endpoint("POST", "/account/token", Action.OWN_ACCOUNT, make_token),
    Endpoint("POST", "/account/preferences", Action.OWN_ACCOUNT, keep_preferences),
)
