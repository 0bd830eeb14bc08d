"""Checklists and cards as Markdown files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from duoscan.evidence.verdicts import judge_subject
from duoscan.files import write_text
from duoscan.report.cards import claim, tripod
from duoscan.report.cards.facts import counted, gather
from duoscan.report.cards.item import OPEN, Item, Status, answer, tally
from duoscan.report.cards.text import plain
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from duoscan.audit.storage import Audited
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evidence.subject import Subject
    from duoscan.evidence.verdicts import Judgement, Measured

CHECKLISTS = {"claim-2024.md": claim, "tripod-ai.md": tripod}
_METRICS = {"auroc": "roc_auc", "accuracy": "accuracy", "sensitivity": "recall", "ppv": "precision", "f1": "f1"}


@dataclass(frozen=True)
class Drafts:
    """What was drafted.

    Attributes:
        files: Text by file name.
        counts: For each checklist, how many items are filled, partly filled and open.
    """

    files: Mapping[str, str]
    counts: Mapping[str, Mapping[Status, int]]


def draft(measured: Measured, audits: Sequence[Audited] = ()) -> Drafts:
    """Draft both checklists, a model card and a dataset card of one run or table.

    Args:
        measured: The run, as :func:`duoscan.evidence.verdicts.measure` gives it.
        audits: Folders of ``duoscan audit``.
    """
    subject, evaluation = measured
    judgement = judge_subject(subject, evaluation, audits)
    facts = gather(subject, evaluation, judgement)
    environment = _environment()
    files, counts = {}, {}
    for name, listed in CHECKLISTS.items():
        answers = [answer(item, facts) for item in listed.ITEMS]
        counts[name] = tally(answers)
        page = environment.get_template("checklist.md")
        files[name] = page.render(title=listed.TITLE, source=listed.SOURCE, answers=answers, counts=counts[name])
    context = {"subject": subject, "facts": facts, "verdict": judgement.verdict, "counted": counted}
    model = {"front": _front(subject, evaluation, judgement), "info": subject.making.info if subject.making else None}
    files["model-card.md"] = environment.get_template("model.md").render(**context, **model)
    if subject.records is not None:
        files["dataset-card.md"] = environment.get_template("dataset.md").render(
            **context, front=_data_front(subject), sources=sorted({record.source for record in subject.records})
        )
    return Drafts(files, counts)


def write_drafts(drafts: Drafts, folder: Path) -> None:
    """Write every draft, each whole or not at all."""
    for name, text in drafts.files.items():
        write_text(folder / name, text)


def _front(subject: Subject, evaluation: Evaluation, judgement: Judgement) -> dict[str, Any]:
    """The model card's front matter; a number that the gate fails stands in no index of results."""
    front: dict[str, Any] = {
        "license": "unknown",
        "library_name": "duoscan",
        "pipeline_tag": "image-classification",
        "tags": ["medical-imaging", "covid-19", *([subject.modality.value] if subject.modality else []), "onnx"],
        "metrics": list(_METRICS.values()),
    }
    if judgement.verdict.may_headline:
        measured = [
            {"type": kind, "name": f"{name}, 95 % interval {estimate.low} to {estimate.high}", "value": estimate.value}
            for name, kind in _METRICS.items()
            if (estimate := evaluation.metrics[name]).low is not None
        ]
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": ", ".join(evaluation.counts.sources), "type": "private", "split": subject.split},
            "metrics": measured,
        }
        front["model-index"] = [{"name": subject.name, "results": [result]}]
    return front


def _data_front(subject: Subject) -> dict[str, Any]:
    count = len(subject.records or ())
    size = next((name for limit, name in ((1000, "n<1K"), (10_000, "1K<n<10K")) if count < limit), "10K<n<100K")
    return {
        "license": "unknown",
        "task_categories": ["image-classification"],
        "tags": ["medical-imaging", "covid-19", *([subject.modality.value] if subject.modality else [])],
        "size_categories": [size],
    }


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("duoscan.report.cards"),
        autoescape=False,  # noqa: S701 - Markdown, no HTML; `plain` takes the marks out of what others wrote
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.globals |= {"OPEN": OPEN, "Status": Status, "version": __version__, "Item": Item}
    return environment
