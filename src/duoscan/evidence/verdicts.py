"""The gate's verdict on a number that a report shows, from the folder that ``duoscan audit`` wrote.

The verdict is not copied but given anew on the number of the report, because a report may measure another model or
other images than the audit did; audits of other data say nothing about it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duoscan.audit.gate import Measured as Facts
from duoscan.audit.gate import Verdict, judge
from duoscan.errors import PredictionsError
from duoscan.evaluation.beta import TAIL
from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.evaluate import UNKNOWN, evaluate
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.sample import measurable, named_patients
from duoscan.inference.aggregate import per_patient
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.audit.result import AuditResult
    from duoscan.audit.storage import Audited
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.intervals import Estimate
    from duoscan.evidence.subject import Subject
    from duoscan.predictions import Prediction

Measured = tuple["Subject", "Evaluation"]
"""A subject with its count, and the evaluation of its rows."""

_OF_THE_MODEL = frozenset({"calibration", "shortcuts", "perturbation", "attention", "label-errors"})
_NOT_CHOSEN_HERE = ("bundle", "default")
"""How origins of thresholds begin that were fixed before the test rows were seen."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on.

    Attributes:
        verdict: On the number.
        results: The audits that count for it, with their tables.
        unused: Why audits that were given do not count, one sentence each.
        command: What ran the audits; empty where none were given.
    """

    verdict: Verdict
    results: tuple[AuditResult, ...] = ()
    unused: tuple[str, ...] = ()
    command: str = ""


def measure(subject: Subject, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Measured:
    """Evaluate a subject, and then count that its rows were looked at; see :func:`evaluated` and :func:`counted`."""
    evaluation = evaluated(subject, resamples=resamples, seed=seed)
    return counted(subject), evaluation


def evaluated(subject: Subject, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0) -> Evaluation:
    """Measure the rows of a subject at its operating point.

    Raises:
        PredictionsError: No row can be measured.
    """
    return evaluate(
        subject.predictions,
        threshold=subject.threshold,
        threshold_origin=subject.threshold_origin or "given",
        resamples=resamples,
        seed=seed,
    )


def counted(subject: Subject) -> Subject:
    """The same with its count, now that the use of its test set is written down; as it was where it is none.

    Raises:
        InputError: The test set is not the one that is locked.
    """
    return subject if subject.look is None else replace(subject, look=None, count=subject.look.count())


def joined(subject: Subject) -> Subject:
    """The same with one answer a patient, at the operating point for studies where one is known.

    Raises:
        PredictionsError: No modality says how images are joined.
    """
    if subject.modality is None:
        msg = "--per-patient needs rows of one stated modality, which says how images are joined; give --modality"
        raise PredictionsError(msg)
    rows = per_patient(subject.predictions, subject.modality)
    if subject.bundle is not None:
        info = subject.bundle.info
        rows = [replace(row, calibrated=info.calibrated_study(row.probability or 0.0)) for row in rows]
    return replace(
        subject,
        predictions=tuple(rows),
        files=(None,) * len(rows),
        threshold=subject.threshold if subject.study_threshold is None else subject.study_threshold,
        fitted=subject.fitted and subject.fitted.per_patient(),
    )


def judge_subject(subject: Subject, evaluation: Evaluation, audits: Sequence[Audited]) -> Judgement:
    """Judge the number of one subject.

    Args:
        subject: What was measured.
        evaluation: The number.
        audits: Folders of ``duoscan audit``; the first that holds the subject's images counts.
    """
    measured = facts_of(subject, evaluation)
    unused = []
    for audited in audits:
        found = audited.results.get(subject.modality, ()) if subject.modality else ()
        if not found:
            continue
        missing = audited.missing(subject.predictions)
        if missing:
            unused.append(
                f"the audit by '{audited.command}' does not hold {missing} of the {len(subject.predictions)} images "
                "measured here, so it says nothing about this number"
            )
            continue
        results, why = _of_this_model(found, audited, subject, measured)
        return Judgement(
            judge(results, _with_uses(measured, audited, subject, evaluation)), results, why, audited.command
        )
    return Judgement(judge((), measured), (), tuple(unused))


def facts_of(subject: Subject, evaluation: Evaluation) -> Facts:
    """The facts of a subject's evaluation that the gate asks for."""
    rows = measurable(subject.predictions)
    covid, others = _patients(rows)
    splits = evaluation.counts.splits
    trained = subject.trained_sources
    external = None if trained is None else tuple(sorted(set(evaluation.counts.sources) - trained - {UNKNOWN}))
    of_sources = [_patients([row for row in rows if row.source == name]) for name in external or ()]
    return Facts(
        name=subject.called,
        images=evaluation.overall.images,
        covid_patients=len(covid),
        other_patients=len(others),
        auroc=_ends(evaluation.metrics["auroc"]),
        accuracy=_ends(evaluation.metrics["accuracy"]),
        majority=evaluation.baseline["accuracy"],
        split=next(iter(splits)) if len(splits) == 1 and UNKNOWN not in splits else None,
        threshold_is_from_test=_is_from_test(subject, evaluation),
        external_sources=external,
        external_patients=tuple((len(sick), len(well)) for sick, well in of_sources),
        auroc_corrected=_corrected_low(evaluation, None if subject.count is None else subject.count.use),
        unnamed=len((covid | others) - _named(subject)),
        test_uses=None if subject.count is None else subject.count.use,
        models_tried=None if subject.count is None else subject.count.models,
        model=subject.model,
        data=subject.fingerprint,
        faults=subject.faults,
        stated=subject.stated.spoken,
    )


def _is_from_test(subject: Subject, evaluation: Evaluation) -> bool | None:
    stated = subject.stated.threshold_is_from_test
    return False if stated is None and evaluation.threshold_origin.startswith(_NOT_CHOSEN_HERE) else stated


def _patients(rows: Sequence[Prediction]) -> tuple[set[str], set[str]]:
    """With a covid image and without, or what stands for them."""
    covid = {row.unit for row in rows if row.label is POSITIVE}
    return covid, {row.unit for row in rows} - covid


def _named(subject: Subject) -> set[str]:
    """The patients that someone named; a manifest tells groups that stand for patients, a table only blocks."""
    if subject.tested is not None:
        return {record.patient_id for record in subject.tested if record.patient_id is not None}
    return named_patients(row.unit for row in subject.predictions)


def _ends(estimate: Estimate) -> tuple[float | None, float | None, float | None]:
    return None if math.isnan(estimate.value) else estimate.value, estimate.low, estimate.high


def _of_this_model(
    found: Sequence[AuditResult], audited: Audited, subject: Subject, measured: Facts
) -> tuple[tuple[AuditResult, ...], tuple[str, ...]]:
    """Audits of the data hold for every model; those of a model only where it is this one."""
    verdict = audited.verdicts.get(subject.modality) if subject.modality else None
    theirs = verdict.measured.model if verdict and verdict.measured else None
    if theirs == measured.model:
        return tuple(found), ()
    kept = tuple(result for result in found if result.name not in _OF_THE_MODEL)
    left = [result.title for result in found if result.name in _OF_THE_MODEL]
    why = (f"audited of another model, so left out: {', '.join(left)}",) if left else ()
    return kept, why


def _with_uses(measured: Facts, audited: Audited, subject: Subject, evaluation: Evaluation) -> Facts:
    """Uses of the test set as the audit counted them, where it knows of more; it answered the same images."""
    verdict = audited.verdicts.get(subject.modality) if subject.modality else None
    theirs = verdict.measured if verdict else None
    if theirs is None or theirs.images != measured.images or (theirs.test_uses or 0) <= (measured.test_uses or 0):
        return measured
    corrected = _corrected_low(evaluation, theirs.test_uses)
    return replace(measured, test_uses=theirs.test_uses, models_tried=theirs.models_tried, auroc_corrected=corrected)


def _corrected_low(evaluation: Evaluation, looks: int | None) -> float | None:
    sample = evaluation.overall.sample
    return delong_auroc(sample.reference, sample.probability, sample.units, TAIL / max(1, looks or 1)).low
