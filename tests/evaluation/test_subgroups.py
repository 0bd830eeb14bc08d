"""Subgroups: each with its number, and compared so that many of them raise no false alarm."""

from __future__ import annotations

import numpy as np
import pytest

from duoscan.errors import PredictionsError
from duoscan.evaluation.differences import JUDGED
from duoscan.evaluation.subgroups import NOT_STATED, grouped, measure_subgroups
from duoscan.predictions import Prediction
from duoscan.terms import Finding


def cohort(seed: int, images: int = 400, blind: str = "") -> list[Prediction]:
    """Patients of four hospitals; at ``blind`` the model sees nothing."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(images):
        sick, site = bool(rng.integers(2)), "ABCD"[rng.integers(4)]
        shift = 0.0 if site == blind else 0.3
        probability = float(np.clip(rng.normal(0.35 + shift * sick, 0.15), 0, 1))
        groups = {"site": site, "sex": "MF"[rng.integers(2)], "age": str(rng.integers(16, 95))}
        label = Finding.COVID if sick else Finding.NORMAL
        rows.append(Prediction(f"{place}.png", f"p{place}", None, probability, None, label=label, groups=groups))
    return rows


def test_a_hospital_at_which_the_model_fails_is_named() -> None:
    found = measure_subgroups(cohort(0, blind="C"), ["site", "sex"], threshold=0.5, resamples=100, seed=0)
    apart = {(group.column, group.value): group.apart for group in found.groups}
    assert "auroc lower" in apart["site", "C"]
    assert not apart["sex", "F"]
    assert any(note.startswith("site = C: ") for note in found.notes)
    assert found.to_json()["groups"][2]["value"] == "C"


@pytest.mark.slow
def test_groups_that_do_not_differ_raise_few_false_alarms() -> None:
    """Four groups, twelve comparisons; one interval each at 95 % would alarm in about every second cohort."""
    cohorts = 20
    alarms = sum(
        any(
            group.apart
            for group in measure_subgroups(cohort(seed, 160), ["site"], threshold=0.5, resamples=100, seed=0).groups
        )
        for seed in range(1, cohorts + 1)
    )
    assert alarms <= 0.15 * cohorts


def test_numbers_are_put_into_bands_and_gaps_stand_apart() -> None:
    rows = cohort(1, 100)
    ages = grouped(rows, "age")
    assert list(ages) == ["below 18", "18 to below 40", "40 to below 60", "60 to below 80", "80 and above"]
    assert sum(map(len, ages.values())) == len(rows)
    assert all(40 <= int(row.groups["age"]) < 60 for row in ages["40 to below 60"])
    assert set(grouped(rows[:10], "dose")) == {NOT_STATED}


def test_a_column_of_names_is_no_group() -> None:
    rows = [Prediction(f"{n}", None, None, 0.5, None, label=Finding.COVID, groups={"id": f"x{n}"}) for n in range(60)]
    with pytest.raises(PredictionsError, match="60 different values"):
        grouped(rows, "id")


def test_patients_in_two_groups_are_drawn_together() -> None:
    """Two views of the same patients, answered alike: no draw of patients makes a difference."""
    rows = cohort(2, 60)
    both = [
        Prediction(
            f"{row.path}{view}", row.patient_id, None, row.probability, None, label=row.label, groups={"view": view}
        )
        for row in rows
        for view in ("PA", "AP")
    ]
    found = measure_subgroups(both, ["view"], threshold=0.5, resamples=100, seed=0)
    for name in JUDGED:
        difference = found.groups[0].differences[name]
        assert difference.value == 0
        assert difference.note.startswith("no resample differs")
