"""A screener whose models know bright from dark, for drawn slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from duoscan.cases.screening import Screener
from duoscan.inference import predictor
from duoscan.terms import Modality

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def screener(brightness_bundles: dict[Modality, Path], monkeypatch: pytest.MonkeyPatch) -> Screener:
    # Drawn slices are no chests to the content check; what is tested here is everything but that.
    monkeypatch.setattr(predictor, "why_refused", lambda *_: None)
    return Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT], ct_threshold=0.2)
