"""The share of lung involved in a CT study, from the slices that are answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from duoscan.cases.estimates import ScoreEstimate
from duoscan.imaging.contract import LUNG_WINDOW_CENTRE_HU, LUNG_WINDOW_WIDTH_HU
from duoscan.imaging.involvement import MAX_SLICES, Involvement, measure_involvement
from duoscan.imaging.lung_selection import reduced
from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels

NAME = "lung_involved"
_TITLE = "Share of lung involved"
_MOST_KEPT = 1024  # slices, 64 MiB; no scan has as many that are answered
_MOST_TIMES_USUAL = 3.0  # of the usual step, that one slice may stand for where positions are missing


@dataclass(frozen=True)
class _Slice:
    values: NDArray[np.float32]
    height_mm: float | None
    is_hu: bool


@dataclass
class LungShare:
    """Collects slices of one study as they are answered; of each a small copy is kept."""

    _slices: list[_Slice] = field(default_factory=list)

    def add(self, pixels: Pixels, height_mm: float | None = None) -> None:
        """Take in one slice.

        Args:
            pixels: As decoded. A picture is taken to show the lung window, which is all that is known of its grey.
            height_mm: Along the normal of the stack; unknown for a picture, which stands for itself.
        """
        if len(self._slices) == _MOST_KEPT:
            return
        values = pixels.values
        if not pixels.is_hu:
            values = LUNG_WINDOW_CENTRE_HU + (values - np.float32(0.5)) * np.float32(LUNG_WINDOW_WIDTH_HU)
        self._slices.append(_Slice(reduced(values), height_mm, pixels.is_hu))

    def estimate(self) -> ScoreEstimate:
        """The share by volume, or why there is none."""
        stack = sorted((one for one in self._slices if one.height_mm is not None), key=lambda one: one.height_mm or 0.0)
        measured = _measured(stack) if stack else _measured_alone(self._slices)
        if measured is None:
            why = "no slice that was answered shows lung whose share can be measured"
            return _estimate(None, reason=Reason(ReasonCode.NOT_MEASURED, why))
        used = stack or self._slices
        how = "by Hounsfield units" if all(one.is_hu for one in used) else "approximate, from the grey of pictures"
        slices = "1 slice" if measured.slices == 1 else f"{measured.slices} slices"
        return _estimate(measured.share, method=f"{how} on {slices}")


def _estimate(share: float | None, *, method: str = "", reason: Reason | None = None) -> ScoreEstimate:
    return ScoreEstimate(NAME, _TITLE, share, 0.0, 1.0, method, reason=reason)


def _measured(stack: Sequence[_Slice]) -> Involvement | None:
    """Slices of one stack, lowest first, each by the height it stands for."""
    places = np.unique(np.linspace(0, len(stack) - 1, min(len(stack), MAX_SLICES)).round().astype(int))
    chosen = [stack[place] for place in places if stack[place].values.shape == stack[0].values.shape]
    heights = np.array([one.height_mm for one in chosen], np.float64)
    weights = np.gradient(heights) if len(heights) > 1 else np.ones(1)
    usual = float(np.median(weights)) or 1.0
    return measure_involvement([one.values for one in chosen], np.clip(weights, 0, _MOST_TIMES_USUAL * usual).tolist())


def _measured_alone(slices: Sequence[_Slice]) -> Involvement | None:
    """Slices of which nothing says how they lie to one another, each by its lung."""
    found = [one for one in (measure_involvement([each.values]) for each in slices) if one is not None]
    if not found:
        return None
    lung = sum(one.lung for one in found)
    return Involvement(sum(one.share * one.lung for one in found) / lung, len(found), lung / len(found))
