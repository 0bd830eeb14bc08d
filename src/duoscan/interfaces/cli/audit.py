"""``duoscan audit``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.audit.copies.groups import Copies, deduplicate
from duoscan.audit.copies.outputs import dropped_csv, write_copies
from duoscan.audit.evidence import new_entry
from duoscan.audit.gate import Verdict, judge
from duoscan.audit.perturbation import MOST_IMAGES
from duoscan.audit.result import Level
from duoscan.audit.run import Watcher, audit_answers, audit_data, audit_model
from duoscan.audit.storage import Audited, Shortcuts, read_shortcuts, write_audit
from duoscan.errors import InputError
from duoscan.evaluation.outputs import check_out_dir
from duoscan.evidence.records import records_of
from duoscan.evidence.subject import Subject, read_subject
from duoscan.evidence.verdicts import facts_of, measure
from duoscan.files import write_text
from duoscan.inference.bundle import Bundle, write_changed
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FILE, OUT_FOLDER
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo, table_console, visible_lines
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.run_files import MANIFEST
from duoscan.terms import Modality, Split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duoscan.audit.gate import Measured
    from duoscan.audit.ledger import Book
    from duoscan.audit.result import AuditResult
    from duoscan.manifest.records import Manifest

GATE_FAILED = 3
_STYLES = {
    Level.PASS: "green",
    Level.WARN: "yellow",
    Level.FAIL: "bold red",
    Level.NOT_RUN: "dim",
    Level.NOT_KNOWN: "yellow",
}
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True)
class _Request:
    """What is to be audited and how."""

    path: Path
    table: Manifest | None
    kind: Modality | None
    run: Path | None
    predictions: Path | None
    shortcuts: Path | None
    book: Book
    words: TableWords
    model_images: int
    workers: int
    seed: int


@click.command("audit")
@click.argument("manifest", required=False, type=_FILE)
@click.option(
    "--run", type=click.Path(exists=True, path_type=Path), help="Run folder or bundle whose number is judged."
)
@click.option("--predictions", type=_FILE, help="Answers of any model, in place of --run.")
@click.option("--shortcuts", type=_FILE, help="What 'duoscan shortcuts' wrote about the model.")
@click.option("--modality", type=click.Choice([kind.value for kind in Modality]), help="Rows to take.")
@click.option("--out", type=OUT_FOLDER, help="Folder for results, verdict and copies.")
@click.option("--bundle-out", type=OUT_FILE, help="Sealed copy with the verdict in it.")
@click.option("--thumbnails", is_flag=True, help="Also show copies side by side; as confidential as the images.")
@click.option("--deduplicate", "without_copies", type=OUT_FILE, help="Write the manifest without copies to this file.")
@click.option(
    "--model-images",
    default=MOST_IMAGES,
    show_default=True,
    type=click.IntRange(1),
    help="Test images at most that are changed and answered again, drawn at random.",
)
@ledger_options
@table_options
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that read images.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of folds and resamples.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
def audit_command(
    manifest: Path | None,
    *,
    run: Path | None,
    predictions: Path | None,
    shortcuts: Path | None,
    modality: str | None,
    out: Path | None,
    bundle_out: Path | None,
    thumbnails: bool,
    without_copies: Path | None,
    model_images: int,
    ledger: Path | None,
    new_test_set: bool,
    words: TableWords,
    workers: int,
    seed: int,
    force: bool,
) -> None:
    """Can data and model be trusted? Audits them and says whether a number may be a headline.

    Without --run or --predictions the data alone are audited. A run that keeps its manifest needs no MANIFEST.
    --predictions without one audits the answers alone; what needs the images is then not run, which the verdict says.

    The answers are measured on the test rows, which is a use of that test set and counted as one. A run folder keeps
    what was found, as RUN/evidence/NUMBER.

    Exit code: 0 where the gate passes or warns, 3 where it fails, 2 where the audit could not be done.
    """
    if run is not None and predictions is not None:
        raise click.UsageError("--run and --predictions are two ways to name the answers; give one of them")
    if bundle_out is not None and run is None:
        raise click.UsageError("--bundle-out writes a copy of the model's bundle; name the model with --run")
    if out is not None:
        check_out_dir(out, force=force)
    kind = Modality(modality) if modality else None
    images = manifest or _own_manifest(run, predictions, needs_images=bool(shortcuts or without_copies or thumbnails))
    table = None if images is None else read_manifest(images, check_patients=False).where(modality=kind)
    path = images or predictions or Path()
    book = book_beside(path, ledger, replaces=new_test_set)
    audited, copies, bundle = _audit(
        _Request(path, table, kind, run, predictions, shortcuts, book, words, model_images, workers, seed)
    )
    _show(audited)
    if out is not None:
        _write(audited, copies, out, thumbnails=thumbnails)
        echo(f"Written to {out}")
    if run is not None and run.is_dir():
        _keep(audited, copies, run)
    if without_copies is not None:
        _write_without_copies(copies, without_copies)
    if bundle_out is not None and bundle is not None:
        verdict = audited.verdicts[bundle.info.modality].to_json()
        write_changed(bundle, bundle_out, {"verdict": verdict})
        echo(f"Written to {bundle_out}")
    if any(verdict.level is Level.FAIL for verdict in audited.verdicts.values()):
        raise click.exceptions.Exit(GATE_FAILED)


def _own_manifest(run: Path | None, predictions: Path | None, *, needs_images: bool) -> Path | None:
    """The manifest that a run keeps; ``None`` where a table is audited without images.

    Raises:
        UsageError: There is none, and something needs it.
    """
    if run is not None and (run / MANIFEST).is_file():
        return run / MANIFEST
    if predictions is None or needs_images:
        raise click.UsageError("name the MANIFEST of the images, or answers alone with --predictions TABLE")
    return None


def _audit(request: _Request) -> tuple[Audited, dict[Modality, Copies], Bundle | None]:
    shortcuts = _shortcuts(request)
    with stages() as callbacks:
        watcher = Watcher(*callbacks)
        answers, measured = _answers(request, watcher)
        table = (
            request.table if request.table is not None else records_of(answers.rows if answers else (), request.path)
        )
        kinds = sorted({record.modality for record in table})
        kinds = [answers.modality] if answers and answers.modality else kinds
        if not kinds:
            raise InputError("the manifest holds no image to audit; correct it, or leave --modality out")
        results: dict[Modality, tuple[AuditResult, ...]] = {}
        copies: dict[Modality, Copies] = {}
        for kind in kinds:
            found: list[AuditResult] = []
            if request.table is not None:
                part = request.table.where(modality=kind)
                found, pairs = audit_data(part, watcher, workers=request.workers, seed=request.seed)
                copies |= {kind: pairs} if pairs is not None else {}
            found += [shortcuts.result] if shortcuts and shortcuts.modality is kind else []
            found += audit_answers(answers.rows, seed=request.seed) if answers else []
            if answers and answers.bundle and answers.tested:
                found += audit_model(
                    answers.bundle, answers.tested, watcher, most=request.model_images, seed=request.seed
                )
            results[kind] = tuple(found)
    verdicts = {kind: judge(found, measured) for kind, found in results.items()}
    rows = table.replace([record for record in table if record.modality in results])
    return Audited(results, verdicts, rows, request.book.command), copies, answers.bundle if answers else None


def _answers(request: _Request, watcher: Watcher) -> tuple[Subject | None, Measured | None]:
    """A model's answers, or a table's, and what the gate asks of their number; the manifest says what made them."""
    target = request.run or request.predictions
    if target is None:
        return None, None
    ask = request.words.ask(
        images=request.table if request.run else None,
        path=request.path,
        beside=None if request.table is None else request.table.where(split=Split.VAL),
        trained=request.table,
        modality=_kind_of_table(request) if request.predictions else None,
        seed=request.seed,
        book_at=lambda _: request.book,
        on_stage=watcher.on_stage,
        on_image=watcher.on_image,
    )
    subject = read_subject(target, ask)
    if subject.modality is None:
        raise InputError(f"{target}: the rows are of no stated modality, or of both; say which with --modality")
    subject, evaluation = measure(subject, seed=request.seed)
    show_read([subject])
    return subject, facts_of(subject, evaluation)


def _kind_of_table(request: _Request) -> Modality | None:
    """The modality of a table's rows, where they do not say it."""
    if request.table is None:
        return request.kind
    kinds = sorted({record.modality for record in request.table})
    if len(kinds) != 1:
        raise InputError(f"the manifest holds {' and '.join(kinds) or 'no image'}; say which with --modality")
    return kinds[0]


def _shortcuts(request: _Request) -> Shortcuts | None:
    if request.shortcuts is None or request.table is None:
        return None
    found = read_shortcuts(request.shortcuts)
    if any(record.modality is found.modality for record in request.table):
        found.check_rows(request.table, request.shortcuts)
    return found


def _write(audited: Audited, copies: dict[Modality, Copies], out: Path, *, thumbnails: bool) -> None:
    for kind, found in copies.items():
        write_copies(found, out if len(copies) == 1 else out / kind, with_images=thumbnails)
    write_audit(audited, out)


def _keep(audited: Audited, copies: dict[Modality, Copies], run: Path) -> None:
    """Evidence stays with the run; one that cannot be written to is no reason to lose what was found."""
    try:
        with new_entry(run) as entry:
            _write(audited, copies, entry.draft, thumbnails=False)
    except OSError as error:
        echo(f"not kept in {run}, which cannot be written to ({error.strerror}); keep it with --out", err=True)
    else:
        echo(f"Kept as {entry.path}, which 'duoscan report' and 'duoscan card' read")


def _write_without_copies(copies: dict[Modality, Copies], path: Path) -> None:
    parts = [deduplicate(found.manifest, found) for found in copies.values()]
    if not parts:
        raise InputError(f"{path}: copies could not be looked for, see above; nothing is written")
    kept = parts[0][0].replace([record for manifest, _ in parts for record in manifest])
    dropped = [one for _, own in parts for one in own]
    write_manifest(kept, path)
    write_text(path.with_name(f"{path.stem}-dropped.csv"), dropped_csv(dropped))
    echo(f"Written to {path}: {len(kept)} rows, {len(dropped)} left out, which {path.stem}-dropped.csv names")


def _show(audited: Audited) -> None:
    from rich.table import Table
    from rich.text import Text

    console = table_console()
    for kind, verdict in audited.verdicts.items():
        table = Table("required", "level", "reasons", title=f"{kind.spoken}: what a number needs", title_justify="left")
        for check in verdict.checks:
            level = Text(check.level, style=_STYLES[check.level])
            table.add_row(check.title, level, Text(visible_lines("\n".join(check.reasons))))
        console.print(table)
        echo("\n".join(_verdict_lines(verdict)))


def _verdict_lines(verdict: Verdict) -> Iterator[str]:
    """The verdict, then its reasons, and the number last: under a failing gate it is never the headline."""
    yield f"Verdict: {verdict.level.upper()}"
    yield from (f"  - {reason}" for reason in verdict.reasons)
    if verdict.not_run:
        yield f"  Not run: {'; '.join(verdict.not_run)}"
    measured = verdict.measured
    if measured is not None:
        value, low, high = ("–" if one is None else f"{one:.3f}" for one in measured.auroc)
        text = f"AUROC {value} [{low}, {high}] of {measured.name} on {measured.images} images"
        yield text if verdict.may_headline else f"Measured, not to be quoted without these reasons: {text}"
