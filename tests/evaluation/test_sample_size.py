"""Patients needed for a wished width, against scipy's intervals and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.special import expit, logit
from scipy.stats import beta, binom, binomtest, norm, rankdata

from duoscan.errors import InputError
from duoscan.evaluation.sample_size import (
    Method,
    auroc_error,
    auroc_width,
    chance_of,
    patients_for_auroc,
    patients_for_proportion,
    patients_overall,
    patients_overall_for_auroc,
)
from duoscan.interfaces.cli.samplesize import samplesize_command


@pytest.mark.parametrize("method", ["exact", "wilson"])
@pytest.mark.parametrize(
    ("expected", "patients", "width"), [(0.9, 12, 0.4), (0.5, 3, 0.7), (1.0, 5, 0.6), (0.0, 4, 0.5)]
)
def test_the_chance_of_a_width_is_that_of_scipys_intervals(
    method: Method, expected: float, patients: int, width: float
) -> None:
    chance = 0.0
    for hits in range(patients + 1):
        interval = binomtest(hits, patients).proportion_ci(0.95, method)
        chance += binom.pmf(hits, patients, expected) * (interval.high - interval.low <= width)
    assert chance_of(width, expected, patients, method=method) == pytest.approx(chance)


def test_no_error_expected_needs_the_exact_bound_alone() -> None:
    # All n right: the width is 1 − .025^(1/n) ≤ .1 from n = ln .025 / ln .9 = 35.01, so 36.
    assert patients_for_proportion(1.0, 0.1) == 36
    assert patients_for_proportion(0.0, 0.1) == 36


@pytest.mark.parametrize("method", ["exact", "wilson"])
def test_the_width_is_met_nine_times_in_ten(method: Method) -> None:
    found = patients_for_proportion(0.9, 0.2, method=method)
    assert chance_of(0.2, 0.9, found, method=method) >= 0.9 > chance_of(0.2, 0.9, found - 1, method=method)
    # On average alone it would be met in about half of the sets: 36 patients have the width 0.2 on average.
    assert chance_of(0.2, 0.9, 40, method=method) < 0.75
    assert found > 50


def test_large_samples_come_near_the_normal_formula() -> None:
    # 4 · 1.96² · .9 · .1 / .02² = 3457 on average. The width goes as √(p(1 − p)), and one set in ten sees p below
    # .9 − 1.2816 · √(.09 / 3457) = .8935: p(1 − p) = .0952 in place of .09, so 3457 · .0952 / .09 = 3656.
    assert patients_for_proportion(0.9, 0.02, method="wilson") == pytest.approx(3656, rel=0.01)


def test_the_error_of_an_auroc_by_hand() -> None:
    # AUROC .9, 50 and 50: Q1 = .9/1.1 = .81818, Q2 = 1.62/1.9 = .85263, θ² = .81.
    # (.09 + 49 · .00818 + 49 · .04263) / 2500 = (.09 + .40091 + 2.08895) / 2500 = .00103194; root .032124.
    assert auroc_error(0.9, 50, 50) == pytest.approx(0.032124, abs=1e-6)


def test_the_patients_of_an_auroc_are_the_fewest() -> None:
    sick, well = patients_for_auroc(0.9, 0.1, 0.25)
    assert sick == (sick + well) // 4
    assert auroc_width(0.9, sick, well) <= 0.1
    fewer = sick + well - 1
    assert auroc_width(0.9, fewer // 4, fewer - fewer // 4) > 0.1


def delong_widths(area: float, sick: int, well: int, sets: int) -> np.ndarray:
    """Widths of DeLong's interval on the logit scale for binormal scores."""
    rng, shift = np.random.default_rng(0), math.sqrt(2) * norm.ppf(area)
    high, low = rng.normal(shift, 1, (sets, sick)), rng.normal(0, 1, (sets, well))
    everyone = rankdata(np.concatenate([high, low], axis=1), axis=1)
    of_sick = (everyone[:, :sick] - rankdata(high, axis=1)) / well
    of_well = 1 - (everyone[:, sick:] - rankdata(low, axis=1)) / sick
    found = of_sick.mean(axis=1)
    error = np.sqrt(of_sick.var(axis=1, ddof=1) / sick + of_well.var(axis=1, ddof=1) / well)
    some = np.clip(found, 0.01, 1 - 1e-9)
    reach = 1.959964 * error / (some * (1 - some))
    # Nothing wrong in the whole set gives no error to reckon with: counted as too wide.
    return np.where(found < 1, expit(logit(some) + reach) - expit(logit(some) - reach), 1.0)


@pytest.mark.parametrize(
    ("area", "width", "prevalence"), [(0.98, 0.1, 0.5), (0.98, 0.05, 0.5), (0.9, 0.1, 0.5), (0.7, 0.1, 0.5)]
)
def test_delongs_interval_is_as_narrow_as_was_wished(area: float, width: float, prevalence: float) -> None:
    """Of an AUROC of 0.98 the number for twice 1.96 standard errors, 17 of each, met 0.1 in 0.32 of sets."""
    met = delong_widths(area, *patients_for_auroc(area, width, prevalence), 300) <= width
    assert met.mean() >= 0.9 - 3 * math.sqrt(0.9 * 0.1 / 300)


def test_patients_to_collect() -> None:
    # With 30 patients at 0.3 nine are sick on average, and at least nine in 0.57 of sets.
    assert binom.sf(8, 30, 0.3) < 0.6
    collected = patients_overall(9, 0.3)
    assert binom.sf(8, collected, 0.3) >= 0.95 > binom.sf(8, collected - 1, 0.3)
    assert patients_overall(9, 0.3, assurance=0.5) < collected


@pytest.mark.parametrize(("expected", "share"), [(0.9, 0.1), (0.98, 0.3)])
def test_whoever_comes_the_width_is_met_nine_times_in_ten(expected: float, share: float) -> None:
    """The count of the class and the count of the hits both left to chance."""
    rng = np.random.default_rng(1)
    of_class = patients_for_proportion(expected, 0.1, assurance=0.95)
    came = rng.binomial(patients_overall(of_class, share), share, 2000)
    hits = rng.binomial(came, expected)
    low = np.where(hits > 0, beta.ppf(0.025, hits, came - hits + 1), 0.0)
    high = np.where(hits < came, beta.ppf(0.975, hits + 1, np.maximum(came - hits, 1)), 1.0)
    assert np.mean(high - low <= 0.1) >= 0.9


def test_an_auroc_is_met_whoever_comes() -> None:
    patients = patients_overall_for_auroc(0.98, 0.1, 0.2)
    assert patients > sum(patients_for_auroc(0.98, 0.1, 0.2))
    # Both ends of what 95 of 100 sets hold of covid are enough.
    for positives in (int(binom.ppf(end, patients, 0.2)) for end in (0.025, 0.975)):
        assert auroc_width(0.98, positives, patients - positives, 0.95) <= 0.1


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
    assert [cell.strip() for cell in row.split("│")[1:-1]] == ["sensitivity", "1", "36", "", "180"]
    assert binom.sf(35, 180, 0.25) >= 0.95 > binom.sf(35, 179, 0.25)
