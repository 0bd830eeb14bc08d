"""What all endpoints share, and what one request is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from duoscan.interfaces.serve.permissions import Action, may
from duoscan.worklist.store.listing import latest_change

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from jinja2 import Environment
    from starlette.requests import Request

    from duoscan.interfaces.serve.config import ServeConfig
    from duoscan.interfaces.serve.rendering import Renderer
    from duoscan.worklist.store.accounts import Account, Session
    from duoscan.worklist.store.store import Store

_LOOK_EVERY_S = 1.0


class Refusal(Exception):  # noqa: N818 - what a person is told, not a fault
    """A request that is not answered as it was meant.

    Args:
        status: Of HTTP.
        text: What a person reads.
    """

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        super().__init__(text)


class Changes:
    """Tells everybody who listens that the worklist changed; the database is asked once a second for all of them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._event = asyncio.Event()
        self.is_stopping = False

    async def watch(self) -> None:
        """Look until cancelled."""
        seen: object = None
        while not self.is_stopping:
            found = await asyncio.to_thread(self._latest)
            if found != seen and seen is not None:
                self._tell()
            seen = found
            await asyncio.sleep(_LOOK_EVERY_S)

    def _latest(self) -> tuple[float, int]:
        with self._store.database.read() as connection:
            return latest_change(connection)

    def _tell(self) -> None:
        before, self._event = self._event, asyncio.Event()
        before.set()

    def stop(self) -> None:
        """End all streams."""
        self.is_stopping = True
        self._tell()

    async def wait(self, timeout_s: float) -> bool:
        """Whether something changed before the time was over."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout_s)
        except TimeoutError:
            return False
        return True


@dataclass
class Room:
    """The server's own things.

    Attributes:
        store: Cases, accounts, images.
        config: As told.
        setup: Digest of the models in force.
        templates: Of the pages.
        renderer: Draws slices.
        changes: Tells of them.
        failures: Times of wrong passwords, by name and by address.
    """

    store: Store
    config: ServeConfig
    setup: str
    templates: Environment
    renderer: Renderer
    changes: Changes
    failures: dict[str, list[float]] = field(default_factory=dict)


@dataclass
class Visit:
    """One request, with who makes it and what was sent.

    Attributes:
        request: As it came.
        room: What is shared.
        session: Who it is; ``None`` where nobody is signed in.
        form: Fields of a form.
        body: What was sent otherwise.
    """

    request: Request
    room: Room
    session: Session | None
    form: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    now: float = field(default_factory=time.time)

    @property
    def account(self) -> Account:
        """Who it is.

        Raises:
            Refusal: Nobody is signed in.
        """
        if self.session is None:
            raise Refusal(401, "sign in first")
        return self.session.account

    @property
    def path(self) -> dict[str, Any]:
        """Parameters in the path."""
        return dict(self.request.path_params)

    @property
    def query(self) -> dict[str, str]:
        """Parameters after the question mark; the last of each."""
        return dict(self.request.query_params)

    def may(self, action: str) -> bool:
        """Whether who it is may do that."""
        return self.session is not None and may(self.session.account.role, Action(action))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page, or a part of one."""
        text = self.room.templates.get_template(template).render(visit=self, room=self.room, **values)
        return Response(text, status, media_type="text/html; charset=utf-8")


@dataclass(frozen=True)
class Endpoint:
    """One thing the server does.

    Attributes:
        method: ``GET``, ``POST``, ``PUT``, …
        path: As Starlette writes it.
        action: Who may, by :mod:`duoscan.interfaces.serve.permissions`.
        answer: Answers; runs in a thread, since it asks the database.
        stream: In place of ``answer``: reads or writes piece by piece.
    """

    method: str
    path: str
    action: Action
    answer: Callable[[Visit], Response] | None = None
    stream: Callable[[Visit], Coroutine[Any, Any, Response]] | None = None
