"""``duoscan card``."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import click

from duoscan.errors import MissingExtraError
from duoscan.evaluation.outputs import check_out_dir
from duoscan.interfaces.cli.ledger_options import book_beside, ledger_options
from duoscan.interfaces.cli.paths import OUT_FOLDER
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.table_options import TableWords, show_read, table_options
from duoscan.interfaces.cli.tables import echo


@click.command("card")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--audit",
    "audits",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of 'duoscan audit'; left out: the newest evidence that the run holds.",
)
@click.option("--out", required=True, type=OUT_FOLDER, help="Folder for the drafts.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the resamples.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@ledger_options
@table_options
def card_command(
    run: Path,
    *,
    audits: tuple[Path, ...],
    out: Path,
    seed: int,
    force: bool,
    ledger: Path | None,
    new_test_set: bool,
    words: TableWords,
) -> None:
    """Draft CLAIM 2024, TRIPOD+AI, a model card and a dataset card of a RUN.

    RUN is a folder of 'duoscan train', or a predictions table, of which less is known. What only a person can say
    is marked with ☐ OPEN. Answers on the test rows are a use of that test set and counted as one.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise MissingExtraError("evaluate", "duoscan card")
    from duoscan.audit.evidence import read_audits
    from duoscan.evidence.subject import read_subject
    from duoscan.evidence.verdicts import measure
    from duoscan.report.cards.write import draft, write_drafts

    check_out_dir(out, force=force)
    audited = read_audits(audits, [run])
    book_at = partial(book_beside, ledger=ledger, replaces=new_test_set)
    with stages() as (on_stage, on_image):
        ask = words.ask(
            seed=seed,
            book_at=book_at,
            on_stage=on_stage,
            on_image=on_image,
        )
        subject, evaluation = measure(read_subject(run, ask), seed=seed)
    show_read([subject])
    drafts = draft((subject, evaluation), audited)
    write_drafts(drafts, out)
    for name, counts in drafts.counts.items():
        echo(f"{name}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if subject.count is not None:
        echo(f"{subject.count.spoken}.")
    echo(f"Written to {out}: {', '.join(drafts.files)}")
