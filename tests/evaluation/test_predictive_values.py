"""PPV and NPV at a stated prevalence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.evaluation.intervals import bootstrap
from duoscan.evaluation.metrics import BinaryMetrics
from duoscan.evaluation.predictive_values import PREVALENCES, predictive_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.evaluation.sample import Sample


@pytest.fixture
def measured(sample: Callable[..., Sample]) -> Sample:
    """Sensitivity .9 of 100, specificity .8 of 100."""
    return sample([1] * 100 + [0] * 100, [1.0] * 90 + [0.0] * 10 + [1.0] * 20 + [0.0] * 80)


def test_one_percent_by_hand(measured: Sample) -> None:
    # Of 10,000 people 100 are sick: 90 found; of 9,900 well 1,980 called. PPV 90/2070; NPV 7920/7930.
    (found,) = predictive_values(measured, [0.01], resamples=300)
    assert found.ppv.value == pytest.approx(90 / 2070)
    assert found.npv.value == pytest.approx(7920 / 7930)
    for estimate in (found.ppv, found.npv):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.value < estimate.high
    assert found.to_json()["prevalence"] == 0.01


def test_the_samples_own_prevalence_gives_its_own_ppv(measured: Sample) -> None:
    own = bootstrap(BinaryMetrics(measured), measured.units, resamples=100)
    found = {row.prevalence: row for row in predictive_values(measured, resamples=100)}
    assert list(found) == list(PREVALENCES)
    assert found[0.50].ppv.value == pytest.approx(own["ppv"].value)
    assert found[0.50].npv.value == pytest.approx(own["npv"].value)
    assert np.all(np.diff([row.ppv.value for row in found.values()]) > 0)
    assert np.all(np.diff([row.npv.value for row in found.values()]) < 0)


def test_no_error_seen_is_not_certainty(sample: Callable[..., Sample]) -> None:
    # 30 of 30 sick found: sensitivity at least .025^(1/30) = .8843. 20 of 25 well spared.
    made = sample([1] * 30 + [0] * 25, [1.0] * 30 + [1.0] * 5 + [0.0] * 20)
    (found,) = predictive_values(made, [0.1], resamples=500)
    specificity = bootstrap(BinaryMetrics(made), made.units, resamples=500)["specificity"]
    assert specificity.low is not None
    assert found.npv.value == 1.0
    low = specificity.low
    assert found.npv.low == pytest.approx(0.9 * low / (0.9 * low + 0.1 * (1 - 0.025 ** (1 / 30))))
    assert found.npv.high == 1.0
    assert "ends of" in found.npv.note


def test_a_prevalence_of_nobody_is_refused(measured: Sample) -> None:
    with pytest.raises(InputError, match="prevalence 0 is out of range"):
        predictive_values(measured, [0.1, 0.0])
