"""Everything together: subjects → one HTML file that holds all it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.audit.evidence import read_audits
from duoscan.cases.stored import MAPS_SUFFIX, read_maps
from duoscan.evaluation.curves import roc_band
from duoscan.evaluation.evaluate import METHOD
from duoscan.evaluation.figures import draw_figures
from duoscan.evaluation.policies.document import read_triage
from duoscan.evaluation.sample import sample_of
from duoscan.evidence.subject import Ask, Subject, read_subjects, records_by_patient
from duoscan.evidence.verdicts import Judgement, Measured, counted, evaluated, judge_subject
from duoscan.manifest.table import read_manifest
from duoscan.policies.policy import DESCRIPTIONS
from duoscan.policies.rule import Answer
from duoscan.report.charts import (
    Counts,
    class_counts,
    class_counts_figure,
    inline_svg,
    learning_figure,
)
from duoscan.report.confusion import class_shares
from duoscan.report.cuts import thresholds
from duoscan.report.environment import environment
from duoscan.report.flow import Mark, read_flow
from duoscan.report.head import head_of
from duoscan.report.heatmaps import Heatmaps, draw_heatmaps
from duoscan.report.patients import evaluate_patients, how
from duoscan.report.pictures import Pictures, make_pictures
from duoscan.report.triage_section import GLOBALS as TRIAGE_GLOBALS
from duoscan.report.triage_section import TriageSection, triage_section
from duoscan.report.versus import compare_all
from duoscan.report.wording import (
    NINE_METRICS,
    OTHER_METRICS,
    operating_point,
    question,
    spoken,
    tested_part,
)
from duoscan.terms import POSITIVE
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from markupsafe import Markup

    from duoscan.audit.storage import Audited
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.intervals import Estimate
    from duoscan.report.flow import ScreeningFlow

MOST_ROWS = 40
"""Of a table of an audit; all are in ``audit.json``."""

SHOWN_FIGURES = ("roc", "precision_recall", "reliability", "probabilities")


@dataclass(frozen=True)
class Request:
    """What a report is asked to hold.

    Attributes:
        targets: Run folders, cross-validation folders or predictions tables.
        manifest: Images the runs shall answer in place of their own test images.
        screening: JSON of ``duoscan screen --json``.
        seed: Of resamples and of drawn images.
        with_images: Whether images are shown; ``None`` shows them only where all are phantoms.
        command: What was typed.
        audits: Folders of ``duoscan audit``; without any, the newest evidence that each run holds.
        triage: Folder of ``duoscan triage``.
        maps: Activation maps of ``duoscan screen --maps``; those beside ``screening`` where ``None``.
        date: When the report is made, for its head.
        by: Who makes it, likewise.
    """

    targets: tuple[Path, ...]
    manifest: Path | None = None
    screening: Path | None = None
    seed: int = 0
    with_images: bool | None = None
    command: str = "duoscan report"
    audits: tuple[Path, ...] = ()
    triage: Path | None = None
    maps: Path | None = None
    date: str = ""
    by: str = ""


@dataclass(frozen=True)
class Chapter:
    """One subject, measured and drawn.

    Attributes:
        anchor: Where the page's contents point; prefix of every identifier in the chapter.
        subject: What it is about.
        evaluation: Of its images.
        by_patient: The same with one answer a patient; ``None`` where that is no other number.
        shares: Normalised confusion of a model of several classes, with intervals; reference by row.
        counts: Images by source, part and class; empty for a table.
        figures: SVG by stem.
        pictures: Images, or why there are none.
        judgement: Whether its number may be a headline, and why.
    """

    anchor: str
    subject: Subject
    evaluation: Evaluation
    by_patient: Evaluation | None
    shares: list[list[Estimate]]
    counts: Counts
    figures: dict[str, Markup]
    pictures: Pictures
    judgement: Judgement

    @property
    def is_per_patient(self) -> bool:
        """Whether there are figures of patients: joined, or of one image each."""
        return self.by_patient is not None or self.evaluation.overall.patients == self.evaluation.overall.images

    @property
    def first(self) -> Evaluation:
        """What is shown first: of patients where that is known, else of images."""
        return self.by_patient or self.evaluation


def build_report(request: Request) -> str:
    """Read and measure everything a report is asked for and write it as HTML; nothing is counted in a ledger.

    Equal requests over equal files give equal text: nothing in it depends on time or machine.

    Args:
        request: What it shall hold.

    Raises:
        InputError: A target or the screening answers cannot be used; the text says why.
        PredictionsError: A table has no row that can be measured.
    """
    return page_of(request, read_subjects(request.targets, ask_of(request)))[0]


def ask_of(request: Request) -> Ask:
    """What the request asks of its targets; nothing is counted.

    Raises:
        InputError: The manifest cannot be read.
    """
    if request.manifest is None:
        return Ask(seed=request.seed)
    images = read_manifest(request.manifest, check_files=False, check_patients=False)
    return Ask(images, request.manifest, seed=request.seed)


def page_of(request: Request, subjects: Sequence[Subject]) -> tuple[str, list[Subject]]:
    """The same from subjects that are read already, with ``request.targets`` in their order; and their counts.

    Raises:
        InputError: The screening answers, an audit or the policies cannot be used; nothing is counted then.
        PredictionsError: A table has no row that can be measured; likewise.
    """
    audits = read_audits(request.audits, request.targets)
    flow = None
    if request.screening is not None:
        flow = read_flow(request.screening, records_by_patient(subjects), request.seed)
    policies = None if request.triage is None else read_triage(request.triage)
    evaluations = [evaluated(subject, seed=request.seed) for subject in subjects]
    measured = [(counted(subject), one) for subject, one in zip(subjects, evaluations, strict=True)]
    chapters = [_chapter(one, f"model-{place}", request, audits) for place, one in enumerate(measured, start=1)]
    page = (
        environment(**KNOWN)
        .get_template("page.html")
        .render(
            chapters=chapters,
            head=head_of(
                [(one.subject, one.first, one.is_per_patient) for one in chapters],
                flow,
                [one.subject.name for one in chapters if not one.judgement.verdict.may_headline],
            ),
            cuts=thresholds(subjects, flow),
            heatmaps=flow_heatmaps(request, flow, chapters),
            versuses=compare_all(measured, request.seed),
            flow=flow,
            triage=None if policies is None else _triage(policies, chapters),
            graphs={
                part.info.graph_sha256 for one in chapters if one.subject.making for part in one.subject.making.parts
            },
            request=request,
            version=__version__,
        )
    )
    return page, [subject for subject, _ in measured]


def flow_heatmaps(request: Request, flow: ScreeningFlow | None, chapters: Sequence[Chapter]) -> Heatmaps | None:
    """Heatmaps of some patients, where the answers have their maps beside them and images may be shown."""
    beside = request.maps or (request.screening.with_suffix(MAPS_SUFFIX) if request.screening else None)
    if flow is None or beside is None or (request.maps is None and not beside.is_file()):
        return None
    shown = [one for one in chapters if one.pictures.are_shown]
    return draw_heatmaps(flow, read_maps(beside), [one.subject for one in shown])


def _chapter(measured: Measured, anchor: str, request: Request, audits: Sequence[Audited]) -> Chapter:
    subject, evaluation = measured
    counts = class_counts(subject.records or ())
    return Chapter(
        anchor=anchor,
        subject=subject,
        evaluation=evaluation,
        by_patient=evaluate_patients(subject, evaluation),
        shares=class_shares(subject.predictions, evaluation),
        counts=counts,
        figures=_figures(subject, evaluation, counts, anchor),
        pictures=make_pictures(subject, evaluation, request.seed, wanted=request.with_images),
        judgement=judge_subject(subject, evaluation, audits),
    )


def _triage(document: dict[str, Any], chapters: Sequence[Chapter]) -> TriageSection:
    """The policies, under the verdicts of this report's chapters where they are of the same models."""
    verdicts = {
        phase: chapter.judgement.verdict
        for phase, model in document["models"].items()
        for chapter in chapters
        if chapter.subject.making and chapter.subject.making.info.graph_sha256 == model["graph_sha256"]
    }
    return triage_section(document, verdicts)


def _figures(subject: Subject, evaluation: Evaluation, counts: Counts, anchor: str) -> dict[str, Markup]:
    sample = sample_of(subject.predictions, evaluation.threshold)
    band = roc_band(sample, resamples=evaluation.resamples, seed=evaluation.seed)
    drawn = draw_figures(evaluation, subject.predictions, band)
    figures = {stem: drawn[stem] for stem in SHOWN_FIGURES if stem in drawn}
    if counts:
        figures["counts"] = class_counts_figure(counts)
    if subject.making is not None:
        known = [learning for part in subject.making.parts for learning in part.learnings]
        if known:
            figures["learning"] = learning_figure([one.history for one in known], [one.best_epoch for one in known])
    labels = _labels(evaluation)
    return {stem: inline_svg(figure, f"{anchor}-{stem}", labels[stem]) for stem, figure in figures.items()}


def _labels(evaluation: Evaluation) -> dict[str, str]:
    """What each figure shows, for those who cannot see it."""
    metrics, overall = evaluation.metrics, evaluation.overall
    return {
        "roc": f"ROC curve. AUROC {spoken(metrics['auroc'])}.",
        "precision_recall": f"Precision against recall. Average precision {spoken(metrics['average_precision'])}.",
        "reliability": f"Share of covid against stated probability. Brier score {spoken(metrics['brier_score'])}.",
        "probabilities": f"Histogram of P(covid) of {overall.images} images by reference class.",
        "counts": "Bar chart of images by class, part and source; the table below holds the same counts.",
        "learning": "Loss and accuracy of training and validation over epochs.",
    }


KNOWN: dict[str, Any] = {
    "MOST_ROWS": MOST_ROWS,
    "METHOD": METHOD,
    "NINE_METRICS": NINE_METRICS,
    "OTHER_METRICS": OTHER_METRICS,
    "ANSWERS": tuple(Answer),
    "POSITIVE": POSITIVE,
    "how": how,
    "Mark": Mark,
    "DESCRIPTIONS": DESCRIPTIONS,
    "question": question,
    "operating_point": operating_point,
    "tested_part": tested_part,
    **TRIAGE_GLOBALS,
}
"""What the templates of reports know beside a page's own values."""
