"""Rows and samples for the tests of evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.evaluation import outputs
from duoscan.evaluation.sample import Sample
from duoscan.predictions import Prediction
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write evaluations without figures, which take most of the time."""
    monkeypatch.setattr(outputs, "draw_figures", lambda evaluation, predictions, band: {})


@pytest.fixture
def matrix_rows() -> Callable[[int, int, int, int], list[Prediction]]:
    """Rows with hard probabilities that make the given confusion matrix; one patient an image."""

    def make(tp: int, fn: int, fp: int, tn: int) -> list[Prediction]:
        cells = [
            (Finding.COVID, 1.0, tp),
            (Finding.COVID, 0.0, fn),
            (Finding.NORMAL, 1.0, fp),
            (Finding.NORMAL, 0.0, tn),
        ]
        answers = [(label, value) for label, value, count in cells for _ in range(count)]
        return [
            Prediction(
                f"{number}.png",
                f"patient-{number}",
                None,
                value,
                "positive" if value else "negative",
                label=label,
            )
            for number, (label, value) in enumerate(answers)
        ]

    return make


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """A sample of plain lists; each row its own patient unless units are given."""

    def make(
        reference: Sequence[int],
        probability: Sequence[float],
        *,
        threshold: float = 0.5,
        units: Sequence[str] | None = None,
    ) -> Sample:
        values = np.array(probability, dtype=np.float64)
        names = tuple(units) if units is not None else tuple(map(str, range(len(values))))
        return Sample(np.array(reference, dtype=bool), values, values >= threshold, names)

    return make
