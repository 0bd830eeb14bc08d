"""The reading room as programs meet it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydicom import dcmread
from pydicom.data import get_testdata_file
from starlette.testclient import TestClient

from duoscan.cases.stored import parse_screening
from duoscan.manifest.table import read_manifest
from duoscan.terms import Finding, Modality
from duoscan.worklist.store.accounts import Role
from duoscan.worklist.store.store import Store
from serve_parts import upload, work_off, worker
from serve_visits import Visitor, sign_in

Made = tuple[Store, TestClient]
Bundles = dict[Modality, Path]
Xray = Callable[..., bytes]


@pytest.fixture
def answered(room: Made, brightness_bundles: Bundles, xray: Xray) -> tuple[Store, TestClient, str]:
    """A room with one negative case; its id."""
    store, client = room
    upload(store, {"a.dcm": xray("P1", 0.2)})
    work_off(worker(store, brightness_bundles))
    return store, client, str(sign_in(client, store).get("/api/v1/cases").json()["cases"][0]["id"])


def test_the_list_goes_on_by_its_cursor(room: Made, brightness_bundles: Bundles, xray: Xray) -> None:
    store, client = room
    upload(store, {f"{number}.dcm": xray(f"P{number}", 0.2, seed=number) for number in range(5)})
    work_off(worker(store, brightness_bundles))
    reader = sign_in(client, store)
    seen: list[str] = []
    query = {"rows": "2", "sort": "patient"}
    while True:
        page = reader.get("/api/v1/cases", **query).json()
        seen += [case["patient_id"] for case in page["cases"]]
        if page["next"] is None:
            break
        query["after"] = page["next"]
    assert seen == [f"P{number}" for number in range(5)]


def test_the_answer_is_the_stored_case(answered: tuple[Store, TestClient, str]) -> None:
    store, client, case = answered
    reader = sign_in(client, store)
    shown = reader.get(f"/api/v1/cases/{case}/answer")
    (one,) = parse_screening(shown.content, "here").cases
    assert (one.patient_id, str(one.answer)) == ("P1", "negative")
    held = reader.get(f"/api/v1/cases/{case}/answer", headers={"If-None-Match": shown.headers["etag"]})
    assert (held.status_code, held.content) == (304, b"")


def test_a_change_names_the_version_it_was_made_on(answered: tuple[Store, TestClient, str]) -> None:
    store, client, case = answered
    reader = sign_in(client, store)
    where = f"/api/v1/cases/{case}/request"
    assert reader.send("POST", where, json={"need_ct": True}).status_code == 428
    tag = reader.get(f"/api/v1/cases/{case}").headers["etag"]
    changed = reader.send("POST", where, json={"need_ct": True}, headers={"If-Match": tag})
    assert changed.json()["answer"] == "CT needed"
    late = reader.send("POST", where, json={"need_ct": False}, headers={"If-Match": tag})
    assert late.status_code == 412
    problem = late.json()
    assert late.headers["content-type"] == "application/problem+json"
    assert problem["status"] == 412
    assert "look again" in problem["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"need_ct": 1}', b'{"need_ct": true, "x": 1}', b"[" * 9999]
)
def test_another_document_is_refused(body: bytes, answered: tuple[Store, TestClient, str]) -> None:
    store, client, case = answered
    reader = sign_in(client, store)
    sent = reader.send("POST", f"/api/v1/cases/{case}/request", content=body, headers={"If-Match": '"1"'})
    assert sent.status_code == 400


@pytest.mark.parametrize(
    ("agreement", "label"), [("agree", Finding.OTHER), ("disagree", Finding.COVID), ("cannot say", None)]
)
def test_what_was_signed_is_a_manifest(
    agreement: str, label: Finding | None, answered: tuple[Store, TestClient, str]
) -> None:
    store, client, case = answered
    reader = sign_in(client, store)
    tag = reader.get(f"/api/v1/cases/{case}").headers["etag"]
    said = {"agreement": agreement, "comment": "a\0b"}
    signed = reader.send("POST", f"/api/v1/cases/{case}/sign-offs", json=said, headers={"If-Match": tag})
    assert signed.json()["sign_offs"][0]["agreement"] == agreement
    exported = reader.get("/api/v1/feedback")
    if label is None:
        assert exported.text.count("\n") == 1  # the names of the columns
        return
    path = store.root / "feedback.csv"
    path.write_bytes(exported.content)
    manifest = read_manifest(path)  # looks for the files, too
    assert [(record.patient_id, record.label) for record in manifest] == [("P1", label)]


def _related(*objects: bytes) -> tuple[bytes, dict[str, str]]:
    parts = b"".join(b"--b0\r\nContent-Type: application/dicom\r\n\r\n" + one + b"\r\n" for one in objects)
    return parts + b"--b0--", {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b0'}


def test_objects_arrive_by_stow(room: Made, brightness_bundles: Bundles) -> None:
    store, client = room
    router = sign_in(client, store, "router", Role.CLINICIAN)
    path = Path(str(get_testdata_file("CT_small.dcm")))
    body, headers = _related(path.read_bytes(), b"no dicom")
    answer = router.send("POST", "/dicom-web/studies", content=body, headers=headers)
    told = answer.json()
    assert answer.status_code == 202
    assert [one["00081155"]["Value"] for one in told["00081199"]["Value"]] == [[str(dcmread(path).SOPInstanceUID)]]
    assert len(told["00081198"]["Value"]) == 1
    work_off(worker(store, brightness_bundles))
    assert router.get("/api/v1/cases").json()["cases"][0]["patient_id"] == str(dcmread(path).PatientID)
    assert list((store.root / "images" / "incoming").iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"--b0", b"--b0\r\nx", b"x" * 100_000])
def test_a_torn_stow_is_refused(body: bytes, room: Made) -> None:
    store, client = room
    router = sign_in(client, store, "router", Role.CLINICIAN)
    sent = router.send("POST", "/dicom-web/studies", content=body, headers=_related()[1])
    assert sent.status_code == 400
    assert router.send("POST", "/dicom-web/studies", content=body).status_code == 415
    assert list((store.root / "images" / "incoming").iterdir()) == []


def test_whoever_watches_learns_of_no_patient(answered: tuple[Store, TestClient, str]) -> None:
    store, client, _ = answered
    assert client.get("/health/live").json() == {"status": "alive"}
    assert client.get("/health/ready").json() == {"status": "ready", "faults": []}
    assert client.get("/metrics").status_code == 401
    text = sign_in(client, store, "boss", Role.ADMIN).get("/metrics").text
    assert 'duoscan_cases{answer="negative",state="answered"} 1.0' in text
    assert 'duoscan_jobs{state="done"} 2.0' in text
    assert "P1" not in text


def test_the_description_names_every_endpoint_of_the_api(room: Made) -> None:
    from duoscan.interfaces.serve.app import ENDPOINTS

    store, client = room
    described = sign_in(client, store).get("/api/v1/openapi.json").json()
    named = {f"{method.upper()} {path}" for path, found in described["paths"].items() for method in found}
    api = {f"{one.method} {one.path}" for one in ENDPOINTS if one.path.startswith("/api/")}
    assert named | {"GET /api/v1/openapi.json"} == api


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of what schemathesis calls
@pytest.mark.slow
def test_every_answer_of_the_api_is_as_described(answered: tuple[Store, TestClient, str]) -> None:
    store, client, _ = answered
    reader: Visitor = sign_in(client, store)
    schema = schemathesis.openapi.from_dict(reader.get("/api/v1/openapi.json").json())
    for found in schema.get_all_operations():
        _check(found.ok(), reader)


def _check(operation: Any, reader: Visitor) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def conforms(case: Any) -> None:
        told = case.as_transport_kwargs(base_url="http://testserver")
        told["headers"] = {str(name): str(value) for name, value in dict(told.get("headers") or {}).items()}
        told.pop("cookies", None)
        answer = reader.send(told.pop("method"), told.pop("url"), **told)
        assert answer.status_code < 500, answer.text
        operation.validate_response(schemathesis.Response.from_httpx(answer, verify=False))

    conforms()
