"""Stored calibrators: what they do to probabilities, what is refused, and bundles with and without one."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.calibrator import (
    Calibration,
    IsotonicCalibration,
    TemperatureCalibration,
    expit,
    logit,
)
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.inference.shipped import shipped_path
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Modality
from stand_ins import ct_slice_hu

STORED = TypeAdapter[TemperatureCalibration | IsotonicCalibration](Calibration)


def test_a_temperature_divides_the_logit() -> None:
    # odds 9 → √9 = 3 → 3/4; odds 1 stay; odds 1/9 → 1/3 → 1/4.
    found = TemperatureCalibration(temperature=2, images=1, patients=1).apply(np.array([0.9, 0.5, 0.1]))
    assert found == pytest.approx([0.75, 0.5, 0.25])


def test_isotonic_runs_straight_between_knots_and_level_beyond() -> None:
    curve = IsotonicCalibration(probability=(0.2, 0.6), calibrated=(0.1, 0.5), images=4, patients=4)
    assert curve.apply(np.array([0.0, 0.2, 0.3, 0.6, 1.0])) == pytest.approx([0.1, 0.1, 0.2, 0.5, 0.5])


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.02, 50))
def test_a_temperature_keeps_order_and_range(values: list[float], temperature: float) -> None:
    found = TemperatureCalibration(temperature=temperature, images=1, patients=1).apply(np.sort(values))
    assert np.all(np.diff(found) >= 0)
    assert np.all((found >= 0) & (found <= 1))


@given(st.floats(1e-6, 1 - 1e-6))
def test_logit_and_expit_undo_each_other(value: float) -> None:
    assert expit(logit(np.array([value])))[0] == pytest.approx(value, rel=1e-9)


def test_certainty_has_a_finite_logit() -> None:
    assert logit(np.array([0.0, 1.0])) == pytest.approx([-16.118, 16.118], abs=1e-3)  # ln 1e7 = 16.118


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "temperature", "temperature": 0}, "greater than 0"),
        ({"kind": "temperature", "temperature": float("inf")}, "finite"),
        ({"kind": "beta"}, "does not match any of the expected tags"),
        ({"kind": "isotonic", "probability": [0.1, 0.1], "calibrated": [0, 1]}, "knots must rise"),
        ({"kind": "isotonic", "probability": [0.1, 0.2], "calibrated": [0.5, 0.4]}, "values must not fall"),
        ({"kind": "isotonic", "probability": [0.1, 0.2], "calibrated": [0.5]}, "2 knots and 1 values"),
        ({"kind": "isotonic", "probability": [0.1, 1.2], "calibrated": [0, 1]}, "less than or equal to 1"),
    ],
)
def test_a_calibrator_that_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        STORED.validate_python(fields | {"images": 4, "patients": 4})


@pytest.mark.parametrize(
    "calibration",
    [
        TemperatureCalibration(temperature=1.7, images=9, patients=5),
        IsotonicCalibration(probability=(0.1, 0.7), calibrated=(0.2, 0.9), images=9, patients=5),
    ],
)
def test_a_bundle_keeps_its_calibrator(
    tmp_path: Path, calibration: TemperatureCalibration | IsotonicCalibration
) -> None:
    shipped = read_bundle(shipped_path(Modality.CT))
    info = shipped.info.model_copy(update={"calibration": calibration})
    write_bundle(tmp_path / "c.duoscan", info, shipped.graph, shipped.finder)
    found = read_bundle(tmp_path / "c.duoscan").info
    assert found.calibration == calibration
    assert (found.threshold, found.study_threshold) == (shipped.info.threshold, shipped.info.study_threshold)


def test_answers_carry_the_calibrated_probability_and_keep_their_decision(tmp_path: Path) -> None:
    shipped = read_bundle(shipped_path(Modality.CT))
    calibration = TemperatureCalibration(temperature=3.0, images=9, patients=5)
    stored = write_bundle(
        tmp_path / "c.duoscan",
        shipped.info.model_copy(update={"calibration": calibration}),
        shipped.graph,
        shipped.finder,
    )
    grey = np.clip((ct_slice_hu() + 1350) / 1500, 0, 1) * 230 + np.random.default_rng(0).integers(0, 25, (96, 96))
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / "a.png")
    file = ImageFile(tmp_path / "a.png", Prediction("a.png", "p", None, None, "unreadable"))
    (plain,), (moved,) = (list(Predictor(bundle, check_quality=False).predict([file])) for bundle in (shipped, stored))
    assert plain.row.calibrated is None
    assert plain.row.probability is not None
    assert moved.row.probability == plain.row.probability
    assert moved.row.decision == plain.row.decision
    assert moved.row.calibrated == pytest.approx(calibration.apply(np.array([plain.row.probability]))[0])
    write_predictions([moved.row, plain.row], tmp_path / "rows.csv")
    assert [row.calibrated for row in read_predictions(tmp_path / "rows.csv")] == [moved.row.calibrated, None]
    write_predictions([plain.row], tmp_path / "plain.csv")
    assert "calibrated" not in (tmp_path / "plain.csv").read_text()  # tables of bundles without one stay as they were


def test_a_bundle_without_one_is_the_file_that_earlier_versions_wrote(tmp_path: Path) -> None:
    shipped = read_bundle(shipped_path(Modality.CT))
    assert shipped.info.calibration is None
    write_bundle(tmp_path / "again.duoscan", shipped.info, shipped.graph, shipped.finder)
    with zipfile.ZipFile(tmp_path / "again.duoscan") as archive:
        assert "calibration" not in json.loads(archive.read("bundle.json"))


def test_applying_one_loads_neither_scipy_nor_scikit_learn() -> None:
    code = (
        "import sys, numpy; from duoscan.inference.calibrator import TemperatureCalibration as T; "
        "T(temperature=2, images=1, patients=1).apply(numpy.array([0.3])); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'sklearn', 'scipy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
