"""Links, pipes and folders that may not be read: each is named, none is passed over, and loops end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from duoscan.cases.find import collect
from duoscan.cases.screening import Screener
from duoscan.manifest.patient_rules import PatientRules
from duoscan.manifest.readers.found import walk
from duoscan.reasons import ReasonCode
from duoscan.terms import Decision, Modality
from stand_ins import write_png


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    write_png(tmp_path / "elsewhere" / "2.png", 0.2)
    root = tmp_path / "in"
    write_png(root / "anna" / "1.png", 0.2)
    (root / "anna" / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "anna" / "loop").symlink_to(root, target_is_directory=True)
    (root / "anna" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "anna" / "self.png").symlink_to(root / "anna" / "self.png")
    (root / "anna" / "there.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    os.mkfifo(root / "anna" / "pipe.png")
    return root


FOLDER = "a link to a folder, which is not followed; give that folder itself"
NAMED = {
    "loop": FOLDER,
    "more": FOLDER,
    "gone.png": "a link that leads nowhere",
    "self.png": "a link that leads nowhere",
    "pipe.png": "a pipe or a device, not a file",
}


def test_what_is_not_opened_is_named_in_the_answer(screener: Screener, incoming: Path) -> None:
    (case,) = screener.screen([incoming], rules=PatientRules(by_folder=True), modality=Modality.CXR)
    assert case.patient_id == "anna"
    refused = {Path(row.path).name: row.reason for row in case.unreadable}
    assert {name: reason and reason.text for name, reason in refused.items()} == NAMED
    assert {reason and reason.code for reason in refused.values()} == {ReasonCode.NOT_OPENED}
    answered = [row for row in case.images if row.decision is not Decision.UNREADABLE]
    assert sorted(Path(row.path).name for row in answered) == ["1.png", "there.png"]


def test_import_names_them_too(incoming: Path) -> None:
    _, skipped = walk(incoming)
    assert {skip.name.removeprefix("anna/"): skip.reason for skip in skipped} == NAMED


def test_a_link_that_is_given_by_name_is_followed(incoming: Path) -> None:
    assert [image.path.name for image in collect([incoming / "anna" / "more"])] == ["2.png"]


@pytest.mark.parametrize("name", ["pipe.png"])
def test_a_pipe_that_is_given_by_name_is_not_waited_for(incoming: Path, name: str) -> None:
    (image,) = collect([incoming / "anna" / name])
    assert image.refusal is not None
    assert image.refusal.code is ReasonCode.NOT_OPENED


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; others may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(("mode", "why"), [(0o000, "a folder that cannot be read"), (0o444, "cannot be looked at")])
def test_a_folder_that_may_not_be_read_is_named(mode: int, why: str) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        root.chmod(0o755)
        write_png(root / "anna" / "1.png", 0.2).chmod(0o644)
        (root / "anna").chmod(0o755)  # whatever the umask
        write_png(root / "closed" / "1.png", 0.2)
        (root / "closed").chmod(mode)
        with as_nobody():
            images = list(collect([root]))
            skipped = walk(root)[1]
        (refused,) = [image for image in images if image.refusal]
        assert refused.refusal is not None
        assert refused.refusal.text.startswith(f"{why} (Permission denied)")
        assert [image.path.name for image in images if not image.refusal] == ["1.png"]
        assert [skip.reason for skip in skipped] == [refused.refusal.text]
    finally:
        (root / "closed").chmod(0o755)
        shutil.rmtree(root)
