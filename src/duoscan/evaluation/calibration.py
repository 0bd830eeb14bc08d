"""Whether P(covid) means what it says: slope, intercept, calibration error, each under resampled patients.

* ``slope`` and ``intercept``: logistic regression of the reference on the logit of P(covid) (Cox, Biometrika 1958;
  Van Calster et al., Journal of Clinical Epidemiology 2016). A slope below 1 means answers too extreme. The
  intercept is that of the model with the slope held at 1 (calibration in the large): above 0 means P(covid) too low
  on the whole.
* ``ece``: expected calibration error over bins of equally many images. **It is never 0 on a finite sample**, even for
  a perfect model: what chance alone gives stands beside it, and only what lies above that counts.
* ``brier_score``: mean squared error of P(covid).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.binary import mean_of_errors
from duoscan.evaluation.curves import ReliabilityBin
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, bootstrap, unit_index
from duoscan.evaluation.metrics import ratio
from duoscan.inference.calibrator import expit, logit

if TYPE_CHECKING:
    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray, Sample

MOST_BINS = 10
LEAST_IN_BIN = 15  # images; fewer bins where there are not as many
CALIBRATION_NAMES: dict[str, str] = {
    "slope": "Calibration slope",
    "intercept": "Calibration intercept (in the large)",
    "ece": "Expected calibration error (ECE)",
    "brier_score": "Brier score",
}
_NEWTON_STEPS = 40
_LARGEST_STEP = 4.0
_DONE = 1e-9
_FLATTEST = 1e-10  # of the likelihood's curvature; below it there is no highest point, as where classes separate
_BEND = 4.0  # slopes above about 1/4 are reflected as logarithms are
_STEEPEST = 1e4  # slope; only perfectly separated classes come near it


class CalibrationMetrics:
    """Calibration of covid against the rest as a metric set, in the order of ``CALIBRATION_NAMES``.

    The bins are those of the sample and stay as they are under every resample.

    Args:
        sample: The rows.
    """

    def __init__(self, sample: Sample) -> None:
        self._log_odds = logit(sample.probability)
        self._reference = sample.reference.astype(np.float64)
        self._gap = self._reference - sample.probability
        self._member = np.eye(bin_count(len(sample)))[equal_mass_member(sample.probability)]

    def __call__(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Metrics for weights of shape (R, N), each of shape (R,)."""
        total = weights.sum(axis=1)
        gaps = np.abs((weights * self._gap) @ self._member).sum(axis=1)
        return {
            "slope": calibration_slope(self._reference, self._log_odds, weights),
            "intercept": calibration_in_the_large(self._reference, self._log_odds, weights),
            "ece": ratio(gaps, total),
            "brier_score": ratio(weights @ self._gap**2, total),
        }

    def denominators(self) -> dict[str, BoolArray]:
        """None of them is a plain proportion of rows."""
        return {}


@dataclass(frozen=True)
class CalibrationResult:
    """How far P(covid) can be taken at its word on some rows.

    Attributes:
        metrics: Estimates by metric, in the order of ``CALIBRATION_NAMES``.
        ece_by_chance: Mean ECE that a perfectly calibrated model would show on as many, equally alike images.
        ece_chance_high: What 95 of 100 such ECEs stay below, or more where intervals have to hold together.
        bins: Reliability diagram with bins of equally many images.
    """

    metrics: dict[str, Estimate]
    ece_by_chance: float
    ece_chance_high: float
    bins: tuple[ReliabilityBin, ...]

    def to_json(self) -> dict[str, Any]:
        """As in files; what is undefined is ``null``."""
        return {
            **{name: estimate.to_json() for name, estimate in self.metrics.items()},
            "ece_by_chance": None if math.isnan(self.ece_by_chance) else self.ece_by_chance,
            "ece_chance_high": None if math.isnan(self.ece_chance_high) else self.ece_chance_high,
            "bins": [dict(vars(one)) for one in self.bins],
        }


def measure_calibration(
    sample: Sample, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0, tail: float = TAIL
) -> CalibrationResult:
    """Calibration with 95 % intervals from resampled patients.

    Plain percentiles hold the true slope too seldom (``benchmarks/interval_coverage.py``): resamples lean to steep
    slopes. They are therefore reflected at the estimate on a logarithmic scale (basic bootstrap; Davison and Hinkley
    1997, section 5.2). The ECE of a sample lies within the noise of its bins of the true one, whatever that is, so its
    interval reaches as far on either side as chance alone stays below in 95 of 100 samples, and holds 0 for as many of
    the perfect models.

    Args:
        sample: The rows.
        resamples: Resamples of patients for each interval.
        seed: Makes the intervals repeatable.
        tail: Chance that is left on either side; smaller where several intervals have to hold together.

    Raises:
        InputError: Too few resamples.
    """
    mean, reach = ece_by_chance(sample, resamples=resamples, seed=seed, tail=tail)
    estimates = bootstrap(
        CalibrationMetrics(sample),
        sample.units,
        resamples=resamples,
        seed=seed,
        reshape={"slope": _reflected_log},
        tail=tail,
        closed={
            "ece": lambda value, _drawn: _within_noise(value, reach, sample),
            "brier_score": lambda _value, _drawn: mean_of_errors(
                (sample.reference - sample.probability) ** 2, sample.units
            ),
        },
    )
    return CalibrationResult(estimates, mean, reach, tuple(equal_mass_bins(sample)))


def bin_count(images: int) -> int:
    """Bins for so many images: ten, fewer where a bin would hold under fifteen."""
    return max(1, min(MOST_BINS, images // LEAST_IN_BIN))


def equal_mass_member(probability: FloatArray) -> IntArray:
    """Each row's bin (N,), the bins holding equally many rows; equal probabilities share one."""
    ordered = np.sort(probability)
    middle = np.searchsorted(ordered, probability, "left") + np.searchsorted(ordered, probability, "right")
    rows = len(probability)
    return np.asarray(middle * bin_count(rows) // (2 * rows)).clip(max=bin_count(rows) - 1)


def equal_mass_bins(sample: Sample) -> list[ReliabilityBin]:
    """Reliability diagram over bins of equally many images; edges are the lowest and highest P(covid) inside."""
    member = equal_mass_member(sample.probability)
    return [
        ReliabilityBin(
            low=float(sample.probability[rows].min()),
            high=float(sample.probability[rows].max()),
            n=int(rows.sum()),
            mean_probability=float(sample.probability[rows].mean()),
            observed=float(sample.reference[rows].mean()),
        )
        for place in range(bin_count(len(sample)))
        if (rows := member == place).any()
    ]


def ece_by_chance(
    sample: Sample, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0, tail: float = TAIL
) -> tuple[float, float]:
    """ECE that a perfectly calibrated model would show on as many images, as alike within patients.

    Its mean comes from the gaps that were seen: what each patient adds to the gap of each bin, about the bin's own
    mean, gets a sign by chance (wild bootstrap by patient; Cameron, Gelbach and Miller 2008). A bin in which nothing
    was seen has no gaps, though it may; so patients' labels are drawn from P(covid) as well, and the larger limit
    counts.

    Returns:
        The mean, and what 95 of 100 stay below; ``nan`` where a patient is alone.
    """
    index, count = unit_index(sample.units)
    if count < 2:
        return math.nan, math.nan
    member = np.eye(bin_count(len(sample)))[equal_mass_member(sample.probability)]
    gap = sample.reference - sample.probability
    inside = (_by_patient(member, index, count) > 0).sum(axis=0)
    centred = gap[:, None] * member - member * (gap @ member / np.maximum(1.0, member.sum(axis=0)))
    centred *= np.sqrt(inside / np.maximum(1, inside - 1))
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(resamples, count))
    seen = np.abs(signs @ _by_patient(centred, index, count)).sum(axis=1) / len(sample)
    chance = np.bincount(index, weights=sample.probability) / np.bincount(index)
    labels = (rng.random((resamples, count)) < chance).astype(np.float64)
    stated = sample.probability @ member
    drawn = np.abs(labels @ _by_patient(member, index, count) - stated).sum(axis=1) / len(sample)
    high = max(float(np.quantile(one, 1.0 - 2.0 * tail)) for one in (seen, drawn))
    return float(seen.mean()), high


def _by_patient(values: FloatArray, index: IntArray, count: int) -> FloatArray:
    """Sums (count, bins) of values (N, bins)."""
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def _within_noise(value: float, reach: float, sample: Sample) -> Estimate:
    if math.isnan(reach):
        return Estimate(value, None, None, len(sample), sample.patients, note="one patient only")
    ends = max(0.0, value - reach), min(1.0, value + reach)
    return Estimate(value, *ends, len(sample), sample.patients, note="as far as chance goes in 95 of 100 samples")


def calibration_slope(reference: FloatArray, log_odds: FloatArray, weights: FloatArray) -> FloatArray:
    """Slope of the reference on the log odds by weighted logistic regression, for every row of weights at once.

    Args:
        reference: shape (N,); 1 for covid.
        log_odds: shape (N,); logit of P(covid).
        weights: shape (R, N).

    Returns:
        shape (R,); ``nan`` where the likelihood has no highest point: one class, one probability, or classes that
        the model separates without error.
    """
    scale = float(log_odds.std()) or 1.0
    x = (log_odds - log_odds.mean()) / scale  # the slope does not change, and the steps stay small
    coefficients = np.zeros((len(weights), 2))
    slope = np.full(len(weights), np.nan)
    running = np.flatnonzero(_has_both(reference, weights))
    for _ in range(_NEWTON_STEPS):
        if not len(running):
            break
        step, has_top = _newton_step(x, reference, weights[running], coefficients[running])
        coefficients[running] += step.clip(-_LARGEST_STEP, _LARGEST_STEP)
        done = has_top & (np.abs(step).max(axis=1) < _DONE)
        slope[running[done]] = coefficients[running[done], 1] / scale
        running = running[has_top & ~done]
    return np.where(np.abs(slope) < _STEEPEST, slope, np.nan)


def calibration_in_the_large(reference: FloatArray, log_odds: FloatArray, weights: FloatArray) -> FloatArray:
    """What must be added to the log odds for the mean P(covid) to be the share of covid.

    Args:
        reference: shape (N,); 1 for covid.
        log_odds: shape (N,); logit of P(covid).
        weights: shape (R, N).

    Returns:
        shape (R,); ``nan`` where there is only one class.
    """
    wanted = weights @ reference
    # The mean P(covid) rises with the shift, so the shift lies between these and bisection is the safe step.
    reach = float(np.abs(log_odds).max()) + math.log(max(2.0, float(weights.sum(axis=1).max()) * 2.0))
    low, high = np.full(len(weights), -reach), np.full(len(weights), reach)
    shift = np.zeros(len(weights))
    for _ in range(_NEWTON_STEPS):
        probability = expit(log_odds + shift[:, None])
        missing = wanted - np.einsum("rn,rn->r", weights, probability)
        low, high = np.where(missing > 0, shift, low), np.where(missing < 0, shift, high)
        curvature = np.einsum("rn,rn->r", weights, probability * (1.0 - probability))
        guess = shift + np.divide(missing, curvature, out=np.full_like(missing, np.inf), where=curvature > 0)
        following = np.where((guess >= low) & (guess <= high), guess, (low + high) / 2.0)
        settled = float(np.abs(following - shift).max()) < _DONE
        shift = following
        if settled:
            break
    return np.where(_has_both(reference, weights), shift, np.nan)


def _reflected_log(value: float, drawn: FloatArray) -> FloatArray:
    """Resamples as far on the other side of the estimate, on asinh(4 · slope): a logarithm that takes 0 and below."""
    return np.asarray(np.sinh(2.0 * np.arcsinh(_BEND * value) - np.arcsinh(_BEND * drawn)) / _BEND)


def _newton_step(
    x: FloatArray, reference: FloatArray, weights: FloatArray, coefficients: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """One step (R, 2) of intercept and slope, and whether (R,) the likelihood curves enough to have a top."""
    probability = expit(coefficients[:, :1] + coefficients[:, 1:] * x)
    error = weights * (reference - probability)
    bend = weights * probability * (1.0 - probability)
    a, b, c = bend.sum(axis=1), bend @ x, bend @ x**2
    determinant = a * c - b**2
    has_top = determinant > _FLATTEST * weights.sum(axis=1) ** 2
    up, tilt = error.sum(axis=1), error @ x
    safe = np.where(has_top, determinant, 1.0)
    return np.stack([(c * up - b * tilt) / safe, (a * tilt - b * up) / safe], axis=1), has_top


def _has_both(reference: FloatArray, weights: FloatArray) -> BoolArray:
    positive = weights @ reference
    return np.asarray((positive > 0) & (positive < weights.sum(axis=1)))
