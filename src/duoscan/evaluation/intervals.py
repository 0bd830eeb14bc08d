"""How sure a number is: 95 % intervals by resampling patients, and differences between two models.

Images of one patient are alike, so patients and not images are drawn, with replacement, and all images of a
drawn patient come along (cluster bootstrap; Field and Welsh, JRSS B 2007). The interval is the 2.5th to the
97.5th percentile of the resamples (Efron and Tibshirani 1993, chapter 13), and these rules apply:

- An interval always contains its estimate; where the percentiles miss it, the nearer end is moved to it.
- A resample in which a metric is undefined is dropped and counted; above 10 % dropped there is no interval.
- A proportion in which each patient counts once needs no resamples: its limits are those of Clopper and Pearson
  (Biometrika 1934), the same wherever it is printed.
- A proportion of several images a patient has the spread of its resamples, on the logit scale and by Student's t;
  percentiles of it held the truth in 0.89 of cohorts of 18 sick patients.
- A proportion of exactly 0 or 1 varies in no resample. With several images a patient it gets the bound of Clopper and
  Pearson with patients as trials, so that no error among 30 patients is not shown as certainty.
- Any other metric at 0 or 1 that varies in no resample has no interval: that no error was seen does not tell
  how many there will be.
- Where a metric has a better interval than percentiles, it is ``closed`` (see :mod:`duoscan.evaluation.binary`).
- A metric whose resamples lie to one side of the truth names a ``reshape`` of them before the percentiles are taken
  (see :mod:`duoscan.evaluation.calibration`); plain percentiles of it would hold the truth too seldom.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.beta import TAIL, binomial_limits, share_limits, student_quantile
from duoscan.evaluation.metrics import MetricSet, point

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from duoscan.evaluation.sample import BoolArray, FloatArray, IntArray

    Reshape = Callable[[float, FloatArray], FloatArray]
    Closed = Callable[[float, FloatArray], "Estimate"]

DEFAULT_RESAMPLES = 2000
MIN_RESAMPLES = 100  # fewer leave two values beyond the 2.5th percentile
MAX_DROPPED = 0.10
EXACT = "Clopper–Pearson"
CLUSTERED = "logit scale, spread of resampled patients"
_CHUNK_WEIGHTS = 2_000_000  # weights held at once: 16 MB


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: The estimate; ``nan`` where undefined.
        low: Lower end, ``None`` where there is no interval.
        high: Upper end, ``None`` where there is no interval.
        n: Images the number is over; for sensitivity the covid images, and so on.
        units: Patients those images show.
        dropped: Resamples in which the metric was undefined.
        note: Why there is no interval, or how it was made where not by percentiles.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    units: int
    dropped: int = 0
    note: str = ""

    def spoken(self, digits: int = 3) -> str:
        """``0.880 [0.802, 0.940]``; the value alone where there is no interval, a dash where it is undefined."""
        return spoken_interval(self.value, self.low, self.high, digits)

    def to_json(self) -> dict[str, float | int | str | None]:
        """As in files; what is undefined is ``null``."""
        value = None if math.isnan(self.value) else self.value
        stated = {"value": value, "low": self.low, "high": self.high, "n": self.n, "patients": self.units}
        return stated | ({"dropped": self.dropped} if self.dropped else {}) | ({"note": self.note} if self.note else {})


def spoken_interval(value: float | None, low: float | None, high: float | None, digits: int = 3) -> str:
    """``0.880 [0.802, 0.940]``; the value alone where there is no interval, a dash where it is undefined."""
    if value is None or math.isnan(value):
        return "–"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def draws(units: int, resamples: int, seed: int, rows: int) -> Iterator[FloatArray]:
    """How often each unit is drawn, in chunks of shape (R, units); R keeps weights over ``rows`` small."""
    check_resamples(resamples)
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK_WEIGHTS // max(rows, units))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units).astype(np.float64)


def check_resamples(resamples: int) -> None:
    """Refuse a number of resamples too small for a 95 % interval.

    Raises:
        InputError: Fewer than 100.
    """
    if resamples < MIN_RESAMPLES:
        msg = f"{resamples} resamples cannot give a 95 % interval; use {MIN_RESAMPLES} or more, better 2000"
        raise InputError(msg)


def unit_index(units: Sequence[str]) -> tuple[IntArray, int]:
    """Position (N,) of each row's unit among the sorted distinct units, and how many there are."""
    distinct, index = np.unique(np.asarray(units, dtype=np.str_), return_inverse=True)
    return index.astype(np.int64), len(distinct)


def bootstrap(
    metrics: MetricSet,
    units: Sequence[str],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    reshape: Mapping[str, Reshape] | None = None,
    closed: Mapping[str, Closed] | None = None,
    tail: float = TAIL,
) -> dict[str, Estimate]:
    """Each metric with its interval.

    Args:
        metrics: What to measure on N rows.
        units: The N rows' patients.
        resamples: How many resamples.
        seed: Makes the interval repeatable; row order does not matter.
        reshape: By metric, what makes of the estimate and the resamples those whose percentiles are the interval.
        closed: By metric, what makes the estimate of its value and its resamples where percentiles do not.
        tail: Chance that is left on either side; smaller where several intervals have to hold together.

    Raises:
        InputError: Too few resamples.
    """
    index, count = unit_index(units)
    rows = len(units)
    drawn = _gather([metrics(chunk[:, index]) for chunk in draws(count, resamples, seed, rows)])
    denominators = metrics.denominators()
    values = point(metrics, rows)
    for name, reshaped in (reshape or {}).items():
        drawn[name] = reshaped(values[name], drawn[name])
    own = closed or {}
    return {
        name: own[name](value, drawn[name])
        if name in own
        else _estimate(value, drawn[name], denominators.get(name), index, tail)
        for name, value in values.items()
    }


def paired_difference(
    first: tuple[MetricSet, Sequence[str]],
    second: tuple[MetricSet, Sequence[str]],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
    tail: float = TAIL,
) -> dict[str, Estimate]:
    """First minus second for each shared metric, both measured on the same drawn patients.

    Two models on the same rows are one use; X-ray and CT of the same patients, on different rows, another.

    Args:
        first: A metric set and the patients of its rows.
        second: Another; a patient in both must have the same key in both.
        resamples: How many resamples.
        seed: Makes the interval repeatable.
        tail: Chance that is left on either side. Below the usual one, where several intervals have to hold together,
            limits are Student's of the resamples' spread: so far out there are too few resamples for percentiles.

    Raises:
        InputError: Too few resamples.
    """
    (metrics_a, units_a), (metrics_b, units_b) = first, second
    index, count = unit_index([*units_a, *units_b])
    index_a, index_b = index[: len(units_a)], index[len(units_a) :]
    drawn_a, drawn_b = [], []
    for chunk in draws(count, resamples, seed, max(len(units_a), len(units_b))):
        drawn_a.append(metrics_a(chunk[:, index_a]))
        drawn_b.append(metrics_b(chunk[:, index_b]))
    all_a, all_b = _gather(drawn_a), _gather(drawn_b)
    value_a, value_b = point(metrics_a, len(units_a)), point(metrics_b, len(units_b))
    return {
        name: _difference(
            value_a[name] - value_b[name], all_a[name] - all_b[name], n=len(index), units=count, tail=tail
        )
        for name in value_a
        if name in value_b
    }


def unpaired_difference(first: Estimate, second: Estimate) -> Estimate:
    """First minus second of two independent samples, from their estimates alone.

    The interval joins the two intervals (MOVER; Newcombe, Statistics in Medicine 1998, method 10; Zou and
    Donner, Statistics in Medicine 2008), so a proportion of 0 or 1 keeps its bound. It says nothing of
    why two different groups of patients differ.
    """
    value, n, units = first.value - second.value, first.n + second.n, first.units + second.units
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return Estimate(value, None, None, n, units, note="one of the two has no interval")
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above, n, units)


def _gather(chunks: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _estimate(value: float, drawn: FloatArray, denominator: BoolArray | None, index: IntArray, tail: float) -> Estimate:
    over = index if denominator is None else index[denominator]
    n, units = len(over), len(np.unique(over))
    if denominator is not None and n == units and n:
        return Estimate(value, *binomial_limits(round(value * n), n, tail), n, units, note=EXACT)
    if denominator is not None and value in {0.0, 1.0}:
        limits = binomial_limits(value * units, units, tail)
        return Estimate(value, *limits, n, units, note=f"{EXACT} bound, patients as trials")
    found = _percentiles(value, drawn, n=n, units=units, tail=tail)
    if denominator is None or found.low is None:
        return found
    # So many images are wrong (or right), of at most as many patients; on them the spread rests.
    carrying = min(units - 1.0, n * min(value, 1.0 - value))
    error = float(np.nanstd(drawn)) * math.sqrt(units / (units - 1.0))
    if error:
        low, high = share_limits(value, error, carrying, units, tail)
    else:
        low, high = binomial_limits(value * units, units, tail)
    return replace(found, low=low, high=high, note=CLUSTERED)


def _difference(value: float, drawn: FloatArray, *, n: int, units: int, tail: float) -> Estimate:
    found = _percentiles(value, drawn, n=n, units=units, tail=tail)
    if tail >= TAIL or found.low is None:
        return found
    reach = student_quantile(1.0 - tail, units - 1) * float(np.nanstd(drawn)) * math.sqrt(units / (units - 1))
    return replace(found, low=value - reach, high=value + reach)


def _percentiles(value: float, drawn: FloatArray, *, n: int, units: int, tail: float) -> Estimate:
    if math.isnan(value):
        return Estimate(value, None, None, n, units, note="undefined on these rows")
    if units == 1:
        return Estimate(value, None, None, n, units, note="one patient only")
    defined = drawn[~np.isnan(drawn)]
    dropped = len(drawn) - len(defined)
    if dropped > MAX_DROPPED * len(drawn):
        note = f"undefined in {dropped} of {len(drawn)} resamples"
        return Estimate(value, None, None, n, units, dropped, note)
    low, high = (float(end) for end in np.quantile(defined, [tail, 1.0 - tail]))
    if low == high and value in {0.0, 1.0}:
        note = "no resample differs, so there is nothing to tell an interval from"
        return Estimate(value, None, None, n, units, dropped, note)
    return Estimate(value, min(low, value), max(high, value), n, units, dropped)
