"""Slices that are missing take no other slice away, and are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from duoscan.reasons import ReasonCode
from duoscan.terms import Decision
from stand_ins import ct_slice_hu, write_ct_slice

if TYPE_CHECKING:
    from pathlib import Path

    from duoscan.cases.screening import Screener

WHITE, CLEAR = -300.0, -900.0  # HU of lungs that the brightness model calls positive and negative


@pytest.mark.parametrize(("step_mm", "gone"), [(9.0, {6}), (4.9, {6, 7, 8, 9}), (3.0, {2, 9, 10, 11, 12, 13, 14})])
def test_both_sides_of_a_hole_are_answered(screener: Screener, tmp_path: Path, step_mm: float, gone: set[int]) -> None:
    # The disease lies in the upper, smaller part.
    for number in set(range(20)) - gone:
        lung = WHITE if number >= 16 else CLEAR
        write_ct_slice(tmp_path / f"{number:02d}", ct_slice_hu(lung), number * step_mm, SliceThickness=step_mm)
    (case,) = screener.screen([tmp_path])
    (study,) = case.ct.studies
    assert all(row.probability is not None for row in study.images)
    assert study.state == Decision.POSITIVE
    (series,) = study.series
    assert series.missing == len(gone)
    told = [reason.text for reason in case.reasons if reason.code is ReasonCode.POSITIONS_MISSING]
    assert told == [f"positions missing in the CT series that was answered: {len(gone)}"]


def test_doubled_slices_are_told(screener: Screener, tmp_path: Path) -> None:
    for number in range(6):
        write_ct_slice(tmp_path / f"{number}", ct_slice_hu(), 3.0 * number)
        write_ct_slice(tmp_path / f"{number}-again", ct_slice_hu(), 3.0 * number)
    (case,) = screener.screen([tmp_path])
    told = [reason.text for reason in case.reasons if reason.code is ReasonCode.SAME_POSITION]
    assert told == ["CT slices that lie where another does: 6"]
