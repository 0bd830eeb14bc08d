"""How much of a model's skill is left when it is shown less."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.metrics import Ranking, ratio

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray, FloatArray

# With half of the skill left where no lung is, most of a figure may owe to something else; with a fifth, some of it.
FAIL_RETAINED, WARN_RETAINED = 0.5, 0.2
BY_PERCENTILES = "by percentile bootstrap"
"""What its intervals are, for wherever they are printed."""

# Below this AUROC there is no skill to retain.
LEAST_SKILL = 0.55


class Retained:
    """AUROC of a probe, of the whole image, and the share of skill the probe retains.

    Retained skill is (AUROC of the probe − 0.5) / (AUROC of the whole − 0.5); both are measured on the same rows,
    so a resample of patients moves them together.

    Args:
        reference: shape (N,); which rows are covid.
        probe: shape (N,); scores from the probe.
        whole: shape (N,); scores from the whole image.
    """

    def __init__(self, reference: BoolArray, probe: FloatArray, whole: FloatArray) -> None:
        self._probe, self._whole = Ranking(reference, probe), Ranking(reference, whole)

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,)."""
        probe, whole = (one.auroc_and_average_precision(weights)[0] for one in (self._probe, self._whole))
        return {"auroc": probe, "retained": ratio(probe - 0.5, whole - 0.5)}

    def denominators(self) -> dict[str, BoolArray]:
        """Neither is a proportion of rows."""
        return {}
