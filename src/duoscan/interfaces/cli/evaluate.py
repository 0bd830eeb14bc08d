"""``duoscan evaluate``."""

from __future__ import annotations

import hashlib
import math
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.audit.evidence import read_audits
from duoscan.errors import PredictionsError
from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, check_resamples
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.prior_shift import Fitted, shift_prior
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.interfaces.cli.verdict_shown import show_verdicts
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from duoscan.audit.ledger import Book, Count
    from duoscan.audit.storage import Audited
    from duoscan.evaluation.calibration import CalibrationResult
    from duoscan.evaluation.predictive_values import PredictiveValues
    from duoscan.evaluation.prior_shift import PriorShift
    from duoscan.evidence.verdicts import Judgement
    from duoscan.inference.bundle import BundleInfo
    from duoscan.manifest.records import Manifest

BUNDLE_SUFFIX = ".duoscan"
RUN_MANIFEST = "manifest.csv"
ALL_SPLITS = "all"
NO_SPLIT = "not stated"
# As plain text: click shows members of an enumeration by their names, which are not the words in files.
SPLITS = [split.value for split in Split]
MODALITIES = [modality.value for modality in Modality]
_MISSING = "–"


@dataclass(frozen=True)
class _Asked:
    """What is to be evaluated, wherever it came from.

    ``count`` where it is of a test set; ``fitted`` where validation rows are known; ``trained`` where the
    target is a run that holds its manifest.
    """

    rows: list[Prediction]
    split: str
    threshold: float | None
    threshold_origin: str
    fingerprint: str
    count: Count | None = None
    study_threshold: float | None = None
    info: BundleInfo | None = None
    fitted: Fitted | None = None
    trained: Manifest | None = None


@click.command("evaluate")
@click.argument("target", type=click.Path(exists=True, path_type=Path))
@click.argument("manifest", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=OUT_FOLDER, help="Write numbers, tables and figures into this folder.")
@click.option("--threshold", type=click.FloatRange(0, 1), help="Operating point on P(covid).")
@click.option("--split", type=click.Choice([*SPLITS, ALL_SPLITS]), help="Rows to take; test where there are several.")
@click.option("--modality", type=click.Choice(MODALITIES), help="Rows to take.")
@click.option("--resamples", default=DEFAULT_RESAMPLES, show_default=True, help="Bootstrap resamples of patients.")
@click.option("--seed", default=0, show_default=True, help="Seed of the resamples.")
@ledger_options
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Move P(covid), PPV and NPV to where covid is as common as this.",
)
@click.option("--per-patient", is_flag=True, help="Join the images of each patient to one answer, as screening does.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def evaluate_command(
    target: Path,
    *,
    manifest: Path | None,
    out: Path | None,
    threshold: float | None,
    split: str | None,
    modality: str | None,
    resamples: int,
    seed: int,
    ledger: Path | None,
    new_test_set: bool,
    prevalence: float | None,
    per_patient: bool,
    force: bool,
) -> None:
    """Metrics with 95 % intervals beside the majority baseline.

    TARGET is a predictions table of any model (CSV or Parquet with the columns label and probability; patient_id
    where it is known), or a run folder or a bundle, which then answers the images of MANIFEST.

    The operating point is --threshold, else the bundle's, else what the table itself decides, else 0.5.

    With --prevalence, P(covid) is moved by Bayes' theorem from the prevalence of the validation rows (the run's own,
    else those of MANIFEST or the table; where there are none, of the measured rows) to the stated one.

    Where the newest evidence in the run holds the measured images, the gate's verdict on them is printed first.

    A test set is locked by the hash of its rows and images, and each use of it is counted: beside MANIFEST or the
    table, or in --ledger.
    """
    check_resamples(resamples)
    if out is not None:
        from duoscan.evaluation.figures import check_can_draw
        from duoscan.evaluation.outputs import check_out_dir

        check_out_dir(out, force=force)
        check_can_draw()
    book = book_beside(manifest or target, ledger, replaces=new_test_set)
    audits = read_audits((), [target])
    asked = _asked(target, manifest, book, split=split, modality=modality, threshold=threshold)
    judgement = _judged(asked, audits, resamples, seed)
    if per_patient:
        asked = _joined(asked)
    evaluation = _evaluated(asked, resamples, seed)
    if prevalence is not None:
        shift = shift_prior(evaluation, asked.rows, prevalence, asked.fitted)
        evaluation = replace(evaluation, prior_shift=shift)
    if judgement is not None and judgement.command:
        show_verdicts({"these images": judgement.verdict})
    _show(evaluation, split=asked.split)
    if asked.count is not None:
        echo(f"{asked.count.spoken}.")
    if out is not None:
        from duoscan.evaluation.outputs import write_evaluation

        write_evaluation(
            evaluation,
            asked.rows,
            out,
            command=book.command,
            split=asked.split,
            fingerprint=asked.fingerprint,
            test_uses=None if asked.count is None else asked.count.to_json(),
            force=force,
        )
        if manifest is not None:  # the answers exist nowhere else
            write_predictions(asked.rows, out / "predictions.csv")
        echo(f"Written to {out}")
    if judgement is None or not judgement.command:
        _say_unaudited(target, manifest, judgement)


def _evaluated(asked: _Asked, resamples: int, seed: int) -> Evaluation:
    return evaluate(
        asked.rows,
        threshold=asked.threshold,
        threshold_origin=asked.threshold_origin,
        resamples=resamples,
        seed=seed,
    )


def _judged(asked: _Asked, audits: Sequence[Audited], resamples: int, seed: int) -> Judgement | None:
    """The gate on these images by the run's newest evidence; ``None`` where there is none."""
    if not audits or asked.info is None:
        return None
    from duoscan.audit.measured import seen_patients
    from duoscan.evidence.subject import Making, Part, Subject
    from duoscan.evidence.verdicts import judge_subject

    subject = Subject(
        name=asked.info.name,
        modality=asked.info.modality,
        predictions=tuple(asked.rows),
        files=(None,) * len(asked.rows),
        split=None,
        threshold=asked.threshold,
        threshold_origin=asked.threshold_origin,
        command="",
        fingerprint=asked.fingerprint,
        making=Making((Part(asked.info.name, asked.info, ()),), "", {}, ""),
        records=asked.trained,
        faults=tuple(seen_patients(asked.trained, asked.rows)) if asked.trained else (),
        count=asked.count,
    )
    return judge_subject(subject, _evaluated(asked, resamples, seed), audits)


def _say_unaudited(target: Path, manifest: Path | None, judgement: Judgement | None) -> None:
    is_model = target.is_dir() or target.suffix == BUNDLE_SUFFIX
    words = ["duoscan", "audit", str(manifest or "MANIFEST"), "--run" if is_model else "--predictions", str(target)]
    why = f" ({'; '.join(judgement.unused)})" if judgement and judgement.unused else ""
    echo(f"No audit backs these figures{why}; run: {shlex.join(words)}")


def _asked(
    target: Path,
    manifest: Path | None,
    book: Book,
    *,
    split: str | None,
    modality: str | None,
    threshold: float | None,
) -> _Asked:
    if target.is_dir() or target.suffix == BUNDLE_SUFFIX:
        if manifest is None:
            msg = f"{target} is a model; name the MANIFEST of the images it shall answer"
            raise click.UsageError(msg)
        if modality is not None:
            msg = "--modality goes with a predictions table; a model answers the images of its own modality"
            raise click.UsageError(msg)
        return _answered(target, manifest, book, split=split, threshold=threshold)
    if manifest is not None:
        msg = f"{target} is a predictions table and needs no MANIFEST; leave it out or name a run or a bundle"
        raise click.UsageError(msg)
    rows = read_predictions(target)
    if modality is not None:
        rows = [row for row in rows if row.modality == modality]
    fitted = Fitted.on(rows, f"the labelled validation rows of {target.name}")
    taken = _chosen_split({row.split for row in rows}, split)
    rows = [row for row in rows if taken in {row.split, ALL_SPLITS, NO_SPLIT}]
    fingerprint = hashlib.sha256(target.read_bytes()).hexdigest()
    kinds = " and ".join(sorted({row.modality or "unknown" for row in rows}))
    count = book.count_rows(rows, fingerprint, f"table {kinds}") if taken == Split.TEST else None
    return _Asked(rows, taken, threshold, "given", fingerprint, count, fitted=fitted)


def _answered(target: Path, manifest: Path, book: Book, *, split: str | None, threshold: float | None) -> _Asked:
    """Let a model answer the images of a manifest; its modality says which."""
    from duoscan.inference.bundle import read_bundle
    from duoscan.inference.predictor import predict_manifest
    from duoscan.manifest.table import read_manifest

    bundle = read_bundle(target)
    table = read_manifest(manifest).where(modality=bundle.info.modality)
    own = target / RUN_MANIFEST
    if target.is_dir() and own.exists():
        trained = read_manifest(own, check_files=False, check_patients=False).where(modality=bundle.info.modality)
        fitted = Fitted.on(trained, "the run's labelled validation rows")
    else:
        trained, fitted = None, Fitted.on(table, f"the labelled validation rows of {manifest.name}")
    taken = _chosen_split({record.split for record in table}, split)
    if taken not in {ALL_SPLITS, NO_SPLIT}:
        table = table.where(split=Split(taken))
    count = book.count_images(table, bundle.digest, bundle.info.modality) if taken == Split.TEST else None
    with click.progressbar(length=len(table), label="Answering images", file=sys.stderr) as bar:
        rows = predict_manifest(bundle, table, threshold=threshold, on_image=lambda: bar.update(1))
    return _Asked(
        rows=rows,
        split=taken,
        threshold=bundle.info.threshold if threshold is None else threshold,
        threshold_origin="bundle" if threshold is None else "given",
        fingerprint=table.fingerprint(),
        count=count,
        study_threshold=bundle.info.study_threshold if threshold is None else threshold,
        info=bundle.info,
        fitted=fitted,
        trained=trained,
    )


def _joined(asked: _Asked) -> _Asked:
    """One answer a patient, at the operating point for studies."""
    from duoscan.inference.aggregate import per_patient

    kinds = {row.modality for row in asked.rows}
    if len(kinds) != 1 or None in kinds:
        msg = "--per-patient needs rows of one stated modality, which says how images are joined; give --modality"
        raise PredictionsError(msg)
    (modality,) = (kind for kind in kinds if kind is not None)
    threshold = asked.threshold if asked.study_threshold is None else asked.study_threshold
    rows = per_patient(asked.rows, modality)
    if asked.info is not None:
        rows = [replace(row, calibrated=asked.info.calibrated_study(row.probability or 0.0)) for row in rows]
    fitted = asked.fitted and asked.fitted.per_patient()
    return replace(asked, rows=rows, threshold=threshold, fitted=fitted)


def _chosen_split(present: set[Split | None], wanted: str | None) -> str:
    """The split asked for; where none is, ``test`` if the rows are of several, else the one they are of.

    Raises:
        PredictionsError: The split asked for is not there, or several are and none of them is ``test``.
    """
    named = sorted(split for split in present if split is not None)
    if wanted is None:
        if len(present) <= 1:
            return named[0] if named else NO_SPLIT
        wanted = Split.TEST
    if wanted != ALL_SPLITS and wanted not in named:
        found = ", ".join(named) or "none"
        msg = f"no row is of the split '{wanted}' (splits found: {found}); choose one with --split, or --split all"
        raise PredictionsError(msg)
    return wanted


def _show(evaluation: Evaluation, *, split: str) -> None:
    overall = evaluation.overall
    classes = ", ".join(f"{count} {name}" for name, count in overall.classes.items())
    point = evaluation.threshold_origin
    if evaluation.threshold is not None:
        point = f"P(covid) ≥ {evaluation.threshold:.4g} ({point})"
    lines = [
        f"{overall.images} images of {overall.patients} patients ({classes}); split: {split}",
        f"Operating point: {point}",
        f"Answered: {_interval(evaluation.coverage)} of the labelled images",
        f"Baseline: answering '{overall.majority}' for every image",
        _calibration_line(overall.calibration),
    ]
    tables = [_table(METRIC_NAMES, evaluation.metrics, evaluation.baseline, "Covid against the rest")]
    tables.append(_prevalence_table(overall.predictive_values))
    if evaluation.multiclass is not None:
        several = evaluation.multiclass
        names = {name: name.replace("_", " ") for name in several.metrics}
        tables.append(_table(names, several.metrics, several.baseline, "Most probable class"))
    if len(evaluation.by_source) > 1:
        tables.append(_source_table(evaluation))
    echo("\n".join(lines))
    console = table_console()
    for table in tables:
        console.print(table)
    if evaluation.prior_shift is not None:
        _show_shift(evaluation.prior_shift)
    for note in evaluation.notes:
        echo(f"Note: {note}")


def _show_shift(shift: PriorShift) -> None:
    values = shift.values
    echo(f"At the stated prevalence of {values.prevalence:g}: PPV {_interval(values.ppv)}, NPV {_interval(values.npv)}")
    echo(f"Assumed: {shift.assumed}.")


def _calibration_line(calibration: CalibrationResult) -> str:
    found = {name: _interval(estimate) for name, estimate in calibration.metrics.items()}
    return (
        f"Calibration of P(covid): slope {found['slope']}, intercept {found['intercept']}, "
        f"ECE {found['ece']} (chance alone: {_number(calibration.ece_by_chance)})"
    )


def _table(
    names: Mapping[str, str], metrics: Mapping[str, Estimate], baseline: Mapping[str, float], title: str
) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("metric", "value [95 % interval]", "baseline"):
        table.add_column(column)
    for name, spoken in names.items():
        table.add_row(spoken, _interval(metrics[name]), _number(baseline[name]))
    return table


def _prevalence_table(values: Sequence[PredictiveValues]) -> Table:
    from rich.table import Table

    table = Table("prevalence", "PPV", "NPV", title="Where covid is as common as this", title_justify="left")
    for one in values:
        table.add_row(f"{one.prevalence:.0%}", _interval(one.ppv), _interval(one.npv))
    return table


def _source_table(evaluation: Evaluation) -> Table:
    from rich.table import Table

    shown: Sequence[str] = ("accuracy", "sensitivity", "specificity", "auroc")
    table = Table(
        "source",
        "images",
        *shown,
        "baseline",
        title="By source (baseline: accuracy of the majority answer)",
        title_justify="left",
    )
    for source, result in evaluation.by_source.items():
        cells = [_interval(result.metrics[name]) for name in shown]
        table.add_row(source, str(result.images), *cells, _number(result.baseline["accuracy"]))
    return table


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return _number(estimate.value)
    return f"{_number(estimate.value)} [{_number(estimate.low)}, {_number(estimate.high)}]"


def _number(value: float) -> str:
    return _MISSING if math.isnan(value) else f"{value:.3f}"
