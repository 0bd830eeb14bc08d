"""``duoscan evaluate``."""

from __future__ import annotations

import math
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.audit.evidence import read_audits
from duoscan.evaluation.differences import JUDGED
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES, Estimate, check_resamples
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.evaluation.prior_shift import shift_prior
from duoscan.evaluation.subgroups import measure_subgroups
from duoscan.evidence.subject import ALL_SPLITS, Ask, holds_images, is_model, read_subject
from duoscan.evidence.verdicts import counted, evaluated, joined, judge_subject
from duoscan.interfaces.cli.ledger_options import book_beside, command_line, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.interfaces.cli.verdict_shown import show_verdicts
from duoscan.manifest.table import read_manifest
from duoscan.predictions import write_predictions
from duoscan.run_files import TEST_PREDICTIONS
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from duoscan.evaluation.calibration import CalibrationResult
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evaluation.predictive_values import PredictiveValues
    from duoscan.evaluation.prior_shift import PriorShift
    from duoscan.evaluation.subgroups import Subgroups
    from duoscan.evidence.subject import Subject
    from duoscan.evidence.verdicts import Judgement

# As plain text: click shows members of an enumeration by their names, which are not the words in files.
SPLITS = [split.value for split in Split]
MODALITIES = [modality.value for modality in Modality]
_MISSING = "–"


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
@click.option(
    "--prior",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --prevalence: share of covid where P(covid) was fitted; if left, that of the validation rows.",
)
@table_options
@click.option("--by", multiple=True, metavar="COLUMN", help="Also by a column: age, sex, view, site …")
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
    prior: float | None,
    words: TableWords,
    by: tuple[str, ...],
    per_patient: bool,
    force: bool,
) -> None:
    """Metrics with 95 % intervals beside the majority baseline.

    TARGET is a predictions table of any model (CSV or Parquet with the columns label and probability; patient_id
    where it is known; docs/predictions.md), or a run folder or a bundle, which answers the images of MANIFEST. A run
    that holds a manifest of its own needs no other.

    Usual names of columns and labels are recognised and told; what a table does not say can be stated, and is then
    called stated.

    The operating point is --threshold, else the bundle's, else what the table itself decides, else 0.5.

    With --prevalence, P(covid) is moved by Bayes' theorem from the prevalence of the validation rows (the run's own,
    else those of MANIFEST or the table; where there are none, --prior states it) to the stated one.

    Where the newest evidence in the run holds the measured images, the gate's verdict on them is printed first.

    A test set is locked by its rows and images, and each use of it is counted: beside MANIFEST or the table, or in
    --ledger, and in a ledger of the user's own, which knows it again wherever it lies.
    """
    check_resamples(resamples)
    if prior is not None and prevalence is None:
        raise click.UsageError("--prior says where P(covid) is moved from; say with --prevalence where to")
    if out is not None:
        from duoscan.evaluation.figures import check_can_draw
        from duoscan.evaluation.outputs import check_out_dir

        check_out_dir(out, force=force)
        check_can_draw()
    audits = read_audits((), [target])
    ask = words.ask(
        part=split,
        modality=Modality(modality) if modality else None,
        threshold=threshold,
        reading=replace(words.reading, groups=by),
        seed=seed,
        book_at=partial(book_beside, ledger=ledger, replaces=new_test_set),
    )
    images = _read(target, manifest, ask)
    subject = joined(images) if per_patient else images
    evaluation = evaluated(subject, resamples=resamples, seed=seed)
    if prevalence is not None:
        evaluation = _moved(evaluation, subject, prevalence, prior)
    evaluation = _by_columns(evaluation, subject, by)
    subject = counted(subject)
    judgement = None
    if audits:
        on_images = evaluated(images, resamples=resamples, seed=seed) if per_patient else evaluation
        judgement = judge_subject(replace(images, count=subject.count), on_images, audits)
    show_read([images])
    if judgement is not None and judgement.command:
        show_verdicts({"these images": judgement.verdict})
    _show(evaluation, split=images.part)
    if subject.count is not None:
        echo(f"{subject.count.spoken}.")
    if out is not None:
        is_stored = manifest is None and (target.is_file() or (target / TEST_PREDICTIONS).exists())
        _write(evaluation, subject, out, part=images.part, is_new=not is_stored, force=force)
    if judgement is None or not judgement.command:
        _say_unaudited(target, manifest, judgement)


def _write(evaluation: Evaluation, subject: Subject, out: Path, *, part: str, is_new: bool, force: bool) -> None:
    """The evidence as a folder, with the answers where they exist nowhere else."""
    from duoscan.evaluation.outputs import write_evaluation

    write_evaluation(
        evaluation,
        subject.predictions,
        out,
        command=command_line(),
        split=part,
        fingerprint=subject.fingerprint,
        test_uses=None if subject.count is None else subject.count.to_json(),
        force=force,
    )
    if is_new:
        write_predictions(subject.predictions, out / "predictions.csv")
    echo(f"Written to {out}")


def _say_unaudited(target: Path, manifest: Path | None, judgement: Judgement | None) -> None:
    answers = "--run" if is_model(target) else "--predictions"
    images = [] if manifest is None else [str(manifest)]
    words = shlex.join(["duoscan", "audit", *images, answers, str(target)])
    why = f" ({'; '.join(judgement.unused)})" if judgement and judgement.unused else ""
    echo(f"No audit backs these figures{why}; run: {words}")


def _moved(evaluation: Evaluation, subject: Subject, prevalence: float, prior: float | None) -> Evaluation:
    """With what holds at a stated prevalence."""
    shift = shift_prior(
        evaluation.overall.sample,
        subject.predictions,
        prevalence,
        subject.fitted,
        prior,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
    return replace(evaluation, prior_shift=shift)


def _by_columns(evaluation: Evaluation, subject: Subject, columns: Sequence[str]) -> Evaluation:
    """With the same in the parts of the patients that columns make; as it was where none is named."""
    if not columns:
        return evaluation
    found = measure_subgroups(
        subject.predictions,
        columns,
        threshold=evaluation.threshold,
        resamples=evaluation.resamples,
        seed=evaluation.seed,
    )
    return replace(evaluation, subgroups=found)


def _read(target: Path, manifest: Path | None, ask: Ask) -> Subject:
    """What was typed, as a subject.

    Raises:
        UsageError: The options do not go with the kind of target.
    """
    if is_model(target):
        if manifest is None and not holds_images(target):
            raise click.UsageError(f"{target} is a model; name the MANIFEST of the images it shall answer")
        if ask.modality is not None:
            msg = "--modality goes with a predictions table; a model answers the images of its own modality"
            raise click.UsageError(msg)
    elif manifest is not None:
        msg = f"{target} is a predictions table and needs no MANIFEST; leave it out or name a run or a bundle"
        raise click.UsageError(msg)
    images = None if manifest is None else read_manifest(manifest)
    with stages() as (on_stage, on_image):
        ask = replace(ask, images=images, path=manifest or target, on_stage=on_stage, on_image=on_image)
        return read_subject(target, ask)


def _show(evaluation: Evaluation, *, split: str) -> None:
    overall = evaluation.overall
    classes = ", ".join(f"{count} {name}" for name, count in overall.classes.items())
    point = evaluation.threshold_origin
    if evaluation.threshold is not None:
        point = f"P(covid) ≥ {evaluation.threshold:.4g} ({point})"
    lines = [
        f"{overall.images} images of {overall.people} ({classes}); split: {split}",
        f"Operating point: {point}",
        f"Answered: {evaluation.coverage.spoken()} of the labelled images",
        f"Baseline: answering '{overall.majority}' for every image",
        _calibration_line(overall.calibration),
    ]
    tables = [_table(METRIC_NAMES, evaluation.metrics, evaluation.baseline, "Covid against the rest")]
    tables.append(_prevalence_table(overall.predictive_values))
    if evaluation.multiclass is not None:
        several = evaluation.multiclass
        means = " (by percentile bootstrap)"
        names = {name: name.replace("_", " ") + means * name.startswith("macro_") for name in several.metrics}
        tables.append(_table(names, several.metrics, several.baseline, "Most probable class"))
    if len(evaluation.by_source) > 1:
        tables.append(_source_table(evaluation))
    if evaluation.subgroups is not None:
        tables.append(_subgroup_table(evaluation.subgroups))
    echo("\n".join(lines))
    console = table_console()
    for table in tables:
        console.print(table)
    if evaluation.prior_shift is not None:
        _show_shift(evaluation.prior_shift)
    for note in (*evaluation.notes, *(evaluation.subgroups.notes if evaluation.subgroups else ())):
        echo(f"Note: {note}")


def _show_shift(shift: PriorShift) -> None:
    values = shift.values
    echo(f"At the stated prevalence of {values.prevalence:g}: PPV {values.ppv.spoken()}, NPV {values.npv.spoken()}")
    echo(f"Assumed: {shift.assumed}.")


def _calibration_line(calibration: CalibrationResult) -> str:
    found = {name: estimate.spoken() for name, estimate in calibration.metrics.items()}
    return (
        f"Calibration of P(covid): slope {found['slope']}, intercept {found['intercept']}, "
        f"ECE {found['ece']} (chance alone: {_number(calibration.ece_by_chance)}, "
        f"in 95 of 100 below {_number(calibration.ece_chance_high)})"
    )


def _table(
    names: Mapping[str, str], metrics: Mapping[str, Estimate], baseline: Mapping[str, float], title: str
) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("metric", "value [95 % interval]", "baseline"):
        table.add_column(column)
    for name, spoken in names.items():
        table.add_row(spoken, metrics[name].spoken(), _number(baseline[name]))
    return table


def _prevalence_table(values: Sequence[PredictiveValues]) -> Table:
    from rich.table import Table

    table = Table("prevalence", "PPV", "NPV", title="Where covid is as common as this", title_justify="left")
    for one in values:
        table.add_row(f"{one.prevalence:.0%}", one.ppv.spoken(), one.npv.spoken())
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
        cells = [result.metrics[name].spoken() for name in shown]
        table.add_row(source, str(result.images), *cells, _number(result.baseline["accuracy"]))
    return table


def _subgroup_table(subgroups: Subgroups) -> Table:
    from rich.table import Table

    table = Table("group", "images", "covid", *JUDGED, "than all others", title="By group", title_justify="left")
    for group in subgroups.groups:
        apart = ", ".join(group.apart) or _MISSING
        cells = [group.metrics[name].spoken() for name in JUDGED]
        table.add_row(f"{group.column} = {group.value}", str(group.images), str(group.classes[0]), *cells, apart)
    return table


def _number(value: float) -> str:
    return _MISSING if math.isnan(value) else f"{value:.3f}"
