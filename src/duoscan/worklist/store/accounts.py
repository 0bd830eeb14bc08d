"""Who may come in: accounts with roles, sessions on the server's side, links that work once.

Of every token only its hash is stored, so that who reads the database cannot sign in by it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, select, update

from duoscan.errors import ConflictError, InputError
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.queue import insert_once
from duoscan.worklist.store.schema import ACCOUNTS, LINKS, SESSIONS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

MIN_PASSWORD = 12
MAX_PASSWORD = 256
_LONGEST_NAME = 64
_HASHER = PasswordHasher()
_AT_ONCE = BoundedSemaphore(2)
"""Each takes 64 MiB; guesses that come all at once wait for each other."""
# Of no password: who names nobody waits as long as who names somebody.
_NOBODYS_HASH = _HASHER.hash(secrets.token_hex())


class Role(StrEnum):
    """What somebody is here for."""

    VIEWER = "viewer"
    CLINICIAN = "clinician"
    READER = "reader"
    ADMIN = "admin"


class SessionKind(StrEnum):
    """How somebody is known."""

    BROWSER = "browser"
    TOKEN = "token"  # noqa: S105 - a kind, no secret


@dataclass(frozen=True)
class Account:
    """Somebody who may come in; see the table."""

    id: str
    name: str
    role: Role
    is_closed: bool
    has_password: bool
    preferences: dict[str, Any]
    created: float


@dataclass(frozen=True)
class Session:
    """Somebody who is in.

    Attributes:
        account: As it is now, so that a change of role bites at once.
        kind: A browser, or a program with a token.
        csrf: What a form of the browser must send back.
        token_hash: Of the session.
    """

    account: Account
    kind: SessionKind
    csrf: str
    token_hash: str


def _account(row: Row[Any]) -> Account:
    return Account(
        row.id,
        row.name,
        Role(row.role),
        row.is_closed,
        row.password_hash is not None,
        json.loads(row.preferences),
        row.created,
    )


def hashed(token: str) -> str:
    """How a token is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add_account(connection: Connection, name: str, role: Role, *, now: float) -> str:
    """Make an account without a password; its id.

    Raises:
        InputError: The name is empty, too long or not printable.
        ConflictError: It is taken.
    """
    if not name or name != name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise InputError(f"name: write up to {_LONGEST_NAME} printable characters without spaces around them")
    identifier = new_id()
    if not insert_once(connection, ACCOUNTS, id=identifier, name=name, role=role, created=now):
        raise ConflictError(f"an account '{name}' is there; choose another name")
    return identifier


def accounts(connection: Connection) -> list[Account]:
    """All, by name."""
    return [_account(row) for row in connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.name))]


def read_account(connection: Connection, account: str) -> Account | None:
    """One, by id."""
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.id == account)).first()
    return _account(row) if row else None


def account_named(connection: Connection, name: str) -> Account | None:
    """One, by name."""
    row = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name)).first()
    return _account(row) if row else None


def change_account(connection: Connection, account: str, *, role: Role, is_closed: bool) -> None:
    """Give another role, close or open; who is closed is out at once.

    Raises:
        ConflictError: No admin would be left.
    """
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(role=role, is_closed=is_closed))
    if is_closed:
        connection.execute(delete(SESSIONS).where(SESSIONS.c.account == account))
        connection.execute(delete(LINKS).where(LINKS.c.account == account))
    admins = select(func.count()).where(ACCOUNTS.c.role == Role.ADMIN, ACCOUNTS.c.is_closed.is_(False))
    if not connection.execute(admins).scalar_one():
        raise ConflictError("no admin would be left; make another one first")


def check_password(text: str) -> None:
    """Refuse a password that is too easy.

    Raises:
        InputError: Too short or too long.
    """
    if not MIN_PASSWORD <= len(text) <= MAX_PASSWORD:
        raise InputError(f"the password has {len(text)} characters; choose {MIN_PASSWORD} to {MAX_PASSWORD}")


def hash_password(text: str) -> str:
    """How a password is stored (argon2id); it takes a while, so do it outside a transaction."""
    with _AT_ONCE:
        return _HASHER.hash(text.encode("utf-8", "surrogatepass"))


def set_password(connection: Connection, account: str, password_hash: str) -> None:
    """Change a password; all sessions of the account end, tokens of programs too."""
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(password_hash=password_hash))
    connection.execute(delete(SESSIONS).where(SESSIONS.c.account == account))


def set_preferences(connection: Connection, account: str, preferences: dict[str, Any]) -> None:
    """Keep what somebody likes."""
    text = json.dumps(preferences)
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(preferences=text))


def stored_password(connection: Connection, name: str) -> tuple[str | None, str]:
    """Id and hash of an account; nobody's hash where there is no such account, or none that may sign in by one."""
    row = connection.execute(
        select(ACCOUNTS.c.id, ACCOUNTS.c.password_hash).where(ACCOUNTS.c.name == name, ACCOUNTS.c.is_closed.is_(False))
    ).first()
    return (row.id, row.password_hash) if row and row.password_hash else (None, _NOBODYS_HASH)


def is_password(password_hash: str, text: str) -> bool:
    """Whether it is the one; takes as long for a wrong one."""
    if len(text) > MAX_PASSWORD:
        return False
    try:
        with _AT_ONCE:
            return _HASHER.verify(password_hash, text.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def open_session(
    connection: Connection, account: str, kind: SessionKind, *, now: float, lasts_s: float, label: str = ""
) -> str:
    """Let somebody in; the token to be shown again."""
    token = secrets.token_urlsafe(32)
    connection.execute(
        SESSIONS.insert().values(
            token_hash=hashed(token), account=account, kind=kind, csrf=secrets.token_urlsafe(24),
            label=label[:_LONGEST_NAME], created=now, expires=now + lasts_s,
        )
    )  # fmt: skip
    connection.execute(delete(SESSIONS).where(SESSIONS.c.expires < now))
    return token


def read_session(connection: Connection, token: str, *, now: float) -> Session | None:
    """Who shows a token; ``None`` where it is nobody's any more."""
    query = (
        select(SESSIONS.c.kind, SESSIONS.c.csrf, SESSIONS.c.token_hash, ACCOUNTS)
        .join(ACCOUNTS, ACCOUNTS.c.id == SESSIONS.c.account)
        .where(
            SESSIONS.c.token_hash == hashed(token), SESSIONS.c.expires >= now, ACCOUNTS.c.is_closed.is_(False)
        )
    )  # fmt: skip
    row = connection.execute(query).first()
    return Session(_account(row), SessionKind(row.kind), row.csrf, row.token_hash) if row else None


def close_session(connection: Connection, token_hash: str) -> None:
    """Sign out."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.token_hash == token_hash))


def make_link(connection: Connection, account: str, *, now: float, lasts_s: float) -> str:
    """A token by which the account's password is set, once; earlier ones of the account are void."""
    token = secrets.token_urlsafe(32)
    connection.execute(delete(LINKS).where((LINKS.c.account == account) | (LINKS.c.expires < now)))
    connection.execute(LINKS.insert().values(token_hash=hashed(token), account=account, expires=now + lasts_s))
    return token


def linked_account(connection: Connection, token: str, *, now: float) -> Account | None:
    """Whose a link is, while it works."""
    query = (
        select(ACCOUNTS)
        .join(LINKS, LINKS.c.account == ACCOUNTS.c.id)
        .where(LINKS.c.token_hash == hashed(token), LINKS.c.expires >= now, ACCOUNTS.c.is_closed.is_(False))
    )
    row = connection.execute(query).first()
    return _account(row) if row else None


def use_link(connection: Connection, token: str, *, now: float) -> bool:
    """End a link; whether it still worked, for one caller alone."""
    used = delete(LINKS).where(LINKS.c.token_hash == hashed(token), LINKS.c.expires >= now)
    return bool(connection.execute(used).rowcount)
