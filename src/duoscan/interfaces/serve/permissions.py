"""Who may do what: one table; an endpoint names its action and nothing else decides."""

from __future__ import annotations

from enum import StrEnum

from duoscan.worklist.store.accounts import Role


class Action(StrEnum):
    """What an endpoint does."""

    COME_IN = "come in"
    """Open to everybody: signing in, and what the sign-in page needs."""
    OWN_ACCOUNT = "own account"
    LOOK = "look"
    UPLOAD = "upload"
    CLAIM = "claim"
    REQUEST = "request"
    """The clinician's answer to "need CT?"."""
    SIGN = "sign"
    EXPORT = "export"
    ADMINISTER = "administer"


_EVERYBODY = frozenset(Role)

MAY: dict[Action, frozenset[Role]] = {
    Action.OWN_ACCOUNT: _EVERYBODY,
    Action.LOOK: _EVERYBODY,
    Action.UPLOAD: frozenset({Role.CLINICIAN, Role.READER, Role.ADMIN}),
    Action.CLAIM: frozenset({Role.CLINICIAN, Role.READER}),
    Action.REQUEST: frozenset({Role.CLINICIAN, Role.READER}),
    Action.SIGN: frozenset({Role.READER}),
    Action.EXPORT: frozenset({Role.READER, Role.ADMIN}),
    Action.ADMINISTER: frozenset({Role.ADMIN}),
}
"""Roles by action; an action that is not here is open."""


def may(role: Role, action: Action) -> bool:
    """Whether a role may do it."""
    return action is Action.COME_IN or role in MAY[action]
