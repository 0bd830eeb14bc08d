"""All endpoints as one ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from duoscan.interfaces.serve import (
    admin_pages,
    api,
    case_pages,
    list_pages,
    pictures,
    signing_in,
    stow,
    uploading,
    watching,
)
from duoscan.interfaces.serve.guard import HEADERS, refused, route
from duoscan.interfaces.serve.openapi import endpoint_of
from duoscan.interfaces.serve.rendering import Renderer
from duoscan.interfaces.serve.room import Changes, Endpoint, Refusal, Room, Visit
from duoscan.terms import NOTICE
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from duoscan.interfaces.serve.config import ServeConfig
    from duoscan.worklist.store.store import Store

_HERE = Path(__file__).parent

_ENDPOINTS = (
    *signing_in.ENDPOINTS,
    *list_pages.ENDPOINTS,
    *case_pages.ENDPOINTS,
    *pictures.ENDPOINTS,
    *uploading.ENDPOINTS,
    *admin_pages.ENDPOINTS,
    *api.ENDPOINTS,
    *stow.ENDPOINTS,
    *watching.ENDPOINTS,
)
ENDPOINTS: tuple[Endpoint, ...] = (*_ENDPOINTS, endpoint_of(_ENDPOINTS))
"""Everything the server does, static files aside."""


def build_app(store: Store, config: ServeConfig, setup: str) -> Starlette:
    """The application.

    Args:
        store: Open.
        config: As told.
        setup: Digest of the models, of :func:`duoscan.worklist.worker.setup_digest`.
    """
    renderer = Renderer(store.cache, config.limits.cache_mb * 2**20)
    room = Room(store, config, setup, _templates(), renderer, Changes(store))
    names = ["127.0.0.1", "localhost", "[::1]", config.host, *config.names]
    routes: list[Route | Mount] = [route(endpoint, room) for endpoint in ENDPOINTS]
    app = Starlette(
        routes=[*routes, Mount("/static", _Static(directory=_HERE / "static"))],
        lifespan=_lifespan,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)],
        exception_handlers={HTTPException: partial(_not_routed, room), Exception: partial(_failed, room)},
    )
    app.state.room = room
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    changes: Changes = app.state.room.changes
    watching = asyncio.create_task(changes.watch())
    yield
    changes.stop()
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def _not_routed(room: Room, request: Request, error: Exception) -> Response:
    """What no endpoint answers."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _plain(room, request, Refusal(status, "there is nothing at this address, or not in this way"))


async def _failed(room: Room, request: Request, _error: Exception) -> Response:
    """A fault of the server: told without its text, which may quote anything."""
    return _plain(room, request, Refusal(500, "a fault of the server; an admin finds it in its log"))


def _plain(room: Room, request: Request, refusal: Refusal) -> Response:
    response = refused(Visit(request, room, None), refusal)
    response.headers.update(HEADERS)
    return response


class _Static(StaticFiles):
    """Files of the package, with the headers of all answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = {**HEADERS, "Cache-Control": "no-cache"}
                message["headers"] += [(name.lower().encode(), value.encode()) for name, value in kept.items()]
            await send(message)

        await super().__call__(scope, receive, with_headers)


def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"when": _when, "iso": _iso}
    found.globals |= {"NOTICE": NOTICE, "VERSION": __version__}
    return found


def _when(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%d %b %Y %H:%M")


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
