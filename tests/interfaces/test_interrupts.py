"""Ctrl-C, as a terminal sends it to a command and all its processes: what was done stays, without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread

from duoscan.cases.stored import read_screening
from duoscan.predictions import read_predictions
from duoscan.rows import csv_rows
from duoscan.terms import Modality
from node_parts import cohort, wait_until
from stand_ins import write_png

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal to a group of processes")

IMAGES, FILES = 400, 5


def stopped(first_of: Path, *arguments: object) -> tuple[int, str]:
    """Run a command, stop it as soon as a folder holds some files, and give its exit code and standard error."""
    # A shell starts what runs in its background with this signal ignored, and these tests may run there.
    heeding = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-c", heeding, sys.executable, "-m", "duoscan", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, text=True, start_new_session=True) as process:
        wait_until(lambda: process.poll() is not None or len(list(first_of.rglob("*.*"))) > FILES)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=90)
    assert "Traceback" not in said
    return process.returncode, said


@pytest.fixture
def images(tmp_path: Path) -> Path:
    first = write_png(tmp_path / "in" / "000.png", 0.4)
    for number in range(1, IMAGES):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(first.read_bytes())
    return tmp_path / "in"


def test_screen(images: Path, tmp_path: Path, brightness_bundles: dict[Modality, Path]) -> None:
    code, said = stopped(
        tmp_path / "maps",
        *("screen", images, "--modality", "cxr", "--no-quality-check", "--heatmaps", tmp_path / "maps"),
        *("--xray-bundle", brightness_bundles[Modality.CXR], "--json", tmp_path / "answers.json"),
    )
    assert code == 130
    screening = read_screening(tmp_path / "answers.json")
    assert 0 < len(screening.unfinished) < IMAGES
    assert f"stopped; {len(screening)} patients are finished, {len(screening.unfinished)} images of others" in said


def test_predict(images: Path, tmp_path: Path, brightness_bundles: dict[Modality, Path]) -> None:
    code, said = stopped(
        tmp_path / "maps",
        *("predict", images, "--modality", "cxr", "--no-quality-check", "--heatmaps", tmp_path / "maps"),
        *("--bundle", brightness_bundles[Modality.CXR], "--csv", tmp_path / "answers.csv"),
    )
    assert code == 130
    rows = read_predictions(tmp_path / "answers.csv")
    assert 0 < len(rows) < IMAGES
    assert f"stopped; {len(rows)} images have their row" in said


def test_deidentify(tmp_path: Path) -> None:
    one = dcmread(cohort(tmp_path / "c", patients=3)[0])
    (tmp_path / "in").mkdir()
    for number in range(IMAGES):
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
        one.save_as(tmp_path / "in" / f"{number}.dcm")
    code, said = stopped(
        tmp_path / "out",
        *("deidentify", tmp_path / "in", "--out", tmp_path / "out", "--key-file", tmp_path / "key", "--new-key"),
        *("--mapping", tmp_path / "mapping.csv"),
    )
    assert code == 130
    rows = list(csv_rows((tmp_path / "mapping.csv").read_text(encoding="utf-8"), ","))[1:]
    assert 0 < len(rows) < IMAGES
    assert f"{IMAGES - len(rows)} files were not looked at" in said


def test_workers_say_nothing(tmp_path: Path) -> None:
    code, said = stopped(tmp_path / "c", "phantom", "--patients", 300, "--workers", 2, "--out", tmp_path / "c")
    assert code == 130
    assert said.splitlines()[-1] == "duoscan: stopped; what was written before stands"
