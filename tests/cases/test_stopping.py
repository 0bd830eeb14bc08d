"""A screening that is stopped keeps the patients who are finished, and no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from duoscan.cases.case import Screening
from duoscan.cases.screening import Screener
from duoscan.cases.stopping import ScreeningStopped
from duoscan.cases.stored import parse_screening, screening_text
from duoscan.manifest.patient_rules import PatientRules
from duoscan.terms import Modality
from node_parts import cohort
from stand_ins import write_png

PATIENTS = 40


@pytest.fixture
def screener(brightness_bundles: dict[Modality, Path]) -> Screener:
    return Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], check_quality=False)


def after(calls: int) -> Callable[..., None]:
    """Something to call that is stopped by Ctrl-C in the end."""
    left = iter(range(calls))

    def call(*_: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return call


def stopped(screener: Screener, folder: Path, **options: Any) -> Screening:
    with pytest.raises(ScreeningStopped) as caught:
        screener.screen([folder], **options)
    return caught.value.screening


@pytest.mark.parametrize("word", ["on_image", "on_tick"])
@pytest.mark.parametrize("calls", [0, 1, 20, PATIENTS - 1])
def test_radiographs(word: str, calls: int, screener: Screener, tmp_path: Path) -> None:
    for number in range(PATIENTS):
        write_png(tmp_path / f"patient{number:02}" / "1.png", 0.2 + 0.01 * number)
        write_png(tmp_path / f"patient{number:02}" / "2.png", 0.2)
    options: dict[str, Any] = {"modality": Modality.CXR, "rules": PatientRules(by_folder=True)}
    whole = screener.screen([tmp_path], **options)
    part = stopped(screener, tmp_path, **options, **{word: after(calls)})
    assert part.cases == whole.cases[: len(part)]  # in their order, and the same answers
    assert len(part) in range(max(0, calls // 2 - 16), calls // 2 + 1)  # but for a batch that waited for the model
    finished = {case.patient_id for case in part}
    assert {Path(name).parent.name for name in part.unfinished}.isdisjoint(finished)
    assert len(part.unfinished) + 2 * len(part) == 2 * PATIENTS
    assert parse_screening(screening_text(part).encode(), "here") == part


def test_ct_that_was_not_reached_leaves_its_patient_out(screener: Screener, tmp_path: Path) -> None:
    cohort(tmp_path / "c", patients=4)
    files = len(list((tmp_path / "c" / "dicom").rglob("*.dcm")))
    folder = tmp_path / "c" / "dicom"
    whole = screener.screen([folder], need_ct=True)
    part = stopped(screener, folder, need_ct=True, on_tick=after(files + 1))  # all files, and two of four CT studies
    assert part.cases == whole.cases[:2]
    assert all(case.ct.probability is not None for case in part)
    assert len(part.unfinished) == files - sum(len(case.images) for case in part)


def test_who_needs_no_ct_is_finished(screener: Screener, tmp_path: Path) -> None:
    cohort(tmp_path / "c", patients=4)
    folder = tmp_path / "c" / "dicom"
    whole = screener.screen([folder], need_ct={"phantom-6-0003"})
    sent = [case.patient_id for case in whole if case.to_ct]
    files = len(list(folder.rglob("*.dcm")))
    part = stopped(screener, folder, need_ct={"phantom-6-0003"}, on_tick=after(files))
    assert [case.patient_id for case in part] == [case.patient_id for case in whole if case.patient_id not in sent[1:]]


def test_a_file_that_was_not_looked_at_may_be_of_a_patient_who_was(screener: Screener, tmp_path: Path) -> None:
    """The PatientID stands in the header alone; his second study lies far behind."""
    paths = cohort(tmp_path / "c", patients=3)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    radiographs = [path for path in paths if dcmread(path, stop_before_pixels=True).Modality != "CT"]
    for number, path in enumerate(radiographs):
        (mixed / f"{number:02}.dcm").write_bytes(path.read_bytes())
    (mixed / "99.dcm").write_bytes(radiographs[0].read_bytes())
    last = len(radiographs)
    part = stopped(screener, mixed, on_tick=after(last - 1))
    whole = screener.screen([mixed])
    first = next(case.patient_id for case in whole if any(Path(one.path).name == "99.dcm" for one in case.images))
    assert first not in {case.patient_id for case in part}
    assert str(mixed / "99.dcm") in part.unfinished
