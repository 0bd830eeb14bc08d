"""``duoscan report``."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from duoscan.files import write_text
from duoscan.interfaces.cli.ledger_options import book_beside, command_line, ledger_options
from duoscan.interfaces.cli.pages import check_can_write_pages
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--manifest", type=_EXISTING, help="Images the runs shall answer in place of their own test images.")
@click.option("--screening", type=_EXISTING, help="Answers of 'duoscan screen --json', shown as the two-phase table.")
@click.option(
    "--audit",
    "audits",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of 'duoscan audit', once a modality; left out: the newest evidence that each run holds.",
)
@click.option(
    "--triage",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of 'duoscan triage', shown as policies with sliders.",
)
@click.option("--out", default="report.html", show_default=True, type=OUT_FILE)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of resamples and drawn images.")
@click.option(
    "--with-images/--without-images",
    default=None,
    help="Show images. Left out: only where every image is a phantom, since images of patients must not leave.",
)
@click.option(
    "--maps",
    type=_EXISTING,
    help="Activation maps of 'duoscan screen --maps'; left out: answers.npz beside answers.json.",
)
@click.option("--by", default="", help="Who makes the report, for its head.")
@ledger_options
@table_options
def report_command(
    runs: tuple[Path, ...],
    *,
    manifest: Path | None,
    screening: Path | None,
    audits: tuple[Path, ...],
    triage: Path | None,
    out: Path,
    seed: int,
    with_images: bool | None,
    maps: Path | None,
    by: str,
    ledger: Path | None,
    new_test_set: bool,
    words: TableWords,
) -> None:
    """One HTML file on one or several runs: all evidence, readable, printable, without network.

    A RUN is a folder of 'duoscan train', or a predictions table of any model, of which less is known. With runs of
    both modalities the X-ray is compared with the CT.

    Answers on the test rows of a run or a table are a use of that test set and counted as one.
    """
    check_can_write_pages("duoscan report")
    from duoscan.evidence.subject import read_subjects
    from duoscan.report.page import Request, ask_of, page_of

    today = datetime.now(UTC).date().isoformat()
    request = Request(runs, manifest, screening, seed, with_images, command_line(), audits, triage, maps, today, by)
    with stages() as (on_stage, on_image):
        ask = replace(
            ask_of(request),
            reading=words.reading,
            stated=words.stated,
            book_at=partial(book_beside, ledger=ledger, replaces=new_test_set),
            on_stage=on_stage,
            on_image=on_image,
        )
        subjects = read_subjects(runs, ask)
    show_read(subjects)
    page, subjects = page_of(request, subjects)
    write_text(out, page)
    for subject in subjects:
        if subject.count is not None:
            echo(f"{subject.name}: {subject.count.spoken}.")
    echo(f"Written to {out}")
