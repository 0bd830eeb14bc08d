from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.terms import Modality
from duoscan.triage.aggregate import study_probability

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("modality", "probabilities", "expected"),
    [
        (Modality.CXR, [0.2, 0.7], 0.7),
        (Modality.CT, [0.2], 0.2),
        (Modality.CT, [0.2, 0.4], 0.3),
        # (0.9 + 0.6 + 0.3) / 3
        (Modality.CT, [0.0, 0.9, 0.6, 0.3], 0.6),
    ],
)
def test_by_hand(modality: Modality, probabilities: list[float], expected: float) -> None:
    assert study_probability(modality, probabilities) == pytest.approx(expected)


@given(PROBABILITIES, st.sampled_from(list(Modality)), st.randoms())
def test_order_does_not_matter_and_the_result_stays_inside(probabilities, modality, random) -> None:
    value = study_probability(modality, probabilities)
    shuffled = list(probabilities)
    random.shuffle(shuffled)
    assert study_probability(modality, shuffled) == value
    assert min(probabilities) - 1e-12 <= value <= max(probabilities) + 1e-12
