"""Options that say how images are taken in, alike in ``duoscan import`` and ``duoscan adapt``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.interfaces.cli.answers import show_remarks
from duoscan.interfaces.cli.pairs import finding_of, pairs_of
from duoscan.interfaces.cli.patient_options import patient_options, patient_rules
from duoscan.interfaces.cli.tables import echo
from duoscan.manifest.blocks import DEFAULT_BLOCK_SIZE, assign_blocks, blocks_where_usual
from duoscan.manifest.problems import first_of
from duoscan.manifest.readers import Wishes, read_anything
from duoscan.manifest.readers.patients import folders_not_joined, with_patients
from duoscan.manifest.sources import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.manifest.readers import Imported, SkippedFile
    from duoscan.manifest.records import Manifest
    from duoscan.terms import Modality

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def import_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--labels``, ``--map``, ``--column``, ``--root``, ``--block-size`` and those of patients.

    They are the keyword arguments of :func:`read_images`.
    """
    options = [
        click.option(
            "--labels", type=_FILE, help="Table with path or patient_id, and label; class folders say what it lacks."
        ),
        click.option("--map", "maps", multiple=True, metavar="NAME=LABEL", help="What a folder name or label means."),
        click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What a table calls a column."),
        click.option(
            "--root", type=_FOLDER, help="Folder the paths of a table are relative to; the table's if left out."
        ),
        click.option(
            "--block-size",
            type=click.IntRange(0),
            help=f"Images in a block that stands for a patient where ids are unknown; 0 for none. "
            f"{DEFAULT_BLOCK_SIZE} for CT, none for X-ray if left out.",
        ),
    ]
    command = patient_options(command)
    for option in reversed(options):
        command = option(command)
    return command


def read_images(
    path: Path,
    modality: Modality | None,
    source: str | None,
    *,
    labels: Path | None = None,
    maps: Sequence[str] = (),
    columns: Sequence[str] = (),
    root: Path | None = None,
    block_size: int | None = None,
    patients: Path | None = None,
    patient_pattern: str | None = None,
    patient_by: str = "file",
    only: Callable[[Imported], Imported] | None = None,
) -> Imported:
    """Take in a table, class folders or DICOM files, with patients or what stands for them.

    Args:
        path: What a person gave.
        modality: Where the images do not say it themselves.
        source: Name of the data set or hospital.
        labels: As the option, like those that follow.
        maps: As the option.
        columns: As the option.
        root: As the option.
        block_size: As the option.
        patients: As the option.
        patient_pattern: As the option.
        patient_by: As the option.
        only: Leaves out images, before patients are told.

    Raises:
        InputError: No reader fits, or what is there is wrong.
    """
    wishes = Wishes(
        modality=modality,
        source=source,
        labels=labels,
        label_map={name: finding_of(label) for name, label in pairs_of(maps, "--map")},
        columns=dict(pairs_of(columns, "--column")),
        root=root,
    )
    imported = SOURCES[source].read(path) if source in SOURCES and path.is_dir() else read_anything(path, wishes)
    if only is not None:
        imported = only(imported)
    rules = patient_rules(patients, patient_pattern, patient_by)
    imported = with_patients(imported, replace(rules, label_map=wishes.label_map))
    if source not in SOURCES:
        imported = replace(imported, remarks=(*imported.remarks, *folders_not_joined(imported, wishes.label_map)))
    return replace(imported, manifest=_with_blocks(imported.manifest, block_size))


def show_imported(imported: Imported) -> None:
    """Tell what did not come in, and what to look at."""
    show_lines("not in the manifest", imported.skipped)
    show_lines("named in a table but without an image", imported.absent)
    show_lines("ids and labels to look at", imported.doubts)
    show_remarks(imported.remarks)


def show_lines(title: str, files: Sequence[SkippedFile]) -> None:
    """Tell a person which files are left out or missing, and why; says nothing where there are none."""
    if not files:
        return
    echo(f"{title}: {len(files)}", err=True)
    for line in first_of([f"{file.name}: {file.reason}" for file in files]):
        echo(f"  {line}", err=True)


def _with_blocks(manifest: Manifest, block_size: int | None) -> Manifest:
    """By default blocks for CT only: a patient has many slices, but mostly one radiograph."""
    if block_size is None:
        return blocks_where_usual(manifest)
    return assign_blocks(manifest, block_size) if block_size else manifest
