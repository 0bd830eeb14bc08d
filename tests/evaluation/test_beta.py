"""Quantiles without scipy are those of scipy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from duoscan.evaluation.beta import beta_quantile, beta_share, binomial_limits, student_p, student_quantile

SHARES = st.floats(0.001, 0.999)


@settings(deadline=None, max_examples=60)
@given(share=SHARES, a=st.floats(0.5, 500), b=st.floats(0.5, 500))
def test_the_beta_distribution_is_scipys(share: float, a: float, b: float) -> None:
    assert beta_share(share, a, b) == pytest.approx(stats.beta.cdf(share, a, b), rel=1e-9, abs=1e-12)
    assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), rel=1e-8, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(freedom=st.floats(1, 3000), t=st.floats(-8, 8))
def test_students_t_is_scipys(freedom: float, t: float) -> None:
    assert student_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), rel=1e-8)
    assert student_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-8)


@pytest.mark.parametrize(("hits", "trials"), [(0, 12), (12, 12), (1, 30), (29, 30), (40, 100), (3, 4000)])
def test_limits_of_a_proportion_are_scipys(hits: int, trials: int) -> None:
    found = stats.binomtest(hits, trials).proportion_ci(method="exact")
    assert binomial_limits(hits, trials) == (pytest.approx(found.low), pytest.approx(found.high))
