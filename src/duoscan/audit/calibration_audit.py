"""Audit: can P(covid) be taken at its word, at least after a calibrator fitted on validation.

The calibrator is chosen on validation and judged on test, so the verdict is that of new patients. Decisions at a
threshold and the AUROC do not depend on it; what does is every sentence of the kind "covid with 80 %".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run
from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.calibration import CALIBRATION_NAMES, CalibrationResult, measure_calibration
from duoscan.evaluation.calibrators import CalibratorChoice, choose_calibrator
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.sample import Sample, measurable, sample_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from duoscan.predictions import Prediction

NAME, TITLE = "calibration", "Calibration of P(covid)"
MOST_ECE = 0.05  # beyond chance; a stated 80 % that means 75 % changes few minds, more may
# Grossly off: answers twice as extreme as they may be or half as extreme, or odds wrong by a factor of e.
GROSS_SLOPES = (0.5, 2.0)
GROSS_INTERCEPT = 1.0
GROSS_ECE = 0.20
_JUDGED = ("slope", "intercept", "ece")
_IDEAL = {"slope": 1.0, "intercept": 0.0}
# A pass shows that no more is possible than answers five thirds as extreme as they may be, odds off by a factor of e
# and an error of 0.20; elsewhere too few patients were asked.
PASSED_SLOPES = (0.6, 5 / 3)
# Smaller deviations change no use, however surely they are there: odds off by a quarter, logits by a fifth.
_SMALL = {"slope": 0.20, "intercept": 0.25}


@dataclass(frozen=True)
class _Measured:
    """Test rows before and after the calibrator."""

    name: str
    sample: Sample
    before: CalibrationResult
    after: CalibrationResult

    def to_json(self) -> dict[str, Any]:
        return {
            "images": len(self.sample),
            "patients": self.sample.patients,
            "prevalence": float(self.sample.reference.mean()),
            "before": self.before.to_json(),
            "after": self.after.to_json(),
        }


def audit_calibration(
    predictions_val: Sequence[Prediction],
    predictions_test: Sequence[Prediction],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AuditResult:
    """Choose a calibrator on validation and judge P(covid) with it on test.

    ``pass`` where intervals of slope, intercept and ECE exclude what misleads: a slope outside 3/5 to 5/3, an intercept
    beyond ±1, an ECE above 0.20; ``not known`` where they do not and nothing raises an alarm.

    ``fail`` where patients are in both, or where the whole interval of slope, intercept or ECE lies where
    probabilities mislead (slope outside 1/2 to 2, intercept beyond ±1, ECE above 0.20). ``warn`` where the slope's
    interval does not hold 1 and it is 0.20 or more away, the intercept's does not hold 0 and it is 0.25 or more
    away, or the ECE lies more than 0.05 above the mean of what chance alone gives and above 95 of 100 of it. Sources
    are shown, and warned of where they are grossly off. The three intervals hold together in 95 of 100 samples.

    Args:
        predictions_val: Rows of the validation part.
        predictions_test: Rows of the test part.
        resamples: Resamples of patients for each interval.
        seed: Makes folds and intervals repeatable.

    Raises:
        InputError: Too few resamples.
        MissingExtraError: scipy or scikit-learn is not installed.
    """
    for part, rows in (("validation", predictions_val), ("test", predictions_test)):
        if len({row.label == "covid" for row in measurable(rows)}) < 2:
            why = f"the {part} part does not hold answered images of both classes, so nothing can be calibrated"
            return not_run(NAME, TITLE, why)
    choice = choose_calibrator(predictions_val, seed=seed)
    measured = list(_measure(predictions_test, choice, resamples, seed))
    overall, sources = measured[0], measured[1:]
    # Slope, intercept and ECE are looked at together: their intervals hold together in 95 of 100 (Bonferroni).
    judged = measure_calibration(choice.apply(overall.sample), resamples=resamples, seed=seed, tail=TAIL / len(_JUDGED))
    gross, off = list(_gross(judged)), list(_off(judged))
    if shared := len({row.unit for row in predictions_val} & {row.unit for row in predictions_test}):
        gross.insert(0, f"{shared} patients are in validation and in test; split by patient and predict again")
    off += [f"Source {one.name}: {reason}" for one in sources for reason in _gross(one.after)]
    unknown = list(_unknown(judged))
    level = Level.FAIL if gross else Level.WARN if off else Level.NOT_KNOWN if unknown else Level.PASS
    reasons = [*gross, *off, *unknown] or [_fine(judged)]
    validation = sample_of(predictions_val, threshold=None)
    facts = {
        "calibrator": choice.to_json(),
        "validation": {
            "images": len(validation),
            "patients": validation.patients,
            "prevalence": float(validation.reference.mean()),
        },
        "test": overall.to_json(),
        "sources": {one.name: one.to_json() for one in sources},
    }
    return AuditResult(NAME, TITLE, level, tuple(reasons), facts, _tables(choice, measured))


def _measure(
    predictions: Sequence[Prediction], choice: CalibratorChoice, resamples: int, seed: int
) -> Iterator[_Measured]:
    """All rows first, then each source where there are several."""
    sources = sorted({row.source or "unknown" for row in measurable(predictions)})
    parts = [("all", list(predictions))]
    if len(sources) > 1:
        parts += [(name, [row for row in predictions if (row.source or "unknown") == name]) for name in sources]
    for name, rows in parts:
        sample = sample_of(rows, threshold=None)
        before, after = (
            measure_calibration(one, resamples=resamples, seed=seed) for one in (sample, choice.apply(sample))
        )
        yield _Measured(name, sample, before, after)


def _gross(found: CalibrationResult) -> Iterator[str]:
    """Why probabilities mislead, one sentence each."""
    slope, intercept, ece = (found.metrics[name] for name in ("slope", "intercept", "ece"))
    flattest, steepest = GROSS_SLOPES
    if slope.low is not None and slope.high is not None and (slope.high < flattest or slope.low > steepest):
        yield f"the slope is {slope.spoken()}, all of it outside {flattest:g} to {steepest:g}; show no probabilities"
    if intercept.low is not None and intercept.high is not None:
        nearest = max(intercept.low, -intercept.high)
        if nearest > GROSS_INTERCEPT:
            side = "low" if intercept.low > 0 else "high"
            yield (
                f"the intercept is {intercept.spoken()}, so P(covid) is far too {side}; "
                "is covid as common here as in validation?"
            )
    if ece.low is not None and ece.low > GROSS_ECE:
        yield f"the calibration error is {ece.spoken()}, all of it above {GROSS_ECE:g}; do not show probabilities"


def _off(found: CalibrationResult) -> Iterator[str]:
    """What keeps probabilities from being taken at their word, one sentence each."""
    advice = {
        "slope": "too extreme below 1, too timid above; calibrate on patients like these",
        "intercept": "P(covid) too low above 0, too high below; state the prevalence and move to it",
    }
    for name, ideal in _IDEAL.items():
        estimate = found.metrics[name]
        spoken = CALIBRATION_NAMES[name].split(" (")[0].lower()
        if estimate.low is None or estimate.high is None:
            continue
        if not estimate.low <= ideal <= estimate.high and abs(estimate.value - ideal) >= _SMALL[name]:
            yield f"the {spoken} is {estimate.spoken()} and should be {ideal:g}: {advice[name]}"
    ece = found.metrics["ece"].value
    if not math.isnan(found.ece_by_chance) and ece > max(found.ece_by_chance + MOST_ECE, found.ece_chance_high):
        yield (
            f"the calibration error is {found.metrics['ece'].spoken()}, more than {MOST_ECE:g} above the "
            f"{found.ece_by_chance:.3f} that chance alone gives; show probabilities only with this beside them"
        )


def _unknown(found: CalibrationResult) -> Iterator[str]:
    """What may still be wrong, for all that these patients show, one sentence each."""
    limits = {"slope": PASSED_SLOPES, "intercept": (-GROSS_INTERCEPT, GROSS_INTERCEPT), "ece": (0.0, GROSS_ECE)}
    for name, (least, most) in limits.items():
        estimate = found.metrics[name]
        spoken = CALIBRATION_NAMES[name].split(" (")[0].lower()
        if estimate.low is None or estimate.high is None:
            yield f"not known: the {spoken} has no interval ({estimate.note}); test on more patients"
        elif estimate.low < least or estimate.high > most:
            yield (
                f"not known: the {spoken} is {estimate.spoken()}, and may lie outside {least:.3g} to {most:.3g}; "
                "test on more patients"
            )


def _fine(found: CalibrationResult) -> str:
    said = ", ".join(f"{name} {found.metrics[name].spoken()}" for name in ("slope", "intercept"))
    error = found.metrics["ece"].spoken()
    return f"{said}, calibration error {error}: what a calibrated model gives, and none that misleads"


def _tables(choice: CalibratorChoice, measured: Sequence[_Measured]) -> tuple[AuditTable, ...]:
    names = ("slope", "intercept", "ece", "brier_score")
    rows = tuple(
        (
            one.name,
            str(len(one.sample)),
            str(one.sample.patients),
            when,
            *(found.metrics[name].spoken() for name in names),
            f"{found.ece_by_chance:.3f}",
        )
        for one in measured
        for when, found in (("as answered", one.before), (f"calibrated ({choice.name})", one.after))
    )
    columns = (
        "source",
        "images",
        "patients (or blocks)",
        "P(covid)",
        "slope",
        "intercept",
        "ECE",
        "Brier score",
        "ECE by chance",
    )
    tried = tuple((one.name, f"{one.log_loss:.3f}", f"{one.brier_score:.3f}") for one in choice.candidates)
    return (
        AuditTable("Calibration on test", columns, rows),
        AuditTable(
            "Calibrators on validation patients left out of their fit", ("calibrator", "log loss", "Brier"), tried
        ),
    )
