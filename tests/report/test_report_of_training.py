"""A run as ``duoscan train`` really leaves it can be reported on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from duoscan.evidence.subject import read_subjects


@pytest.mark.slow
def test_a_trained_run_is_reported_on(trained_run: Path, page_of: Callable[..., str]) -> None:
    (subject,) = read_subjects([trained_run])
    assert subject.making is not None
    (part,) = subject.making.parts
    assert [len(learning.history) for learning in part.learnings] == [2]
    assert part.learnings[0].best_epoch in {0, 1}
    assert subject.making.environment["numpy"]
    assert len(subject.predictions) == 27
    page = page_of(trained_run)
    assert "Loss and accuracy of training and validation" in page
    assert page.count("data:image/png") == 12 + 18 + 25  # samples, augmented, grid
    assert "batch_size = 8" in page
