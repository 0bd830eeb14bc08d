"""How often each 95 % interval holds the truth, on simulated cohorts of which the truth is known.

Usage: ``python benchmarks/interval_coverage.py [--cohorts 1000] [--patients 100] [--resamples 500]``. Prints a table in
Markdown. ``tests/evaluation/test_interval_coverage.py`` runs the same simulation with fewer cohorts, and holds each
interval to :func:`expected_coverage`.

Each patient has one to five images that share a label and most of their score, so images are no evidence of their own.
Two models answer every image; the second is weaker and its errors are partly those of the first.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm
from scipy.stats import t as student

from duoscan.evaluation.calibration import CalibrationMetrics, measure_calibration
from duoscan.evaluation.curves import GRID, roc_band
from duoscan.evaluation.delong import delong_auroc, delong_test
from duoscan.evaluation.intervals import Estimate, bootstrap, paired_difference, unpaired_difference
from duoscan.evaluation.metrics import BinaryMetrics, Share, point
from duoscan.evaluation.predictive_values import bayes, predictive_values
from duoscan.evaluation.sample import Sample
from duoscan.inference.calibrator import expit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

NOMINAL = 0.95
MONTE_CARLO_SIGMAS = 4.0  # thirty intervals at 4 sigma: a sound one is accused in about one run of a thousand
MOST_IMAGES = 5
SICK = 0.4
SHARED = 0.8  # share of the score's variance that a patient's images have in common
EFFECTS = (1.8, 1.4)  # by how many standard deviations covid scores higher, of either model
LOGIT_PER_SCORE = 1.3
PREVALENCE = 0.10
FALSE_POSITIVE_RATE = 0.20
TRUTH_PATIENTS = 60_000  # its own error is a twentieth of that of a cohort of 100
NEARLY_ALWAYS = 0.98  # a proportion that is often seen as 1 among few patients
FEW = 30
BROKEN = "broken: "


@dataclass(frozen=True)
class Cohort:
    """The same images answered by two models."""

    first: Sample
    second: Sample


@dataclass(frozen=True)
class Coverage:
    """How one kind of interval did.

    Attributes:
        held: Intervals that hold the truth.
        made: Intervals that there were.
        none: Cohorts in which there was no interval.
        width: Mean width.
    """

    held: int
    made: int
    none: int
    width: float

    @property
    def share(self) -> float:
        """Share of the intervals that hold the truth; ``nan`` without any."""
        return self.held / self.made if self.made else math.nan


def expected_coverage(patients: int, resamples: int | None) -> float:
    """What a 95 % interval reaches among so few patients and resamples, with nothing else wrong.

    - Ends at the quantiles q and 1 − q of B resamples cut off (1 + q (B − 1)) / (B + 1) on the mean on either side, as
      NumPy interpolates between order statistics (Wilks 1941): .0297 in place of .025 for 200.
    - Percentiles take the normal law where Student's with m − 1 degrees of freedom would do, and a spread that is
      divided by m, not m − 1 (Efron and Tibshirani 1993, chapter 12; Hesterberg 2015).
    - m is that of the sick: degrees of freedom of two classes together are never fewer than those of the smaller one
      (Satterthwaite 1946). As they have one to five images, n patients weigh like (Σk)²/Σk² = 9/11 n.

    Args:
        patients: Of a cohort.
        resamples: ``None`` for a closed form, which takes normal quantiles and divides by m − 1.
    """
    sizes = np.arange(1, MOST_IMAGES + 1)
    effective = SICK * patients * sizes.mean() ** 2 / (sizes**2).mean()
    tail = (1.0 - NOMINAL) / 2.0
    shrunk = 1.0
    if resamples is not None:
        tail = (1.0 + tail * (resamples - 1)) / (resamples + 1)
        shrunk = math.sqrt((effective - 1.0) / effective)
    return float(1.0 - 2.0 * student.sf(norm.isf(tail) * shrunk, effective - 1.0))


def expected_of(name: str, patients: int, resamples: int) -> float:
    """The same for one of the intervals by name."""
    is_closed = name.removeprefix(BROKEN).startswith("DeLong")
    return expected_coverage(patients, None if is_closed else resamples)


def falls_short(found: Coverage, expected: float) -> bool:
    """Whether so few intervals hold the truth that chance cannot be the reason.

    The bound is what is expected less four standard errors of a share of ``made`` cohorts, e.g. where 0.93 is expected
    of 300 cohorts 0.93 − 4 · √(.93 · .07 / 300) = 0.871.
    """
    error = math.sqrt(expected * (1.0 - expected) / max(1, found.made))
    return not found.share >= expected - MONTE_CARLO_SIGMAS * error


def draw_cohort(rng: np.random.Generator, patients: int, most_images: int = MOST_IMAGES) -> Cohort:
    """A cohort of so many patients."""
    images = rng.integers(1, most_images + 1, patients)
    unit = np.repeat(np.arange(patients), images)
    sick = rng.random(patients) < SICK
    of_patient, of_image = rng.normal(size=(2, patients)), rng.normal(size=(2, len(unit)))
    of_patient[1] = 0.6 * of_patient[0] + 0.8 * of_patient[1]  # what is hard is hard for both
    names = tuple(f"p{number}" for number in unit)
    samples = []
    for effect, patient, image in zip(EFFECTS, of_patient, of_image, strict=True):
        noise = math.sqrt(SHARED) * patient[unit] + math.sqrt(1 - SHARED) * image
        score = effect * (sick[unit] - 0.5) + noise
        probability = expit(LOGIT_PER_SCORE * score)
        samples.append(Sample(sick[unit], probability, probability >= 0.5, names))
    return Cohort(*samples)


def truths(seed: int = 0) -> dict[str, float]:
    """What each interval should hold: closed where there is a formula, else measured on very many patients."""
    cohort = draw_cohort(np.random.default_rng(seed), TRUTH_PATIENTS)
    first, second = (point(BinaryMetrics(one), len(one)) for one in (cohort.first, cohort.second))
    # AUROC Φ(effect/√2), as scores have unit variance in both classes.
    area, other_area = (0.5 * (1.0 + math.erf(effect / 2.0)) for effect in EFFECTS)
    first["auroc"], second["auroc"] = area, other_area
    calibration = point(CalibrationMetrics(cohort.first), len(cohort.first))
    rates = np.array([first["sensitivity"]]), np.array([first["specificity"]])
    ppv, npv = (float(value[0]) for value in bayes(*rates, PREVALENCE))
    order = np.sort(cohort.first.probability[~cohort.first.reference])
    threshold = order[int((1.0 - FALSE_POSITIVE_RATE) * len(order))]
    found = {f"bootstrap {name}": value for name, value in first.items()}
    found |= {f"calibration {name}": value for name, value in calibration.items()}
    found |= {f"PPV at {PREVALENCE:.0%}": ppv, f"NPV at {PREVALENCE:.0%}": npv}
    found["ROC band at FPR 0.2"] = float(np.mean(cohort.first.probability[cohort.first.reference] >= threshold))
    found |= {"DeLong, clustered": area, "DeLong, one image a patient": area, "DeLong difference": area - other_area}
    for name in ("auroc", "sensitivity", "brier_score"):
        found[f"paired difference {name}"] = first[name] - second[name]
        found[f"unpaired difference {name} (MOVER)"] = first[name] - second[name]
    found["Clopper–Pearson, 0.98 of 30"] = NEARLY_ALWAYS
    found |= {
        f"{BROKEN}bootstrap of images, sensitivity": first["sensitivity"],
        f"{BROKEN}bootstrap of images, auroc": area,
        f"{BROKEN}DeLong of images": area,
        f"{BROKEN}DeLong at half its width": area,
    }
    return found


def intervals(rng: np.random.Generator, patients: int, resamples: int, seed: int) -> Iterator[tuple[str, Estimate]]:
    """Every interval of duoscan on one drawn cohort, and some that are wrong on purpose."""
    cohort, independent = draw_cohort(rng, patients), draw_cohort(rng, patients)
    sample, units = cohort.first, cohort.first.units
    metrics, other = BinaryMetrics(sample), BinaryMetrics(cohort.second)
    own = bootstrap(metrics, units, resamples=resamples, seed=seed)
    yield from ((f"bootstrap {name}", estimate) for name, estimate in own.items())
    calibration = measure_calibration(sample, resamples=resamples, seed=seed).metrics
    yield from ((f"calibration {name}", estimate) for name, estimate in calibration.items())
    (shifted,) = predictive_values(sample, [PREVALENCE], resamples=resamples, seed=seed)
    yield f"PPV at {PREVALENCE:.0%}", shifted.ppv
    yield f"NPV at {PREVALENCE:.0%}", shifted.npv
    paired = paired_difference((metrics, units), (other, units), resamples=resamples, seed=seed)
    there = independent.second
    apart = bootstrap(BinaryMetrics(there), there.units, resamples=resamples, seed=seed + 1)
    for name in ("auroc", "sensitivity", "brier_score"):
        yield f"paired difference {name}", paired[name]
        yield f"unpaired difference {name} (MOVER)", unpaired_difference(own[name], apart[name])
    yield from _closed_forms(rng, cohort, patients)
    right = rng.random(FEW) < NEARLY_ALWAYS
    share = bootstrap(Share(right), list(map(str, range(FEW))), resamples=resamples, seed=seed)["share"]
    yield "Clopper–Pearson, 0.98 of 30", share
    if (band := roc_band(sample, resamples=resamples, seed=seed)) is not None:
        place = int(np.argmin(np.abs(GRID - FALSE_POSITIVE_RATE)))
        ends = float(band.low[place]), float(band.high[place])
        yield "ROC band at FPR 0.2", Estimate(math.nan, *ends, len(sample), patients)
    by_image = bootstrap(metrics, _as_if_new(sample), resamples=resamples, seed=seed)
    yield f"{BROKEN}bootstrap of images, sensitivity", by_image["sensitivity"]
    yield f"{BROKEN}bootstrap of images, auroc", by_image["auroc"]


def _closed_forms(rng: np.random.Generator, cohort: Cohort, patients: int) -> Iterator[tuple[str, Estimate]]:
    sample = cohort.first
    found = delong_auroc(sample.reference, sample.probability, sample.units)
    yield "DeLong, clustered", found
    single = draw_cohort(rng, patients, most_images=1).first
    yield "DeLong, one image a patient", delong_auroc(single.reference, single.probability, single.units)
    test = delong_test(sample.reference, sample.probability, cohort.second.probability, sample.units)
    yield "DeLong difference", test.difference
    yield f"{BROKEN}DeLong of images", delong_auroc(sample.reference, sample.probability, _as_if_new(sample))
    if found.low is not None and found.high is not None:
        ends = (found.low + found.value) / 2.0, (found.high + found.value) / 2.0
        yield f"{BROKEN}DeLong at half its width", Estimate(found.value, *ends, found.n, found.units)


def _as_if_new(sample: Sample) -> Sequence[str]:
    """Every image its own patient, the mistake that most published intervals make."""
    return tuple(map(str, range(len(sample))))


def simulate(cohorts: int, *, patients: int, resamples: int, seed: int = 0) -> dict[str, Coverage]:
    """Coverage of every interval over so many cohorts."""
    truth = truths(seed)
    made: Mapping[str, list[tuple[float, float]]] = defaultdict(list)
    rng = np.random.default_rng(seed + 1)
    for number in range(cohorts):
        for name, estimate in intervals(rng, patients, resamples, seed=number):
            if estimate.low is not None and estimate.high is not None:
                made[name].append((estimate.low, estimate.high))
    return {name: _coverage(np.array(made[name]).reshape(-1, 2), value, cohorts) for name, value in truth.items()}


def _coverage(ends: NDArray[np.float64], truth: float, cohorts: int) -> Coverage:
    held = int(np.sum((ends[:, 0] <= truth) & (truth <= ends[:, 1])))
    width = float(np.mean(ends[:, 1] - ends[:, 0])) if len(ends) else math.nan
    return Coverage(held, len(ends), cohorts - len(ends), width)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cohorts", type=int, default=1000)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    start = time.perf_counter()
    found = simulate(asked.cohorts, patients=asked.patients, resamples=asked.resamples, seed=asked.seed)
    print(
        f"{asked.cohorts} cohorts of {asked.patients} patients, {asked.resamples} resamples, seed {asked.seed}; "
        f"{time.perf_counter() - start:.0f} s\n"
    )
    print(
        "| interval | coverage | expected | falls short | mean width | cohorts without one |\n|---|---|---|---|---|---|"
    )
    for name, one in found.items():
        expected = expected_of(name, asked.patients, asked.resamples)
        verdict = "yes" if falls_short(one, expected) else "no"
        print(f"| {name} | {one.share:.3f} | {expected:.3f} | {verdict} | {one.width:.3f} | {one.none} |")


if __name__ == "__main__":
    main()
