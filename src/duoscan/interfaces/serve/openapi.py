"""The API's description (OpenAPI 3.1), made from the endpoints themselves."""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from duoscan.interfaces.serve.permissions import MAY, Action
from duoscan.interfaces.serve.room import Endpoint, Visit
from duoscan.version import __version__
from duoscan.worklist.store.listing import SORTS
from duoscan.worklist.store.signing import Agreement

if TYPE_CHECKING:
    from collections.abc import Iterable

_TEXT = {"type": "string"}
_PROBLEM = {"type": "object", "required": ["type", "title", "status", "detail"], "properties": {
    "type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT,
}}  # fmt: skip
_UPLOAD = {"type": "object", "required": ["id", "state", "files", "bytes", "remark"], "properties": {
    "id": _TEXT, "state": _TEXT, "files": {"type": "integer"}, "bytes": {"type": "integer"}, "remark": _TEXT,
}}  # fmt: skip
_CASE = {"type": "object", "required": ["id", "patient_id", "state", "answer", "version"], "properties": {
    "id": _TEXT, "patient_id": _TEXT, "state": _TEXT, "answer": _TEXT, "version": {"type": "integer"},
}}  # fmt: skip
_LIST = {"type": "object", "required": ["cases", "total", "next"], "properties": {
    "cases": {"type": "array", "items": _CASE}, "total": {"type": "integer"}, "next": {"type": ["string", "null"]},
}}  # fmt: skip
_OBJECT = {"type": "object"}

# (method, path) → status when all is well, its media type and schema.
_GOOD: dict[tuple[str, str], tuple[int, str, Any]] = {
    ("GET", "/api/v1/cases"): (200, "application/json", _LIST),
    ("GET", "/api/v1/cases/{case}"): (200, "application/json", _CASE),
    ("GET", "/api/v1/cases/{case}/answer"): (200, "application/json", _OBJECT),
    ("POST", "/api/v1/cases/{case}/request"): (200, "application/json", _CASE),
    ("POST", "/api/v1/cases/{case}/sign-offs"): (200, "application/json", _CASE),
    ("GET", "/api/v1/feedback"): (200, "text/csv", _TEXT),
    ("POST", "/api/v1/uploads"): (201, "application/json", _UPLOAD),
    ("GET", "/api/v1/uploads/{upload}"): (200, "application/json", _UPLOAD),
    ("PUT", "/api/v1/uploads/{upload}/files/{number}"): (204, "", None),
    ("POST", "/api/v1/uploads/{upload}/complete"): (202, "application/json", _UPLOAD),
}
_BODIES: dict[tuple[str, str], tuple[str, Any]] = {
    ("POST", "/api/v1/cases/{case}/request"): (
        "application/json",
        {"type": "object", "required": ["need_ct"], "properties": {"need_ct": {"type": "boolean"}},
         "additionalProperties": False},
    ),
    ("POST", "/api/v1/cases/{case}/sign-offs"): (
        "application/json",
        {"type": "object", "required": ["agreement"], "additionalProperties": False,
         "properties": {"agreement": {"enum": list(Agreement)}, "comment": _TEXT}},
    ),
    ("PUT", "/api/v1/uploads/{upload}/files/{number}"): ("application/octet-stream", {}),
    ("POST", "/api/v1/uploads"): (
        "application/x-www-form-urlencoded",
        {"type": "object", "properties": {"patient": _TEXT}},
    ),
}  # fmt: skip
_QUERIES: dict[tuple[str, str], dict[str, Any]] = {
    ("GET", "/api/v1/cases"): {
        "shown": _TEXT, "answer": _TEXT, "patient": _TEXT, "claimed": _TEXT, "sort": {"enum": list(SORTS)},
        "order": {"enum": ["up", "down"]}, "after": _TEXT, "rows": {"type": "integer", "minimum": 1, "maximum": 200},
    },
    ("PUT", "/api/v1/uploads/{upload}/files/{number}"): {"name": _TEXT},
}  # fmt: skip
_HEADERS = {
    ("POST", "/api/v1/cases/{case}/request"): "If-Match",
    ("POST", "/api/v1/cases/{case}/sign-offs"): "If-Match",
    ("POST", "/api/v1/uploads"): "Idempotency-Key",
}
_FAULTS = (400, 401, 403, 404, 409, 412, 413, 415, 428, 500, 507)


def description(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document.

    Args:
        endpoints: All of the server; those of the API are described.
    """
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        if (endpoint.method, endpoint.path) in _GOOD:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "duoscan reading room", "version": __version__},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    key = (endpoint.method, endpoint.path)
    status, media, schema = _GOOD[key]
    good: dict[str, Any] = {"description": "as asked"}
    if media:
        good["content"] = {media: {"schema": schema}}
    problem = {"description": "a problem (RFC 9457)", "content": {"application/problem+json": {"schema": _PROBLEM}}}
    made: dict[str, Any] = {
        "summary": (inspect.getdoc(endpoint.answer or endpoint.stream) or "").partition("\n")[0],
        "description": f"For: {', '.join(sorted(MAY[endpoint.action]))}.",
        "parameters": _parameters(key),
        "responses": {str(status): good, **{str(one): problem for one in _FAULTS}},
    }
    if key in _BODIES:
        media, schema = _BODIES[key]
        made["requestBody"] = {"content": {media: {"schema": schema}}}
    return made


def _parameters(key: tuple[str, str]) -> list[dict[str, Any]]:
    named = re.findall(r"\{(\w+)\}", key[1])
    found = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    found += [{"name": name, "in": "query", "schema": schema} for name, schema in _QUERIES.get(key, {}).items()]
    if header := _HEADERS.get(key):
        found.append({"name": header, "in": "header", "schema": _TEXT})
    return found


def endpoint_of(endpoints: Iterable[Endpoint]) -> Endpoint:
    """Where the document is asked for."""
    text = json.dumps(description(endpoints))

    def show(_visit: Visit) -> Response:
        """This document."""
        return Response(text, media_type="application/json")

    return Endpoint("GET", "/api/v1/openapi.json", Action.LOOK, show)
