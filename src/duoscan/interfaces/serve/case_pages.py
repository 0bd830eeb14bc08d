"""One case: what was answered and why, who is at it, the clinician's request, sign-off."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse, Response

from duoscan.errors import ConflictError, InputError
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.interfaces.serve.stacks import stacks_of
from duoscan.reasons import ReasonCode
from duoscan.terms import Modality
from duoscan.worklist.store.cases import (
    CaseRow,
    CaseState,
    case_images,
    claim,
    priors,
    read_case,
    read_screening_of,
    release,
    request_ct,
    screen_again,
)
from duoscan.worklist.store.listing import Listing, read_page
from duoscan.worklist.store.signing import Agreement, sign, sign_offs, visible_sign_offs
from duoscan.worklist.store.trail import entries, record

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from duoscan.cases.case import CaseAnswer, Screening


def known_case(connection: Connection, visit: Visit) -> CaseRow:
    """The case the address names.

    Raises:
        Refusal: There is none.
    """
    case = read_case(connection, visit.path["case"])
    if case is None:
        raise Refusal(404, "no such case")
    return case


def case_page(visit: Visit) -> Response:
    """All that is known of a case; a reader who opens it is at it from then on, if nobody else is."""
    database = visit.room.store.database
    with database.read() as connection:
        case = known_case(connection, visit)
        is_opened = visit.request.headers.get("hx-request") is None
        found = read_screening_of(connection, case.id)
        images = case_images(connection, case.id)
        signed = sign_offs(connection, case.id)
        before = priors(connection, case)
        history = entries(connection, subject=case.id, limit=200)
    if is_opened and visit.may(Action.SIGN) and not case.signed:
        case = _claimed(visit, case)
    screening = found[0] if found else None
    stacks = stacks_of(images, screening)
    sides = {modality: [one for one in stacks if one.modality is modality] for modality in Modality}
    seen = visible_sign_offs(signed, visit.account.id, is_closed=bool(case.signed))
    values: dict[str, Any] = {
        "case": case,
        "screening": screening,
        "answer": screening.cases[0] if screening else None,
        "flow": _flow(screening) if screening else [],
        "notes": _notes(screening.cases[0]) if screening else [],
        "sides": sides,
        "priors": before,
        "sign_offs": seen,
        "hidden": len(signed) - len(seen),
        "history": [one for one in history if seen or one.action != "sign"],
        "is_somebody_elses": _is_somebody_elses(visit, case),
    }
    part = visit.request.headers.get("hx-target") == "panel"
    return visit.page("panel.html" if part else "case.html", **values)


def _is_somebody_elses(visit: Visit, case: CaseRow) -> bool:
    return case.claimed_by not in {None, visit.account.id} and case.claimed_until >= visit.now


def _claimed(visit: Visit, case: CaseRow) -> CaseRow:
    database, until = visit.room.store.database, visit.now + visit.room.config.claim_s
    with suppress(ConflictError), database.write() as connection:
        claim(connection, case.id, visit.account.id, now=visit.now, until=until)
        if case.claimed_by != visit.account.id:
            record(connection, actor=visit.account.name, action="open", subject=case.id, now=visit.now)
    with database.read() as connection:
        return read_case(connection, case.id) or case


_STEP_WORDS = {
    "positive": "at or above the threshold",
    "negative": "below the threshold",
    "uncertain": "between the thresholds",
    "unreadable": "could not be answered",
    "not read": "there, and not read",
    "absent": "none",
}


def _flow(screening: Screening) -> list[tuple[str, str, str]]:
    """The two phases as this patient went through them: a name, what came out, and in words."""
    (case,) = screening.cases
    steps = [("X-ray", str(case.xray.state), _STEP_WORDS[case.xray.state])]
    steps.append(("Clinician", "asks for CT" if case.need_ct else "no request", ""))
    if case.to_ct:
        steps.append(("CT", str(case.ct.state), _STEP_WORDS[case.ct.state]))
    else:
        steps.append(("CT", "not needed", "the policy ends before"))
    return [*steps, ("Answer", str(case.answer), "")]


def _notes(case: CaseAnswer) -> list[str]:
    """Of the input: everything a reader should know that is not how the rule went."""
    told = [reason.spoken for reason in case.reasons if reason.code is not ReasonCode.RULE]
    told += [f"{study.modality.spoken}: {study.reason.spoken}" for study in case.studies if study.reason]
    return list(dict.fromkeys(told))


def _version(visit: Visit) -> int:
    text = visit.form.get("version", "")
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise InputError("version: the number of the case's version as the page showed it")
    return int(text)


def answer_request(visit: Visit) -> Response:
    """The clinician's answer to "need CT?": decides again, runs no model."""
    need_ct = visit.form.get("need_ct")
    if need_ct not in {"yes", "no"}:
        raise InputError("need_ct: yes or no")
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        request_ct(
            connection, case, need_ct=need_ct == "yes", version=_version(visit), setup=visit.room.setup, now=visit.now
        )
        record(
            connection, actor=visit.account.name, action="request CT", subject=case.id, now=visit.now, need_ct=need_ct
        )
    return _back(visit)


def answer_sign(visit: Visit) -> Response:
    """A reader's word on the answer."""
    try:
        agreement = Agreement(visit.form.get("agreement", ""))
    except ValueError as error:
        raise InputError("agreement: agree, disagree or cannot say") from error
    comment = visit.form.get("comment", "").strip()
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        sign(
            connection, case.id, visit.account.id, agreement, comment,
            version=_version(visit), readers=visit.room.config.readers, now=visit.now,
        )  # fmt: skip
        record(connection, actor=visit.account.name, action="sign", subject=case.id, now=visit.now, agreement=agreement)
    return _back(visit)


def answer_claim(visit: Visit) -> Response:
    """Take a case, go on with it, or let it go."""
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        if "release" in visit.form:
            release(connection, case.id, visit.account.id, now=visit.now)
        else:
            until = visit.now + visit.room.config.claim_s
            claim(connection, case.id, visit.account.id, now=visit.now, until=until)
    return RedirectResponse("/", 303) if "release" in visit.form else Response(status_code=204)


def answer_again(visit: Visit) -> Response:
    """Screen a case again that was given up."""
    with visit.room.store.database.write() as connection:
        case = known_case(connection, visit)
        if case.state is not CaseState.FAILED:
            raise ConflictError("only what was given up is screened again")
        screen_again(connection, case, version=_version(visit), setup=visit.room.setup, now=visit.now)
        record(connection, actor=visit.account.name, action="screen again", subject=case.id, now=visit.now)
    return _back(visit)


def _back(visit: Visit) -> Response:
    return RedirectResponse(f"/cases/{visit.path['case']}", 303)


def next_case(visit: Visit) -> Response:
    """The most urgent case that nobody is at and that is not the one before one's eyes."""
    listing = Listing(claimed="free", rows=3)
    with visit.room.store.database.read() as connection:
        page = read_page(connection, listing, visit.account.id, now=visit.now)
    for case in page.cases:
        if case.id != visit.query.get("not") and case.state is not CaseState.WAITING:
            return RedirectResponse(f"/cases/{case.id}", 303)
    return RedirectResponse("/", 303)


ENDPOINTS = (
    Endpoint("GET", "/next", Action.CLAIM, next_case),
    Endpoint("GET", "/cases/{case}", Action.LOOK, case_page),
    Endpoint("POST", "/cases/{case}/claim", Action.CLAIM, answer_claim),
    Endpoint("POST", "/cases/{case}/request", Action.REQUEST, answer_request),
    Endpoint("POST", "/cases/{case}/sign", Action.SIGN, answer_sign),
    Endpoint("POST", "/cases/{case}/again", Action.REQUEST, answer_again),
)
