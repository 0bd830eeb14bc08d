"""The reading room as a browser and a program meet it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from duoscan.interfaces.serve.app import ENDPOINTS, build_app
from duoscan.interfaces.serve.config import ServeConfig
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.running import first_link
from duoscan.terms import Modality
from duoscan.worklist.store.accounts import Role
from duoscan.worklist.store.store import Store
from serve_parts import SETUP, upload, work_off, worker
from serve_visits import PASSWORD, sign_in

Bundles = dict[Modality, Path]
Xray = Callable[..., bytes]
HOSTILE = "<img src=x onerror=alert(1)>'\"&{{7*7}}"

# Who may, stated a second time and by hand: (method, path) → roles.
ALL = set(Role)
TABLE: dict[str, set[Role]] = {
    "POST /sign-out": ALL,
    "GET /account": ALL,
    "POST /account/password": ALL,
    "POST /account/token": ALL,
    "POST /account/preferences": ALL,
    "POST /views": ALL,
    "GET /": ALL,
    "GET /lately": ALL,
    "GET /events": ALL,
    "GET /cases/{case}": ALL,
    "GET /cases/{case}/images/{number}/{frame}": ALL,
    "GET /cases/{case}/heat/{number}/{frame}": ALL,
    "GET /next": {Role.CLINICIAN, Role.READER},
    "POST /cases/{case}/claim": {Role.CLINICIAN, Role.READER},
    "POST /cases/{case}/request": {Role.CLINICIAN, Role.READER},
    "POST /cases/{case}/again": {Role.CLINICIAN, Role.READER},
    "POST /cases/{case}/sign": {Role.READER},
    "POST /api/v1/uploads": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "GET /api/v1/uploads/{upload}": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "PUT /api/v1/uploads/{upload}/files/{number}": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "POST /api/v1/uploads/{upload}/complete": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "GET /api/v1/openapi.json": ALL,
    "GET /api/v1/cases": ALL,
    "GET /api/v1/cases/{case}": ALL,
    "GET /api/v1/cases/{case}/answer": ALL,
    "POST /api/v1/cases/{case}/request": {Role.CLINICIAN, Role.READER},
    "POST /api/v1/cases/{case}/sign-offs": {Role.READER},
    "GET /api/v1/feedback": {Role.READER, Role.ADMIN},
    "POST /dicom-web/studies": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "POST /dicom-web/studies/{study}": {Role.CLINICIAN, Role.READER, Role.ADMIN},
    "GET /metrics": {Role.ADMIN},
    "GET /accounts": {Role.ADMIN},
    "POST /accounts": {Role.ADMIN},
    "POST /accounts/{account}": {Role.ADMIN},
    "GET /trail": {Role.ADMIN},
}


Made = tuple[Store, TestClient]


def test_the_permission_table_is_what_the_server_does(room: Made) -> None:
    store, client = room
    stated = {f"{one.method} {one.path}" for one in ENDPOINTS if one.action is not Action.COME_IN}
    assert stated == TABLE.keys()
    visitors = {role: sign_in(client, store, role.value, role) for role in Role}
    for address, roles in TABLE.items():
        method, path = address.split()
        if path in {"/events", "/sign-out"}:  # the one never ends, the other ends the session
            continue
        path = re.sub(r"\{\w+\}", "7", path)
        nobody = client.request(method, path)
        assert (nobody.status_code, nobody.headers.get("location")) in {(401, None), (303, "/sign-in")}, address
        for role, visitor in visitors.items():
            if path == "/account/password":
                continue
            status = visitor.send(method, path).status_code
            assert (status == 403) is (role not in roles), (address, role, status)
            assert status < 500, (address, role)


def test_every_answer_forbids_scripts_from_elsewhere(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    for response in (client.get("/sign-in"), reader.get("/"), client.get("/nothing"), client.get("/static/room.css")):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    page = reader.get("/").text
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page)


def test_a_request_for_another_host_is_refused(room: Made) -> None:
    _, client = room
    assert client.get("/sign-in", headers={"Host": "evil.example"}).status_code == 400


def test_the_first_link_works_once_and_the_password_lets_in(room: Made) -> None:
    store, client = room
    link = first_link(store)
    assert link is not None
    assert client.post(link, data={"password": "short", "again": "short"}).status_code == 400
    assert client.post(link, data={"password": PASSWORD, "again": "another"}).status_code == 400
    assert client.post(link, data={"password": PASSWORD, "again": PASSWORD}).headers["location"] == "/"
    client.cookies.clear()
    assert client.get(link).status_code == 404
    assert client.post(link, data={"password": PASSWORD, "again": PASSWORD}).status_code == 404
    assert first_link(store) is None
    answer = client.post("/sign-in", data={"name": "admin", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert answer.headers["location"] == "/"
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_wrong_passwords_make_a_name_wait(room: Made) -> None:
    store, client = room
    sign_in(client, store, "rita")
    client.cookies.clear()
    told = {client.post("/sign-in", data={"name": name, "password": "x"}).text for name in ("rita", "nobody")}
    assert len({text.replace("rita", "").replace("nobody", "") for text in told}) == 1
    for _ in range(9):
        client.post("/sign-in", data={"name": "rita", "password": "x"})
    assert client.post("/sign-in", data={"name": "rita", "password": PASSWORD}).status_code == 429


def test_a_form_from_elsewhere_or_without_its_token_does_nothing(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    bare = {"cookie": f"duoscan={reader.token}"}
    assert client.post("/account/token", data={"label": "x"}, headers=bare).status_code == 403
    forged = bare | {"X-CSRF-Token": reader.csrf, "Origin": "https://evil.example"}
    assert client.post("/account/token", data={"label": "x"}, headers=forged).status_code == 403
    assert reader.post("/account/token", label="x").status_code == 200


def test_a_change_of_role_and_a_closed_account_bite_at_once(room: Made) -> None:
    store, client = room
    admin, reader = sign_in(client, store, "boss", Role.ADMIN), sign_in(client, store)
    assert reader.get("/next").status_code == 303
    assert admin.post(f"/accounts/{reader.account}", role="viewer").status_code == 303
    assert reader.get("/next").status_code == 403
    assert admin.post(f"/accounts/{reader.account}", role="viewer", closed="on").status_code == 303
    assert reader.get("/").headers["location"] == "/sign-in"
    refused = admin.post(f"/accounts/{admin.account}", role="viewer")
    assert refused.status_code == 409
    assert "no admin would be left" in refused.text


def test_a_token_is_no_cookie_and_a_cookie_no_token(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    token = re.search(r"Shown once: <code>([^<]+)", reader.post("/account/token", label="x").text)[1]  # type: ignore[index]
    asked = client.post("/api/v1/uploads", headers={"Authorization": f"Bearer {token}"})
    assert asked.status_code == 201
    assert client.get("/", headers={"cookie": f"duoscan={token}"}).headers["location"] == "/sign-in"
    assert client.post("/api/v1/uploads", headers={"Authorization": f"Bearer {reader.token}"}).status_code == 401


def test_the_way_of_a_case(room: Made, brightness_bundles: Bundles, xray: Xray) -> None:
    store, client = room
    clinician, reader = sign_in(client, store, "cleo", Role.CLINICIAN), sign_in(client, store)
    assert clinician.upload({"a.dcm": xray("P1", 0.2)}) == 202
    assert "screening is to come" not in clinician.get("/").text
    work_off(worker(store, brightness_bundles))
    page = clinician.get("/")
    case = re.search(r'href="(/cases/\w+)">P1', page.text)[1]  # type: ignore[index]
    shown = clinician.get(case)
    assert "X-ray negative, no CT asked for" in shown.text
    picture = clinician.get(f"{case}/images/0/0?c=50&w=100")
    assert picture.headers["content-type"] == "image/png"
    heat = clinician.get(f"{case}/heat/0/0")
    assert (heat.status_code, heat.content[:4]) == (200, b"\x89PNG")
    version = re.search(r'name="version" value="(\d+)"', shown.text)[1]  # type: ignore[index]
    assert clinician.post(f"{case}/claim").status_code == 204
    assert reader.post(f"{case}/sign", agreement="agree", version=version).status_code == 409  # cleo is at it
    assert clinician.post(f"{case}/request", need_ct="yes", version=version).status_code == 303
    assert clinician.post(f"{case}/request", need_ct="no", version=version).status_code == 409  # an earlier version
    assert "CT needed" in clinician.get("/").text
    clinician.post(f"{case}/claim", release="1")
    again = reader.get(case)
    version = re.search(r'name="version" value="(\d+)"', again.text)[1]  # type: ignore[index]
    signed = reader.post(f"{case}/sign", agreement="disagree", version=version, comment=HOSTILE)
    assert signed.status_code == 303
    final = reader.get(case).text
    assert "disagree" in final
    assert "<img src=x" not in final
    assert "Nothing here" in reader.get("/").text
    assert "request CT" in final


def test_names_from_outside_are_text_and_never_paths(room: Made, brightness_bundles: Bundles, xray: Xray) -> None:
    store, client = room
    reader = sign_in(client, store)
    names = ["../../../etc/passwd", HOSTILE, "a\\..\\b.dcm", "/root/x.dcm", "%2e%2e%2f", "C:\\x.dcm"]
    for number, name in enumerate(names):
        assert reader.upload({name: xray(HOSTILE + str(number), 0.9, seed=number)}) == 202
    work_off(worker(store, brightness_bundles))
    outside = [path for path in store.root.parent.rglob("*") if path.is_file() and store.root not in path.parents]
    assert [path.name for path in outside if path.suffix not in {".dcm", ".duoscan"}] == []
    assert all(re.fullmatch(r"[0-9a-f]{64}(\.[a-z0-9]+)*", path.name) for path in (store.root / "images").glob("??/*"))
    hostile = {"patient": HOSTILE, "sort": HOSTILE, "after": HOSTILE}
    for query in [{}, {"patient": HOSTILE}, {"sort": HOSTILE}, hostile]:
        text = reader.get("/", **query).text
        assert "<img" not in re.sub(r'<img src="/static/icon.svg"[^>]*>', "", text)
    for case in re.findall(r'href="(/cases/\w+)"', reader.get("/").text):
        text = reader.get(case).text
        assert "<img" not in re.sub(r'<img src="/static/icon.svg"[^>]*>', "", text)
        assert reader.get(f"{case}/images/0/0").status_code == 200


@pytest.mark.parametrize("path", ["0/1", "99/0", "-1/0", "0/-1", "x/0", "0/%2e%2e", "1e3/0", "٣/0"])
def test_a_picture_that_is_not_there(path: str, room: Made, brightness_bundles: Bundles, xray: Xray) -> None:
    store, client = room
    reader = sign_in(client, store)
    reader.upload({"a.dcm": xray("P1", 0.2)})
    work_off(worker(store, brightness_bundles))
    case = re.search(r'href="(/cases/\w+)"', reader.get("/").text)[1]  # type: ignore[index]
    assert reader.get(f"{case}/images/{path}").status_code in {404, 200 if path == "0/1" else 404}


@pytest.mark.parametrize("query", [{"c": "nan", "w": "1"}, {"c": "0", "w": "0"}, {"c": "1"}, {"c": "1e9", "w": "1"}])
def test_a_window_without_a_width_is_refused(query: dict[str, str], room: Made, xray: Xray) -> None:
    store, client = room
    reader = sign_in(client, store)
    assert reader.get("/cases/x/images/0/0", **query).status_code in {400, 404}


def test_an_upload_keeps_to_its_limits(tmp_path: Path) -> None:
    store = Store(tmp_path / "room")
    limits = {"max_file_mb": 1, "max_upload_mb": 2, "max_files": 3}
    config = ServeConfig.model_validate({"folder": store.root, "names": ["testserver"], "limits": limits})
    with TestClient(build_app(store, config, SETUP), follow_redirects=False) as client:
        reader = sign_in(client, store)
        begun = reader.send("POST", "/api/v1/uploads").json()["id"]
        where = f"/api/v1/uploads/{begun}/files"
        large = reader.send("PUT", f"{where}/0?name=a", content=b"x" * (2**20 + 1))
        assert large.status_code == 413
        assert large.headers["content-type"] == "application/problem+json"
        assert reader.send("PUT", f"{where}/0?name=a", content=b"x" * 2**20).status_code == 204
        assert reader.send("PUT", f"{where}/0?name=a", content=b"x" * 2**20).status_code == 204  # sent again
        assert reader.send("PUT", f"{where}/0?name=b", content=b"y").status_code == 409
        assert reader.send("PUT", f"{where}/1?name=b", content=b"").status_code == 400
        assert reader.send("PUT", f"{where}/3?name=b", content=b"y").status_code == 400
        other = sign_in(client, store, "rita")
        assert other.send("PUT", f"{where}/1?name=b", content=b"y").status_code == 404
        assert list((store.root / "images" / "incoming").iterdir()) == []
    store.close()


def test_an_idempotency_key_names_one_upload(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    one, same = (reader.send("POST", "/api/v1/uploads", headers={"Idempotency-Key": "k"}).json() for _ in range(2))
    assert one["id"] == same["id"]


def test_the_list_is_kept_as_a_view(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    assert (
        reader.post("/views", name="mine", shown="all", claimed="mine").headers["location"]
        == "/?shown=all&claimed=mine"
    )
    assert '<a href="/?shown=all&amp;claimed=mine">mine</a>' in reader.get("/").text
    reader.post("/views", name="mine", forget="1")
    assert ">mine</a>" not in reader.get("/").text


def test_the_part_of_a_page_is_the_rows_alone(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    part = reader.get("/", headers={"HX-Request": "true", "HX-Target": "list"})
    assert "<html" not in part.text
    assert "0 cases" in part.text


def test_theme_and_keys_are_kept(room: Made) -> None:
    store, client = room
    reader = sign_in(client, store)
    sent = b'{"theme": "light", "keys": {"next": "m", "evil": "x"}, "role": "admin"}'
    assert reader.send("POST", "/account/preferences", content=sent).json() == {"theme": "light", "keys": {"next": "m"}}
    assert 'data-theme="light"' in reader.get("/").text
    assert reader.send("POST", "/account/preferences", content=b"[]").status_code == 400
    assert reader.send("POST", "/account/preferences", content=b"{").status_code == 400


def test_what_was_done_stands_in_the_trail(room: Made, brightness_bundles: Bundles, xray: Xray) -> None:
    store, client = room
    admin = sign_in(client, store, "boss", Role.ADMIN)
    upload(store, {"a.dcm": xray("patient-of-the-trail", 0.2)})
    work_off(worker(store, brightness_bundles))
    text = admin.get("/trail", check="1").text
    assert "lines sound" in text
    assert all(f"<td>{word}</td>" in text for word in ("upload", "arrive", "screen"))
    assert "patient-of-the-trail" not in text  # long enough for no token to hold it by chance
