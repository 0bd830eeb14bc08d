"""Answers as they come: a command that is killed leaves what it had, one that ends leaves the whole file alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from duoscan.cases.find import from_manifest
from duoscan.cases.outputs import COLUMNS, answers_csv
from duoscan.cases.screening import Screener
from duoscan.interfaces.cli.part_file import PartFile
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.predictions import read_predictions
from duoscan.rows import csv_rows
from duoscan.terms import Decision, Modality
from node_parts import wait_until
from stand_ins import write_png

IMAGES = 300


def in_the_table(path: Path) -> list[list[str]]:
    return list(csv_rows(path.read_text(encoding="utf-8"), ","))


@pytest.mark.skipif(os.name != "posix", reason="a process that is killed at once")
@pytest.mark.parametrize(
    ("command", "bundle", "kind"), [("predict", "--bundle", ""), ("screen", "--xray-bundle", ".images")]
)
def test_a_killed_command_leaves_the_images_it_answered(
    command: str, bundle: str, kind: str, tmp_path: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    first = write_png(tmp_path / "in" / "000.png", 0.4)
    for number in range(1, IMAGES):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(first.read_bytes())
    part = tmp_path / f"answers.csv{kind}.part"
    words = [command, tmp_path / "in", "--modality", "cxr", "--no-quality-check", "--csv", tmp_path / "answers.csv"]
    # Pictures make each image take its time.
    words += [bundle, brightness_bundles[Modality.CXR], "--heatmaps", tmp_path / "maps"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-m", "duoscan", *map(str, words)], **pipes) as process:
        wait_until(lambda: process.poll() is not None or (part.exists() and part.read_bytes().count(b"\n") > 5))
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    whole, end, _ = part.read_text(encoding="utf-8").rpartition("\n")  # a line may be cut off
    (tmp_path / "whole.csv").write_text(whole + end, encoding="utf-8")
    rows = read_predictions(tmp_path / "whole.csv")
    assert 5 <= len(rows) < IMAGES
    assert all(row.decision in {Decision.POSITIVE, Decision.NEGATIVE} for row in rows)
    assert not (tmp_path / "answers.csv").exists()
    assert part.stat().st_mode & 0o077 == 0


def test_patients_come_one_by_one_and_are_those_of_the_whole(
    tmp_path: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    options = PhantomOptions(patients=6, seed=3, slices=4, ct_size=96, xray_size=96)
    write_cohort(options, tmp_path / "c", workers=1)
    told = []
    screener = Screener(*(brightness_bundles[kind] for kind in Modality), check_quality=False)
    screening = screener.screen_found(
        from_manifest(read_manifest(tmp_path / "c" / "manifest.csv")), need_ct=True, on_case=told.append
    )
    assert len(told) == len(screening.cases) == 6
    assert {case.patient_id: case for case in told} == {case.patient_id: case for case in screening.cases}
    assert answers_csv(sorted(told, key=screening.cases.index)) == answers_csv(screening)


def test_what_ends_well_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "a.csv.part").write_text("of a killed command", encoding="utf-8")
    with PartFile(tmp_path / "a.csv", COLUMNS[:2]) as part:
        part.add(["p1", None])
        part.add(["=p2", 0.1])
        assert in_the_table(tmp_path / "a.csv.part") == [["patient_id", "answer"], ["p1", ""], ["=p2", "0.1"]]
    assert not list(tmp_path.iterdir())


def test_what_ends_in_an_error_keeps_it_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ends_early() -> None:
        with PartFile(tmp_path / "a.csv", ["x"]) as part:
            part.add([1])
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        ends_early()
    assert in_the_table(tmp_path / "a.csv.part") == [["x"], ["1"]]
    assert "a.csv.part: 1 rows, answered before the command ended early" in capsys.readouterr().err


def test_without_a_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with PartFile(None, ["x"]) as part:
        part.add([1])
    assert not list(tmp_path.iterdir())
