"""``duoscan import`` and ``duoscan split``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError
from duoscan.inference.pipeline import worker_threads
from duoscan.interfaces.cli.answers import show_remarks
from duoscan.interfaces.cli.chosen import chosen, kept_option
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.patient_options import patient_options, patient_rules
from duoscan.interfaces.cli.progress import stages
from duoscan.interfaces.cli.tables import echo, table_console
from duoscan.manifest.blocks import DEFAULT_BLOCK_SIZE, assign_blocks
from duoscan.manifest.crossing import crossing_problems
from duoscan.manifest.joining import joined
from duoscan.manifest.problems import first_of
from duoscan.manifest.readers import Wishes, read_anything
from duoscan.manifest.readers.lung_boxes import with_lung_boxes
from duoscan.manifest.readers.patients import folders_not_joined, with_patients
from duoscan.manifest.readers.readable import only_readable
from duoscan.manifest.sources import SOURCES
from duoscan.manifest.splits import MORE_UNITS, empty_parts, grouped_folds, split_by_patient
from duoscan.manifest.summary import Summary, summarise
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.manifest.readers import Imported, SkippedFile
    from duoscan.manifest.records import Manifest
    from duoscan.manifest.summary import ManifestCounts

_FILE = click.Path(dir_okay=False, path_type=Path)
_MANY = 200  # images; opening so many takes about a second
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", required=True, type=OUT_FILE, help="Manifest to write, .csv or .parquet.")
@click.option(
    "--modality",
    type=click.Choice([modality.value for modality in Modality]),
    help="Where the images do not say it themselves.",
)
@click.option(
    "--source",
    help="Name of the data set or hospital; the folder's name if left out. A name from 'duoscan data list' reads "
    "that set's own lists too.",
)
@click.option("--labels", type=_FILE, help="Table with path or patient_id, and label; class folders say what it lacks.")
@click.option("--lung-boxes", type=_FILE, help="Table of boxes around lungs: path, x, y, w, h in pixels.")
@click.option("--map", "maps", multiple=True, metavar="NAME=LABEL", help="What a folder name or label means.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="What a table calls a column.")
@click.option("--root", type=_FOLDER, help="Folder the paths of a table are relative to; the table's if left out.")
@click.option(
    "--block-size",
    type=click.IntRange(0),
    help=f"Images in a block that stands for a patient where ids are unknown; 0 for none. "
    f"{DEFAULT_BLOCK_SIZE} for CT, none for X-ray if left out.",
)
@patient_options
@click.option("--no-image-check", is_flag=True, help="Do not open each image; one that cannot be read stays in.")
@click.option("--force", is_flag=True, help="Write over an existing manifest.")
def import_command(
    path: Path,
    *,
    out: Path,
    modality: str | None,
    source: str | None,
    labels: Path | None,
    lung_boxes: Path | None,
    maps: tuple[str, ...],
    columns: tuple[str, ...],
    root: Path | None,
    block_size: int | None,
    patients: Path | None,
    patient_pattern: str | None,
    patient_by: str,
    no_image_check: bool,
    force: bool,
) -> None:
    """Make a manifest from PATH: a CSV or Parquet table, a folder for each class, or a folder of DICOM files.

    Files that do not come into the manifest are listed with the reason.
    """
    _check_free([out], force=force)
    wishes = Wishes(
        modality=Modality(modality) if modality else None,
        source=source,
        labels=labels,
        label_map={name: _finding(label) for name, label in _pairs(maps, "--map")},
        columns=dict(_pairs(columns, "--column")),
        root=root,
    )
    imported = SOURCES[source].read(path) if source in SOURCES and path.is_dir() else read_anything(path, wishes)
    if not no_image_check:
        imported = _readable(imported)
    rules = patient_rules(patients, patient_pattern, patient_by)
    imported = with_patients(imported, replace(rules, label_map=wishes.label_map))
    if source not in SOURCES:
        imported = replace(imported, remarks=(*imported.remarks, *folders_not_joined(imported, wishes.label_map)))
    manifest = _with_blocks(imported.manifest, block_size)
    if lung_boxes is not None:
        manifest = with_lung_boxes(manifest, lung_boxes)
    write_manifest(manifest, out)
    _show_summary(summarise(manifest))
    show_lines("not in the manifest", imported.skipped)
    show_lines("named in a table but without an image", imported.absent)
    show_lines("ids and labels to look at", imported.doubts)
    show_remarks(imported.remarks)
    _warn_of_crossing(manifest)
    if not any(record.split for record in manifest):
        _warn_of_empty_parts(split_by_patient(manifest), [*Split], "duoscan split would leave parts without a label")
    echo(f"wrote {out}")


@click.command("split")
@click.argument("manifests", type=click.Path(exists=True, dir_okay=False, path_type=Path), nargs=-1, required=True)
@click.option("--out", required=True, type=OUT_FILE, help="Manifest to write, .csv or .parquet.")
@click.option("--train", default=0.7, show_default=True, type=click.FloatRange(0, 1), help="Share to learn from.")
@click.option("--val", default=0.1, show_default=True, type=click.FloatRange(0, 1), help="Share to choose on.")
@click.option("--test", default=0.2, show_default=True, type=click.FloatRange(0, 1), help="Share to report on.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of the shuffle.")
@kept_option("--sources")
@kept_option("--labels")
@click.option("--folds", type=click.IntRange(3), help="Write cross-validation folds OUT-fold1, … instead.")
@click.option("--ignore-splits", is_flag=True, help="Make splits anew for rows that have one.")
@click.option("--force", is_flag=True, help="Write over existing manifests.")
def split_command(
    manifests: tuple[Path, ...],
    *,
    out: Path,
    train: float,
    val: float,
    test: float,
    seed: int,
    sources: tuple[str, ...],
    labels: tuple[str, ...],
    folds: int | None,
    ignore_splits: bool,
    force: bool,
) -> None:
    """Split MANIFESTS, joined, by patient, stratified by source and label; official splits are kept."""
    places = [out.with_stem(f"{out.stem}-fold{fold}") for fold in range(1, folds + 1)] if folds else [out]
    _check_free(places, force=force)
    may_cross = bool(ignore_splits or folds)
    rows = joined([read_manifest(one, check_files=False, check_patients=not may_cross) for one in manifests])
    rows = chosen(chosen(rows, "--sources", sources, "source"), "--labels", labels, "label")
    if folds:
        parts = grouped_folds(rows, folds, seed)
    else:
        fractions = {Split.TRAIN: train, Split.VAL: val, Split.TEST: test}
        parts = [split_by_patient(rows, fractions, seed, keep_official=not ignore_splits)]
        if parts[0] == rows:
            echo("every row has a split already and keeps it; --ignore-splits makes new ones", err=True)
    asked = [split for split, share in zip(Split, (train, val, test), strict=True) if share > 0 or folds]
    for place, part in zip(places, parts, strict=True):
        write_manifest(part, place)
        _show_summary(summarise(part))
        echo(f"wrote {place}")
        _warn_of_empty_parts(part, asked, "parts lack a label")


def _readable(imported: Imported) -> Imported:
    """Open each image once, with a bar where that takes longer than a moment."""
    images = len(imported.manifest)
    with worker_threads() as pool:
        if images < _MANY:
            return only_readable(imported, pool)
        with stages() as (on_stage, on_image):
            on_stage("opening images", images)
            return only_readable(imported, pool, on_image)


def _check_free(places: Sequence[Path], *, force: bool) -> None:
    taken = [str(place) for place in places if place.exists()]
    if taken and not force:
        raise InputError(f"{', '.join(taken)}: exists already; choose another --out or add --force")


def _pairs(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    for (left, _, right), text in zip(pairs, texts, strict=True):
        if not left or not right:
            raise click.BadParameter(f"'{text}' is not of the form NAME=VALUE", param_hint=option)
    return [(left.strip(), right.strip()) for left, _, right in pairs]


def _finding(text: str) -> Finding:
    if text.lower() not in set(Finding):
        raise click.BadParameter(f"'{text}' is not a label; use {', '.join(Finding)}", param_hint="--map")
    return Finding(text.lower())


def _with_blocks(manifest: Manifest, block_size: int | None) -> Manifest:
    """By default blocks for CT only: a patient has many slices, but mostly one radiograph."""
    if block_size == 0:
        return manifest
    if block_size is not None:
        return assign_blocks(manifest, block_size)
    blocked = {record.path: record for record in assign_blocks(manifest.where(modality=Modality.CT))}
    return manifest.replace([blocked.get(record.path, record) for record in manifest])


def _show_summary(summary: Summary) -> None:
    from rich.table import Table

    splits = [split for split in (*Split, None) if any(row.split is split for row in summary.rows)]
    table = Table("source", "modality", "label", *(split or "no split" for split in splits))
    for kind in dict.fromkeys((row.source, row.modality, row.label) for row in summary.rows):
        cells = {row.split: row.counts for row in summary.rows if (row.source, row.modality, row.label) == kind}
        source, modality, label = kind
        table.add_row(source, modality, label or "–", *(_short(cells.get(split)) for split in splits))
    table_console().print(table)
    total = summary.total
    echo(f"images (patients), {total.images} ({total.patients}) in all")
    if total.images_without_patient:
        nameless = f"?: {total.images_without_patient} images without a patient id"
        stand = f"{total.groups} blocks (neighbouring images, or a study) stand for patients" if total.groups else ""
        echo(f"{nameless}; {stand or 'each counts as a patient of its own'}")


def _short(counts: ManifestCounts | None) -> str:
    if counts is None:
        return ""
    known = str(counts.patients) if counts.patients else ""
    return f"{counts.images} ({known}{'?' if counts.images_without_patient else ''})"


def show_lines(title: str, files: Sequence[SkippedFile]) -> None:
    """Tell a person which files are left out or missing, and why; says nothing where there are none."""
    if not files:
        return
    echo(f"{title}: {len(files)}", err=True)
    for line in first_of([f"{file.name}: {file.reason}" for file in files]):
        echo(f"  {line}", err=True)


def _warn_of_empty_parts(manifest: Manifest, parts: Sequence[Split], what: str) -> None:
    if not (problems := empty_parts(manifest, parts)):
        return
    echo(f"warning: {what}; {MORE_UNITS}", err=True)
    for line in first_of(problems):
        echo(f"  {line}", err=True)


def _warn_of_crossing(manifest: Manifest) -> None:
    problems = crossing_problems(manifest)
    if not problems:
        return
    echo(
        f"warning: {len(problems)} patients are in more than one split of this set, so numbers on these splits look "
        "too good; duoscan split --ignore-splits makes others",
        err=True,
    )
    for line in first_of(problems):
        echo(f"  {line}", err=True)
