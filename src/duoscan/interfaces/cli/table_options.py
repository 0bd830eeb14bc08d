"""Options of every command that reads anyone's predictions: what a table means, and what nobody can see in it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from duoscan.evidence.stated import Stated
from duoscan.evidence.subject import Ask
from duoscan.foreign import Reading, Scale
from duoscan.interfaces.cli.pairs import finding_of, pairs_of
from duoscan.interfaces.cli.tables import echo
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from duoscan.evidence.subject import Subject

_ON_TEST = {"validation": False, "elsewhere": False, "test": True}
_OPTIONS = (
    click.option(
        "--rows-are",
        type=click.Choice([split.value for split in Split]),
        help="State which part the rows of a table are that has no column split.",
    ),
    click.option(
        "--trained-on",
        multiple=True,
        metavar="SOURCE",
        help="State a source (hospital, data set) that a table's model was trained on; once each.",
    ),
    click.option(
        "--threshold-chosen-on",
        type=click.Choice(list(_ON_TEST)),
        help="State where a table's operating point was chosen: on its validation part, on other data, or on test.",
    ),
    click.option("--map", "label_maps", multiple=True, metavar="NAME=LABEL", help="What a table's label means."),
    click.option(
        "--scale",
        type=click.Choice([scale.value for scale in Scale]),
        help="What a table's probabilities are; from 0 to 1 if left out.",
    ),
    click.option(
        "--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What a predictions table calls a column."
    ),
)


@dataclass(frozen=True)
class TableWords:
    """What was typed of a table.

    Attributes:
        reading: Of its columns, scale and labels.
        stated: Of how its numbers came about.
    """

    reading: Reading
    stated: Stated

    def ask(self, **others: Any) -> Ask:
        """What a command asks, with what was typed of the table."""
        return Ask(**{"reading": self.reading, "stated": self.stated, **others})


def table_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options on a table and on how its numbers came about; the command takes them together, as ``words``."""

    @functools.wraps(command)
    def with_words(
        *args: Any,
        columns: tuple[str, ...],
        scale: str | None,
        label_maps: tuple[str, ...],
        threshold_chosen_on: str | None,
        trained_on: tuple[str, ...],
        rows_are: str | None,
        **others: Any,
    ) -> Any:
        reading = Reading(
            columns=dict(pairs_of(columns, "--column")),
            scale=Scale(scale) if scale else None,
            labels={name: finding_of(label) for name, label in pairs_of(label_maps, "--map")},
        )
        stated = Stated(
            _ON_TEST.get(threshold_chosen_on or ""),
            frozenset(trained_on) if trained_on else None,
            Split(rows_are) if rows_are else None,
        )
        return command(*args, words=TableWords(reading, stated), **others)

    for option in _OPTIONS:
        with_words = option(with_words)
    return with_words


def show_read(subjects: Iterable[Subject]) -> None:
    """Print what was recognised in each table, so that a wrong guess is seen before its numbers are."""
    for remark in (remark for subject in subjects for remark in subject.remarks):
        echo(f"Read: {remark}")
