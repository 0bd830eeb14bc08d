"""What a model is worth and whether that can be trusted, from Python."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoscan.audit.gate import judge
from duoscan.audit.ledger import Book, beside, own_ledger
from duoscan.audit.run import audit_answers, audit_data, audit_model
from duoscan.audit.storage import Audited
from duoscan.errors import InputError
from duoscan.evaluation.figures import draw_figures
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evidence.subject import Ask, is_model, read_subject
from duoscan.evidence.verdicts import counted, evaluated, facts_of, joined, measure
from duoscan.interfaces.python.data import manifest_of
from duoscan.interfaces.python.tables import Table, as_file, as_path
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from duoscan.audit.ledger import Count
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.intervals import Estimate
    from duoscan.evidence.subject import Subject
    from duoscan.inference.bundle import Bundle
    from duoscan.interfaces.python.tables import AnyTable
    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction

_MOST_IMAGES = 100


@dataclass(frozen=True)
class Measurement:
    """An evaluation, and the rows it was measured on.

    Attributes:
        evaluation: All numbers, with intervals, baselines and notes.
        predictions: The measured rows.
        count: How often this test set was used, this time included; ``None`` where it is none.
    """

    evaluation: Evaluation
    predictions: tuple[Prediction, ...]
    count: Count | None = None

    @property
    def metrics(self) -> dict[str, Estimate]:
        """Estimates by metric."""
        return self.evaluation.metrics

    def table(self) -> Table:
        """Each metric with the ends of its interval and its baseline."""
        found = self.metrics
        rows = [
            (spoken, found[name].value, found[name].low, found[name].high, self.evaluation.baseline[name])
            for name, spoken in METRIC_NAMES.items()
        ]
        return Table.of(("metric", "value", "low", "high", "baseline"), rows)

    def figures(self) -> dict[str, Figure]:
        """Every figure that the rows allow, by name: ``roc``, ``reliability``, ``confusion`` and others.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        return draw_figures(self.evaluation, self.predictions, None)

    def _repr_html_(self) -> str:
        told = "" if self.count is None else f"<p>{self.count.spoken}.</p>"
        return self.evaluation._repr_html_() + told


def evaluate(
    target: Bundle | AnyTable,
    manifest: Manifest | AnyTable | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    threshold: float | None = None,
    split: str | None = None,
    modality: str | None = None,
    per_patient: bool = False,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Measurement:
    """Metrics with 95 % intervals beside the majority baseline.

    A use of a test set is counted, in the user's own ledger and, where the rows come from a file, beside it.

    Args:
        target: Predictions of any model, with the columns label and probability at least; or a run folder or a bundle,
            which then answers the images of ``manifest``.
        manifest: Images that a model answers.
        columns: Our name of a column → its name in a table from memory.
        threshold: Operating point; the model's, or what the table itself decides, where ``None``.
        split: Rows to take; ``test`` where there are several.
        modality: Rows to take of a table.
        per_patient: Join the images of each patient to one answer, as screening does.
        resamples: Of patients, for the intervals.
        seed: Of the resamples.

    Raises:
        PredictionsError: The table is wrong, or nothing in it can be measured.
        InputError: A model without images, or a test set that is not the one that is locked.
    """
    ask = Ask(
        part=split,
        modality=Modality(modality) if modality else None,
        threshold=threshold,
        book_at=_book_at(manifest if manifest is not None else target),
    )
    with ExitStack() as stack:
        subject = subject_of(target, manifest, ask, stack, columns)
        subject = joined(subject) if per_patient else subject
        found = evaluated(subject, resamples=resamples, seed=seed)
        subject = counted(subject)
    return Measurement(found, subject.predictions, subject.count)


def audit_manifest(
    manifest: Manifest | AnyTable,
    model: Bundle | str | Path | None = None,
    *,
    modality: str | None = None,
    most_images: int = _MOST_IMAGES,
    seed: int = 0,
) -> Audited:
    """Audit data, and a model on them; what comes of it shows its verdict.

    Args:
        manifest: Rows with labels and splits.
        model: Run folder or bundle whose number is judged; ``None`` audits the data alone.
        modality: Rows to take; the model's where ``None``.
        most_images: Test images at most that are changed and answered again.
        seed: Of folds and resamples.

    Raises:
        InputError: No row is left, or both modalities are there and a model is of one.
    """
    rows = manifest_of(manifest)
    ask = Ask(images=rows, beside=rows.where(split=Split.VAL), book_at=_book_at(manifest))
    answers, measured = None, None
    if model is not None:
        path = as_path(model)
        if path is None or not is_model(path):
            raise InputError(f"{model}: no run folder and no bundle; name one, or evaluate a table with evaluate()")
        answers, evaluation = measure(read_subject(path, ask), seed=seed)
        measured = facts_of(answers, evaluation)
    kind = Modality(modality) if modality else answers.modality if answers else None
    rows = rows.where(modality=kind)
    results = {one: tuple(_audits(rows, one, answers, most_images, seed)) for one in {row.modality for row in rows}}
    if not results:
        raise InputError("the manifest holds no image to audit; correct it, or leave modality out")
    verdicts = {one: judge(found, measured) for one, found in results.items()}
    return Audited(results, verdicts, rows, "duoscan.audit_manifest(…)")


def _audits(rows: Manifest, kind: Modality, answers: Subject | None, most: int, seed: int) -> list[Any]:
    found, _ = audit_data(rows.where(modality=kind), seed=seed)
    if answers is not None:
        found += audit_answers(answers.rows, seed=seed)
        if answers.bundle and answers.tested:
            found += audit_model(answers.bundle, answers.tested, None, most=most, seed=seed)
    return found


def subject_of(
    target: Bundle | AnyTable,
    manifest: Manifest | AnyTable | None,
    ask: Ask,
    stack: ExitStack,
    columns: Mapping[str, str] | None = None,
) -> Subject:
    """A model on images, or a table.

    Args:
        target: As of :func:`evaluate`.
        manifest: As of :func:`evaluate`.
        ask: What else is asked.
        stack: Holds a table from memory as a file until it is read.
        columns: As of :func:`evaluate`.

    Raises:
        InputError: A model without images, or a table with a manifest.
    """
    path = as_path(target)
    if path is not None and is_model(path):
        if manifest is not None:
            named = Path(manifest) if isinstance(manifest, (str, Path)) else Path("manifest")
            ask = replace(ask, images=manifest_of(manifest), path=named)
        return read_subject(path, ask)
    if manifest is not None:
        raise InputError("a predictions table needs no manifest; leave it out, or give a run folder or a bundle")
    return read_subject(stack.enter_context(as_file(target, columns)), ask)  # type: ignore[arg-type]  # no bundle


def _book_at(rows: object) -> Any:
    """Where looks are counted: beside a file; of rows from memory in the user's own ledger, where there is one."""
    if isinstance(rows, (str, Path)):
        return lambda _path: Book(beside(Path(rows)), "duoscan.evaluate(…)")
    own = own_ledger()
    return None if own is None else partial(_book, own)


def _book(own: Path, _rows: Path) -> Book:
    own.parent.mkdir(parents=True, exist_ok=True)
    return Book(own, "duoscan.evaluate(…)", replaces=True)
