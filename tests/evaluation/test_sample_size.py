"""Patients needed for a wished width, against scipy's intervals and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
from click.testing import CliRunner
from scipy.stats import binom, binomtest

from duoscan.errors import InputError
from duoscan.evaluation.sample_size import (
    Method,
    auroc_error,
    mean_width,
    patients_for_auroc,
    patients_for_proportion,
    patients_overall,
)
from duoscan.interfaces.cli.samplesize import samplesize_command


@pytest.mark.parametrize("method", ["exact", "wilson"])
@pytest.mark.parametrize(("expected", "patients"), [(0.9, 12), (0.5, 3), (1.0, 5), (0.0, 4)])
def test_the_mean_width_is_that_of_scipys_intervals(method: Method, expected: float, patients: int) -> None:
    widths = []
    for hits in range(patients + 1):
        interval = binomtest(hits, patients).proportion_ci(0.95, method)
        widths.append(binom.pmf(hits, patients, expected) * (interval.high - interval.low))
    assert mean_width(expected, patients, method=method) == pytest.approx(sum(widths))


def test_no_error_expected_needs_the_exact_bound_alone() -> None:
    # All n right: the width is 1 − .025^(1/n) ≤ .1 from n = ln .025 / ln .9 = 35.01, so 36.
    assert patients_for_proportion(1.0, 0.1) == 36
    assert patients_for_proportion(0.0, 0.1) == 36


@pytest.mark.parametrize("method", ["exact", "wilson"])
def test_it_is_the_smallest_number(method: Method) -> None:
    found = patients_for_proportion(0.9, 0.2, method=method)
    assert mean_width(0.9, found, method=method) <= 0.2
    assert all(mean_width(0.9, fewer, method=method) > 0.2 for fewer in range(1, found))


def test_large_samples_come_near_the_normal_formula() -> None:
    # 4 · 1.96² · .9 · .1 / .02² = 3457
    assert patients_for_proportion(0.9, 0.02, method="wilson") == pytest.approx(3457, rel=0.01)
    assert patients_for_proportion(0.9, 0.02) == pytest.approx(3457 + 2 / 0.02, rel=0.01)  # exact: 1/width more a side


def test_the_error_of_an_auroc_by_hand() -> None:
    # AUROC .9, 50 and 50: Q1 = .9/1.1 = .81818, Q2 = 1.62/1.9 = .85263, θ² = .81.
    # (.09 + 49 · .00818 + 49 · .04263) / 2500 = (.09 + .40091 + 2.08895) / 2500 = .00103194; root .032124.
    assert auroc_error(0.9, 50, 50) == pytest.approx(0.032124, abs=1e-6)


def test_the_patients_of_an_auroc_are_the_fewest() -> None:
    sick, well = patients_for_auroc(0.9, 0.1, 0.25)
    assert sick == (sick + well) // 4
    assert 2 * 1.959964 * auroc_error(0.9, sick, well) <= 0.1
    fewer = sick + well - 1
    assert 2 * 1.959964 * auroc_error(0.9, fewer // 4, fewer - fewer // 4) > 0.1


def test_patients_to_collect() -> None:
    assert patients_overall(9, 0.3) == 30
    assert patients_overall(10, 0.3) == 34
    assert patients_overall(140, 0.02) == 7000


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patients_for_proportion(1.2, 0.1), "expected proportion 1.2 is out of range"),
        (lambda: patients_for_proportion(math.nan, 0.1), "out of range"),
        (lambda: patients_for_proportion(0.9, 0.0), "width 0 is out of range"),
        (lambda: patients_for_proportion(0.5, 1e-6), "needs more than 10,000,000 patients"),
        (lambda: patients_for_auroc(0.5, 0.1, 0.5), "expected AUROC 0.5"),
        (lambda: patients_for_auroc(0.9, 0.1, 1.0), "prevalence 1 is out of range"),
        (lambda: patients_overall(9, 0.0), "share of the class 0"),
    ],
)
def test_what_cannot_be_planned_is_refused(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_the_command_prints_one_row_a_figure() -> None:
    result = CliRunner().invoke(
        samplesize_command, ["--sensitivity", "1", "--prevalence", "0.25", "--method", "exact"], env={"COLUMNS": "120"}
    )
    assert result.exit_code == 0, result.output
    (row,) = [line for line in result.output.splitlines() if "sensitivity" in line and "│" in line]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["sensitivity", "1", "36", "", "144"]
