"""The gate's verdict on a number that a report shows, from the folder that ``duoscan audit`` wrote.

The verdict is not copied but given anew on the number of the report, because a report may measure another model or
other images than the audit did; audits of other data say nothing about it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from duoscan.audit.gate import Measured, Verdict, judge
from duoscan.audit.measured import measured_of
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.audit.result import AuditResult
    from duoscan.audit.storage import Audited
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evidence.subject import Subject

_OF_THE_MODEL = frozenset({"calibration", "shortcuts", "perturbation", "attention"})


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


def judge_subject(subject: Subject, evaluation: Evaluation, audits: Sequence[Audited]) -> Judgement:
    """Judge the number of one subject.

    Args:
        subject: What was measured.
        evaluation: The number.
        audits: Folders of ``duoscan audit``; the first that holds the subject's images counts.
    """
    measured = _measured(subject, evaluation)
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
        return Judgement(judge(results, _with_uses(measured, audited, subject)), results, why, audited.command)
    return Judgement(judge((), measured), (), tuple(unused))


def _measured(subject: Subject, evaluation: Evaluation) -> Measured:
    made_with = {Split.TRAIN, Split.VAL}
    sources = {record.source for record in subject.records or () if record.split in made_with}
    return measured_of(
        evaluation,
        subject.predictions,
        name=subject.name,
        trained_sources=sources or None,
        model=_model_of(subject),
        data=subject.fingerprint,
        count=subject.count,
        faults=subject.faults,
    )


def _model_of(subject: Subject) -> str:
    """SHA-256 of the graph; of a table, the file's own."""
    return subject.making.info.graph_sha256 if subject.making else subject.fingerprint


def _of_this_model(
    found: Sequence[AuditResult], audited: Audited, subject: Subject, measured: Measured
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


def _with_uses(measured: Measured, audited: Audited, subject: Subject) -> Measured:
    """Uses of the test set as the audit counted them, where it knows of more; it answered the same images."""
    verdict = audited.verdicts.get(subject.modality) if subject.modality else None
    theirs = verdict.measured if verdict else None
    if theirs is None or theirs.images != measured.images or (theirs.test_uses or 0) <= (measured.test_uses or 0):
        return measured
    return replace(measured, test_uses=theirs.test_uses, models_tried=theirs.models_tried)
