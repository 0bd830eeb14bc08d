"""How the models of a run were made: bundles, histories, recipe, versions."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes
from duoscan.inference.bundle import read_bundle
from duoscan.inference.lung_network import finder_of
from duoscan.rows import csv_rows
from duoscan.run_files import BUNDLE_NAME, ENVIRONMENT, HISTORY, RECIPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from duoscan.imaging.lung_view import LungFinder
    from duoscan.inference.bundle import Bundle, BundleInfo


@dataclass(frozen=True)
class Learning:
    """How one member of a model learned.

    Attributes:
        history: One table row an epoch, numbers by column.
        best_epoch: The epoch whose weights are kept, from 0; ``None`` where the bundle does not state it.
    """

    history: tuple[dict[str, float], ...]
    best_epoch: int | None


@dataclass(frozen=True)
class Part:
    """One trained model: the run's only one, or that of a fold.

    Attributes:
        name: ``model``, or ``fold-1`` and so on.
        info: What its bundle says.
        learnings: One a member; empty where the histories were not passed on.
        finder: Says where lung is; where the contract shows the lungs' view.
    """

    name: str
    info: BundleInfo
    learnings: tuple[Learning, ...]
    finder: LungFinder | None = None


@dataclass(frozen=True)
class Making:
    """How the models of a run were made.

    Attributes:
        parts: One, or one a fold.
        recipe: The resolved recipe, as TOML.
        environment: Versions and processor.
        command: What was typed.
    """

    parts: tuple[Part, ...]
    recipe: str
    environment: dict[str, str]
    command: str

    @property
    def info(self) -> BundleInfo:
        """Of the first model; folds share recipe, classes and contract."""
        return self.parts[0].info


def bare_making(bundle: Bundle) -> Making:
    """Of a bundle that was passed on without its run."""
    return Making((Part("model", bundle.info, (), finder_of(bundle)),), "", {}, "")


def read_making(run: Path, folders: Sequence[Path]) -> Making:
    """What lies in a run beside its answers.

    Args:
        run: The run.
        folders: Itself, or the folds of a cross-validation.

    Raises:
        BundleError: A bundle is damaged.
        InputError: A file is not as ``duoscan train`` writes it.
    """
    parts = []
    for folder in folders:
        bundle = read_bundle(folder / BUNDLE_NAME)
        name, learnings = "model" if folder == run else folder.name, tuple(_learnings(folder, bundle.info))
        parts.append(Part(name, bundle.info, learnings, finder_of(bundle)))
    environment = folders[0] / ENVIRONMENT
    try:
        stated = dict(parse_json(_text(environment) or "{}"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{environment}: not as 'duoscan train' writes it ({error}); put it back") from error
    command = stated.pop("command", "")
    return Making(tuple(parts), _text(folders[0] / RECIPE), stated, command)


def _learnings(run: Path, info: BundleInfo) -> Iterator[Learning]:
    """The first member's history lies in the run itself, those of further ones in folders of their own."""
    members = sorted(run.glob("member-*"), key=lambda path: int(path.name.removeprefix("member-")))
    for number, folder in enumerate([run, *members], start=1):
        try:
            names, *lines = [line for line in csv_rows(_text(folder / HISTORY), ",") if line] or [[]]
            history = tuple(dict(zip(names, map(float, line), strict=True)) for line in lines)
        except (ValueError, TypeError, csv.Error) as error:
            raise InputError(f"{folder / 'history.csv'}: not numbers ({error}); put it back or remove it") from error
        best = info.provenance.metrics.get(f"member-{number}", {}).get("epoch")
        if history:
            yield Learning(history, None if best is None else int(best))


def _text(path: Path) -> str:
    """A file of a run; nothing where somebody passed the run on without it, for the report shows what is known."""
    try:
        return read_bytes(path).decode("utf-8") if path.exists() else ""
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not text in UTF-8; put it back or remove it") from error
