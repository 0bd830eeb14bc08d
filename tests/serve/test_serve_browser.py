"""The reading room in a real browser: the whole way of a case, by mouse and by keyboard, in both themes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe

from chromium import CHROMIUM, launched
from duoscan.interfaces.serve.app import build_app
from duoscan.interfaces.serve.config import ServeConfig
from duoscan.terms import Modality
from duoscan.worklist.store.accounts import Role, hash_password, set_password
from duoscan.worklist.store.store import Store
from serve_parts import SETUP, account, upload, work_off, worker
from serve_visits import PASSWORD
from stand_ins import ct_slice_hu, write_ct_slice

pytest.importorskip("playwright.sync_api")
_PATIENCE_MS = 30_000
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@dataclass
class Served:
    """A running server, its store, and what pages complained of."""

    store: Store
    address: str
    browser: Any
    problems: list[str] = field(default_factory=list)

    def sign_in(self, name: str, role: Role, *, width: int = 1280) -> Any:
        who = account(self.store, name, role)
        with self.store.database.write() as connection:
            set_password(connection, who, hash_password(PASSWORD))
        context = self.browser.new_context(viewport={"width": width, "height": 800})
        context.set_default_timeout(_PATIENCE_MS)
        page = context.new_page()
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"dialog {dialog.message}"))
        page.on("request", self._look)
        page.goto(f"{self.address}/sign-in")
        page.fill("input[name=name]", name)
        page.fill("input[name=password]", PASSWORD)
        page.press("input[name=password]", "Enter")
        page.wait_for_selector("#list")
        return page

    def _look(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.problems.append(f"asks elsewhere: {request.url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def served(browser: Any, tmp_path: Path) -> Iterator[Served]:
    store = Store(tmp_path / "room")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        app = build_app(store, ServeConfig(folder=store.root), SETUP)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        running = Served(store, f"http://127.0.0.1:{bound.getsockname()[1]}", browser)
        yield running
        for context in browser.contexts:
            context.close()
        app.state.room.changes.stop()
        server.should_exit = True
        thread.join(30)
    store.close()
    assert running.problems == []


def _case(tmp_path: Path, xray: Callable[..., bytes], patient: str = "P1") -> dict[str, bytes]:
    """A radiograph below the threshold and a CT."""
    files = {"xray.dcm": xray(patient, 0.2)}
    for number in range(4):
        path = write_ct_slice(tmp_path / "ct.dcm", ct_slice_hu(), 5.0 * number, PatientID=patient)
        files[f"ct/{number}.dcm"] = path.read_bytes()
    return files


def test_the_whole_way_by_mouse(
    served: Served, brightness_bundles: dict[Modality, Path], xray: Callable[..., bytes], tmp_path: Path
) -> None:
    page = served.sign_in("rita", Role.READER)
    files = [
        {"name": name.replace("/", "-"), "mimeType": "application/dicom", "buffer": content}
        for name, content in _case(tmp_path, xray).items()
    ]
    page.set_input_files("#files", files)
    page.wait_for_selector("#sent:has-text('received')")
    one = worker(served.store, brightness_bundles)
    work_off(one)
    page.click("table.cases tbody th a")  # the list follows by itself
    page.wait_for_selector(".pane[data-modality=ct] .told:has-text('not read')")
    page.click("#ask")
    page.wait_for_selector("text=Screening is to come")
    work_off(one)
    page.wait_for_selector("#panel .flow li:nth-child(3):not(.not-read)")
    page.click(".pane[data-modality=cxr] .heat")
    page.click(".pane[data-modality=ct] .stage")
    page.fill("#comment", "seen")
    page.click("#agree")
    page.wait_for_selector("#panel .chip.signed")
    page.goto(served.address)
    with page.expect_download() as started:
        page.click("text=Export")
    assert Path(started.value.path()).read_text(encoding="utf-8").startswith("path,")


def test_the_whole_way_by_keyboard(
    served: Served, brightness_bundles: dict[Modality, Path], xray: Callable[..., bytes], tmp_path: Path
) -> None:
    upload(served.store, _case(tmp_path, xray))
    one = worker(served.store, brightness_bundles)
    work_off(one)
    page = served.sign_in("rita", Role.READER)
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel h1")
    page.keyboard.press("h")
    page.keyboard.press("i")
    page.keyboard.press("t")
    page.wait_for_selector("text=Screening is to come")
    work_off(one)
    page.wait_for_selector("#agree")
    page.keyboard.press("d")
    page.wait_for_selector("#panel .chip.signed")
    assert "disagree" in page.inner_text("#panel")


def test_two_readers_see_each_other(
    served: Served, brightness_bundles: dict[Modality, Path], xray: Callable[..., bytes], tmp_path: Path
) -> None:
    upload(served.store, _case(tmp_path, xray))
    work_off(worker(served.store, brightness_bundles))
    rita, anna = served.sign_in("rita", Role.READER), served.sign_in("anna", Role.READER)
    rita.click("table.cases tbody th a")
    rita.wait_for_selector("#agree")
    anna.wait_for_selector("td:has-text('rita')")
    anna.click("table.cases tbody th a")
    anna.wait_for_selector("text=rita is at this case")
    anna.click("#agree")
    anna.wait_for_selector("text=Conflict")
    served.problems.clear()  # the browser notes the refusal
    rita.click("#agree")
    rita.wait_for_selector("#panel .chip.signed")


@pytest.mark.parametrize("width", [800, 1280, 1920])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_page_keeps_anybody_out(
    theme: str,
    width: int,
    served: Served,
    brightness_bundles: dict[Modality, Path],
    xray: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    upload(served.store, _case(tmp_path, xray, patient="<img src=x onerror=alert(1)>"))
    work_off(worker(served.store, brightness_bundles))
    page = served.sign_in("rita", Role.READER, width=width)
    case = page.get_attribute("table.cases tbody th a", "href")
    found = []
    boss = served.sign_in("boss", Role.ADMIN, width=width)
    for visitor, path in [
        (page, "/"),
        (page, case),
        (page, "/account"),
        (page, "/lately"),
        (boss, "/accounts"),
        (boss, "/trail"),
    ]:
        visitor.goto(served.address + path)
        visitor.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        violations = Axe().run(visitor).response["violations"]
        found += [(path, one["id"], [node["html"] for node in one["nodes"]]) for one in violations]
        assert visitor.evaluate("document.documentElement.scrollWidth") <= width
    assert found == []
