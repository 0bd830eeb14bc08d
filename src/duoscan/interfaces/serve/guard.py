"""Between the network and every endpoint: who it is, whether they may, and what leaves in which words and headers."""

from __future__ import annotations

import hmac
import json
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from duoscan.errors import ConflictError, DuoscanError, InputError
from duoscan.interfaces.serve.permissions import Action, may
from duoscan.interfaces.serve.room import Endpoint, Refusal, Room, Visit
from duoscan.worklist.store.accounts import Session, SessionKind, read_session

if TYPE_CHECKING:
    from starlette.requests import Request

_MOST_FORM_BYTES = 256 * 2**10
_SAFE = frozenset({"GET", "HEAD"})
PROGRAMS = ("/api/", "/dicom-web/", "/health/", "/metrics")

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def cookie_name(room: Room) -> str:
    """Of the session; with TLS bound to this host and path."""
    return "__Host-duoscan" if room.config.https else "duoscan"


def route(endpoint: Endpoint, room: Room) -> Route:
    """The endpoint behind all checks."""

    async def answer(request: Request) -> Response:
        visit = Visit(request, room, None)
        try:
            visit.session = await run_in_threadpool(_who, request, room, visit.now)
            _check(endpoint, visit)
            if endpoint.stream is not None:
                _check_token(visit, request.headers.get("x-csrf-token", ""))
                response = await endpoint.stream(visit)
            else:
                await _read(visit)
                _check_token(visit, visit.form.get("csrf") or request.headers.get("x-csrf-token", ""))
                assert endpoint.answer is not None  # noqa: S101 - one of the two is there
                response = await run_in_threadpool(endpoint.answer, visit)
        except Refusal as refusal:
            response = refused(visit, refusal)
        except DuoscanError as error:
            response = refused(visit, Refusal(status_of(error), str(error)))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return Route(endpoint.path, answer, methods=[endpoint.method])


def status_of(error: DuoscanError) -> int:
    """Of HTTP, for a deliberate error."""
    if isinstance(error, ConflictError):
        return 409
    return 400 if isinstance(error, InputError) else 500


def _who(request: Request, room: Room, now: float) -> Session | None:
    kind, _, shown = request.headers.get("authorization", "").partition(" ")
    is_token = kind.lower() == "bearer"
    token = shown if is_token else request.cookies.get(cookie_name(room), "")
    if not token:
        return None
    with room.store.database.read() as connection:
        session = read_session(connection, token, now=now)
    # A cookie's token is no bearer token, nor the other way round.
    wanted = SessionKind.TOKEN if is_token else SessionKind.BROWSER
    return session if session is not None and session.kind is wanted else None


def _check(endpoint: Endpoint, visit: Visit) -> None:
    """Whether this may be asked for.

    Raises:
        Refusal: By somebody else's page, by nobody, or by a role that may not.
    """
    request = visit.request
    origin = request.headers.get("origin")
    is_own = origin is None or urlsplit(origin).netloc == request.headers.get("host")
    if request.method not in _SAFE and not is_own:
        raise Refusal(403, "asked for by a page from elsewhere")
    if endpoint.action is Action.COME_IN:
        return
    if not may(visit.account.role, endpoint.action):
        raise Refusal(403, f"a {visit.account.role} may not do this; ask an admin for another role")


def _check_token(visit: Visit, sent: str) -> None:
    session = visit.session
    if visit.request.method in _SAFE or session is None or session.kind is SessionKind.TOKEN:
        return
    if not hmac.compare_digest(session.csrf.encode(), sent.encode("utf-8", "replace")):
        raise Refusal(403, "the form is from an earlier sign-in; open the page again")


async def _read(visit: Visit) -> None:
    """What was sent: a form, or a document."""
    if visit.request.method in _SAFE:
        return
    body = bytearray()
    async for chunk in visit.request.stream():
        body += chunk
        if len(body) > _MOST_FORM_BYTES:
            raise Refusal(413, f"more than {_MOST_FORM_BYTES // 2**10} KiB")
    visit.body = bytes(body)
    if visit.request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        text = visit.body.decode("utf-8", "replace").replace("\0", "")
        try:
            visit.form = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=200))
        except ValueError as error:
            raise Refusal(400, "a form with too many fields") from error


def refused(visit: Visit, refusal: Refusal) -> Response:
    """A page, or a document for programs (RFC 9457)."""
    request, status = visit.request, refusal.status
    if request.url.path.startswith(PROGRAMS):
        return problem(status, refusal.text)
    is_part = "hx-request" in request.headers or request.headers.get("sec-fetch-dest", "document") == "empty"
    if status == 401 and request.method == "GET" and not is_part:
        return RedirectResponse("/sign-in", 303)
    return visit.page("refused.html", status, code=status, text=refusal.text, phrase=HTTPStatus(status).phrase)


def problem(status: int, detail: str) -> Response:
    """A document of what went wrong (RFC 9457)."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return Response(json.dumps(content), status, headers, media_type="application/problem+json")
