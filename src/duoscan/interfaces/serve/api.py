"""The worklist for programs: what the pages do, as JSON. What is changed names its version (``If-Match``)."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from duoscan.cases.stored import screening_text
from duoscan.errors import InputError
from duoscan.files import parse_json
from duoscan.interfaces.serve.case_pages import known_case
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.manifest.table import write_manifest
from duoscan.worklist.feedback import feedback_manifest
from duoscan.worklist.store.cases import case_images, read_screening_of, request_ct
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.listing import Listing, read_page
from duoscan.worklist.store.signing import Agreement, sign, sign_offs, visible_sign_offs
from duoscan.worklist.store.trail import record

if TYPE_CHECKING:
    from duoscan.worklist.store.cases import CaseRow

_TAG = re.compile(r'"(\d{1,9})"')
_HIDDEN = ("patient", "claimed_by")


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content), status, headers, media_type="application/json")


def _case(case: CaseRow) -> dict[str, Any]:
    return {name: value for name, value in asdict(case).items() if name not in _HIDDEN}


def list_cases(visit: Visit) -> Response:
    """A page of the worklist."""
    listing = Listing.parse(visit.query)
    with visit.room.store.database.read() as connection:
        page = read_page(connection, listing, visit.account.id, now=visit.now)
    content = {"cases": [_case(case) for case in page.cases], "total": page.total, "next": page.next or None}
    return _json(content)


def show_case(visit: Visit) -> Response:
    """One case with its files and sign-offs."""
    with visit.room.store.database.read() as connection:
        case = known_case(connection, visit)
        images, signed = case_images(connection, case.id), sign_offs(connection, case.id)
    seen = visible_sign_offs(signed, visit.account.id, is_closed=bool(case.signed))
    content = _case(case) | {
        "files": [asdict(image) for image in images],
        "sign_offs": [{name: value for name, value in asdict(one).items() if name != "account"} for one in seen],
    }
    return _json(content, headers={"ETag": f'"{case.version}"'})


def show_answer(visit: Visit) -> Response:
    """The stored case, as ``duoscan screen --json`` writes it."""
    with visit.room.store.database.read() as connection:
        case = known_case(connection, visit)
        found = read_screening_of(connection, case.id)
    if found is None:
        raise Refusal(404, "the case is not answered yet")
    tag = f'"{case.version}"'
    headers = {"ETag": tag}
    if visit.request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(screening_text(found[0]), headers=headers, media_type="application/json")


def _version(visit: Visit, case: CaseRow) -> int:
    """Which version a change is made on.

    Raises:
        Refusal: None is named, or an earlier one.
    """
    match = _TAG.fullmatch(visit.request.headers.get("if-match", ""))
    if match is None:
        raise Refusal(428, 'say which version you saw, by If-Match: "VERSION"')
    if int(match[1]) != case.version:
        raise Refusal(412, f"the case has version {case.version} by now; look again, then decide")
    return case.version


def _document(visit: Visit, *names: str) -> dict[str, Any]:
    """What was sent.

    Raises:
        InputError: No object, or with a name that is not known.
    """
    try:
        sent = parse_json(visit.body)
    except ValueError as error:
        raise InputError(f"the body is not JSON ({error})") from error
    if not isinstance(sent, dict) or not sent.keys() <= set(names):
        raise InputError(f"the body: an object with {', '.join(names)}")
    return sent


def post_request(visit: Visit) -> Response:
    """The clinician's answer to "need CT?"."""
    need_ct = _document(visit, "need_ct").get("need_ct")
    if not isinstance(need_ct, bool):
        raise InputError("need_ct: true or false")
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        version = _version(visit, case)
        request_ct(connection, case, need_ct=need_ct, version=version, setup=visit.room.setup, now=visit.now)
        words = "yes" if need_ct else "no"
        record(
            connection, actor=visit.account.name, action="request CT", subject=case.id, now=visit.now, need_ct=words
        )  # fmt: skip
    return show_case(visit)


def post_sign_off(visit: Visit) -> Response:
    """A reader's word on the answer."""
    sent = _document(visit, "agreement", "comment")
    comment = sent.get("comment", "")
    if sent.get("agreement") not in list(Agreement) or not isinstance(comment, str):
        raise InputError("agreement: agree, disagree or cannot say; comment: text")
    agreement = Agreement(sent["agreement"])
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        sign(
            connection, case.id, visit.account.id, agreement, _storable(comment),
            version=_version(visit, case), readers=visit.room.config.readers, now=visit.now,
        )  # fmt: skip
        record(connection, actor=visit.account.name, action="sign", subject=case.id, now=visit.now, agreement=agreement)
    return show_case(visit)


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def export_feedback(visit: Visit) -> Response:
    """What readers signed, as a manifest (CSV) whose paths are relative to the room's folder."""
    manifest = feedback_manifest(visit.room.store)
    path = visit.room.store.root / f".feedback-{new_id()}.csv"  # paths are written relative to it
    try:
        write_manifest(manifest, path)
        content = path.read_bytes()
    finally:
        path.unlink(missing_ok=True)
    with visit.room.store.database.write() as connection:
        record(
            connection, actor=visit.account.name, action="export", subject="", now=visit.now, images=len(manifest)
        )  # fmt: skip
    headers = {"Content-Disposition": 'attachment; filename="feedback.csv"'}
    return Response(content, headers=headers, media_type="text/csv; charset=utf-8")


ENDPOINTS = (
    Endpoint("GET", "/api/v1/cases", Action.LOOK, list_cases),
    Endpoint("GET", "/api/v1/cases/{case}", Action.LOOK, show_case),
    Endpoint("GET", "/api/v1/cases/{case}/answer", Action.LOOK, show_answer),
    Endpoint("POST", "/api/v1/cases/{case}/request", Action.REQUEST, post_request),
    Endpoint("POST", "/api/v1/cases/{case}/sign-offs", Action.SIGN, post_sign_off),
    Endpoint("GET", "/api/v1/feedback", Action.EXPORT, export_feedback),
)
