"""What a report is about: a run folder or a predictions table, read as far as anything is known of it."""

from __future__ import annotations

import csv
import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes
from duoscan.inference.bundle import BUNDLE_NAME, SUFFIX, BundleInfo, read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.crossing import crossing_problems, splits_of_units
from duoscan.manifest.table import read_manifest
from duoscan.predictions import read_predictions
from duoscan.rows import csv_rows
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duoscan.audit.ledger import Book, Count
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

OnImage = Callable[[int], None]
"""Called after each answered image with how many there are."""

BookAt = Callable[[Path], "Book"]
"""Gives the ledger of a manifest or a table."""

_PREDICTIONS = "predictions-test.csv"
_FOLD = re.compile(r"fold-(\d+)")


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
    """

    name: str
    info: BundleInfo
    learnings: tuple[Learning, ...]


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


@dataclass(frozen=True)
class Subject:
    """One run or table to report on.

    Attributes:
        name: How the report calls it; unique within a report.
        modality: ``None`` where rows name none or several.
        predictions: The rows that are evaluated.
        files: Where each row's image lies, ``None`` where unknown; as long as ``predictions``.
        split: Which part the rows are; ``None`` where they are not split.
        threshold: Operating point; ``None`` where the rows bring their own decisions.
        threshold_origin: Where it comes from.
        study_threshold: Operating point for patients; ``None`` where none is known but that of images.
        command: The command that prints the same numbers.
        fingerprint: SHA-256 of the evaluated data.
        making: ``None`` for a table.
        records: Every record of the run, for counts and samples; ``None`` for a table.
        is_external: Whether the images come from another manifest than the run's own.
        faults: Why the numbers are too good, one sentence each: patients on both sides, or rows that were chosen on.
        count: How often the test rows were looked at, this time included; ``None`` where that was not counted.
    """

    name: str
    modality: Modality | None
    predictions: tuple[Prediction, ...]
    files: tuple[Path | None, ...]
    split: Split | None
    threshold: float | None
    threshold_origin: str
    command: str
    fingerprint: str
    making: Making | None = None
    records: Manifest | None = None
    is_external: bool = False
    faults: tuple[str, ...] = ()
    study_threshold: float | None = None
    count: Count | None = None


def read_subjects(
    targets: Sequence[Path],
    manifest: Path | None,
    seed: int,
    on_image: OnImage = lambda _total: None,
    book_at: BookAt | None = None,
) -> list[Subject]:
    """Read every target; a run answers its test images on the way.

    Args:
        targets: Run folders, cross-validation folders or predictions tables.
        manifest: Images that the runs shall answer in place of their own test images.
        seed: Goes into the command that each subject names.
        on_image: Called after each answered image.
        book_at: Where looks at the test rows of a manifest or a table are counted; ``None`` counts none. Answers that
            a run holds already were counted by the command that wrote them.

    Raises:
        InputError: A target is no finished run and no table, has no test rows, or they are not the ones locked.
        BundleError: A run's bundle is damaged.
        PredictionsError: A table is wrong.
    """
    subjects = [_read(target, manifest, seed, on_image, book_at) for target in targets]
    names = [subject.name for subject in subjects]
    return [
        replace(subject, name=str(target)) if names.count(subject.name) > 1 else subject
        for subject, target in zip(subjects, targets, strict=True)
    ]


def _read(target: Path, manifest: Path | None, seed: int, on_image: OnImage, book_at: BookAt | None) -> Subject:
    if not target.exists():
        raise InputError(f"{target}: no such run folder or predictions table; correct the path")
    if target.suffix == SUFFIX:
        raise InputError(
            f"{target}: a bundle without its run; name the run folder, or predictions of 'duoscan predict'"
        )
    if target.is_file():
        return _read_table(target, seed, book_at)
    if (target / BUNDLE_NAME).exists():
        return _read_run(target, manifest, seed, on_image, book_at)
    if (target / _PREDICTIONS).exists():
        return _read_folds(target, manifest, seed)
    if (target / "run.json").exists():
        raise InputError(f"{target}: the run is not finished; repeat its 'duoscan train' command, which takes it up")
    raise InputError(f"{target}: holds neither {BUNDLE_NAME} nor {_PREDICTIONS}; name a run folder of 'duoscan train'")


def _read_table(table: Path, seed: int, book_at: BookAt | None) -> Subject:
    rows = read_predictions(table)
    split = _test_part({row.split for row in rows}, table)
    taken = [row for row in rows if split in {None, row.split}]
    fingerprint, count = hashlib.sha256(table.read_bytes()).hexdigest(), None
    if book_at is not None and split is Split.TEST:
        kinds = " and ".join(sorted({row.modality or "unknown" for row in taken}))
        count = book_at(table).count_rows(taken, fingerprint, f"table {kinds}")
    return Subject(
        name=table.stem,
        modality=_only_modality(taken),
        predictions=tuple(taken),
        files=(None,) * len(taken),
        split=split,
        threshold=None,
        threshold_origin="",
        command=_command(table, None, split, seed),
        fingerprint=fingerprint,
        faults=(*_row_crossings(rows), *_chosen_on(split)),
        count=count,
    )


def _read_run(run: Path, manifest: Path | None, seed: int, on_image: OnImage, book_at: BookAt | None) -> Subject:
    bundle = read_bundle(run / BUNDLE_NAME)
    own = _records(run / "manifest.csv")
    asked = own if manifest is None else _records(manifest).where(modality=bundle.info.modality)
    split = _test_part({record.split for record in asked}, manifest or run / "manifest.csv")
    tested = asked if split is None else asked.where(split=split)
    faults = [*_crossings(own), *(_seen_patients(own, tested) if manifest else ()), *_chosen_on(split)]
    count = None
    if manifest is None and (run / _PREDICTIONS).exists():
        rows = read_predictions(run / _PREDICTIONS)
        files, threshold, origin = _files_of(rows, tested), None, ""
        command = _command(run / _PREDICTIONS, None, None, seed)
    else:
        rows = _answer(bundle, tested, on_image, manifest or run / "manifest.csv")
        files = tuple(tested.file(record) for record in tested)
        threshold, origin = bundle.info.threshold, "bundle"
        if book_at is not None and split is Split.TEST:
            book = book_at(manifest or run / "manifest.csv")
            count = book.count_images(tested, bundle.digest, bundle.info.modality)
        command = _command(run, manifest or run / "manifest.csv", split, seed)
    return Subject(
        name=run.resolve().name,
        modality=bundle.info.modality,
        predictions=tuple(rows),
        files=files,
        split=split,
        threshold=threshold,
        threshold_origin=origin,
        command=command,
        fingerprint=tested.fingerprint(),
        making=_making(run, [run]),
        records=own,
        study_threshold=None if threshold is None else bundle.info.study_threshold,
        is_external=manifest is not None,
        faults=tuple(faults),
        count=count,
    )


def _read_folds(run: Path, manifest: Path | None, seed: int) -> Subject:
    """A cross-validation: every image answered once, by a fold that never saw its patient."""
    if manifest is not None:
        raise InputError(f"{run}: a cross-validation has no single model to answer {manifest}; leave --manifest out")
    folds = sorted(
        (path for path in run.iterdir() if _FOLD.fullmatch(path.name) and (path / BUNDLE_NAME).exists()),
        key=lambda path: int(path.name.removeprefix("fold-")),
    )
    if not folds:
        raise InputError(f"{run}: no finished fold is there, only {_PREDICTIONS}; name that table instead")
    manifests = [_records(fold / "manifest.csv") for fold in folds]
    tested = [fold.where(split=Split.TEST) for fold in manifests]
    rows = read_predictions(run / _PREDICTIONS)
    pooled = [(part.file(record), record) for part in tested for record in part]
    making = _making(run, folds)
    return Subject(
        name=run.resolve().name,
        modality=making.info.modality,
        predictions=tuple(rows),
        files=_same_order(rows, [file for file, _ in pooled]),
        split=Split.TEST,
        threshold=None,
        threshold_origin="",
        command=_command(run / _PREDICTIONS, None, None, seed),
        fingerprint=manifests[0].replace([record for _, record in pooled]).fingerprint(),
        making=making,
        records=manifests[0],
        faults=tuple(dict.fromkeys(line for fold in manifests for line in _crossings(fold))),
    )


def _records(path: Path) -> Manifest:
    """Images need not be there yet, and crossing patients are reported on, not refused."""
    return read_manifest(path, check_files=False, check_patients=False)


def _answer(bundle: Bundle, tested: Manifest, on_image: OnImage, origin: Path) -> list[Prediction]:
    missing = [record.path for record in tested if not tested.file(record).is_file()]
    if missing:
        raise InputError(
            f"{origin}: {len(missing)} of {len(tested)} images to be answered are not there, e.g. {missing[0]}; "
            "put them back, or name a manifest of images that are there with --manifest"
        )
    rows = predict_manifest(bundle, tested, on_image=lambda: on_image(len(tested)))
    if rows and all(row.probability is None for row in rows):
        raise InputError(f"{origin}: none of {len(rows)} images can be answered, e.g. {rows[0].path}: {rows[0].reason}")
    return rows


def _making(run: Path, folders: Sequence[Path]) -> Making:
    parts = []
    for folder in folders:
        info = read_bundle(folder / BUNDLE_NAME).info
        parts.append(Part("model" if folder == run else folder.name, info, tuple(_learnings(folder, info))))
    environment = folders[0] / "environment.json"
    try:
        stated = dict(parse_json(_text(environment) or "{}"))
    except (ValueError, TypeError) as error:
        raise InputError(f"{environment}: not as 'duoscan train' writes it ({error}); put it back") from error
    command = stated.pop("command", "")
    return Making(tuple(parts), _text(folders[0] / "recipe.toml"), stated, command)


def _learnings(run: Path, info: BundleInfo) -> Iterator[Learning]:
    """The first member's history lies in the run itself, those of further ones in folders of their own."""
    members = sorted(run.glob("member-*"), key=lambda path: int(path.name.removeprefix("member-")))
    for number, folder in enumerate([run, *members], start=1):
        try:
            names, *lines = [line for line in csv_rows(_text(folder / "history.csv"), ",") if line] or [[]]
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


def _test_part(present: set[Split | None], where: Path) -> Split | None:
    """As ``duoscan evaluate`` chooses: the only part there is, else ``test``.

    Raises:
        InputError: Several parts, none of them ``test``.
    """
    if len(present) <= 1:
        return next(iter(present), None)
    if Split.TEST not in present:
        found = ", ".join(sorted(split or "no split" for split in present))
        raise InputError(f"{where}: no row is of the test part (found: {found}); name test images with --manifest")
    return Split.TEST


def _crossings(manifest: Manifest) -> list[str]:
    crossing = crossing_problems(manifest)
    if not crossing:
        return []
    return [f"{len(crossing)} patients are in more than one part, e.g. {crossing[0]}."]


def _row_crossings(rows: Iterable[Prediction]) -> list[str]:
    """The same for a table, as far as its rows name patient and part."""
    parts: dict[str, set[Split]] = {}
    for row in rows:
        if row.patient_id is not None and row.split is not None:
            parts.setdefault(row.patient_id, set()).add(row.split)
    crossing = sum(len(splits) > 1 for splits in parts.values())
    return [f"{crossing} patients are in more than one part of the table."] if crossing else []


def _chosen_on(split: Split | None) -> list[str]:
    if split is not Split.VAL:
        return []
    return ["The measured rows are of the validation part, on which epoch and threshold are chosen."]


def _seen_patients(own: Manifest, tested: Manifest) -> list[str]:
    """Whether patients of another manifest took part in training; ids of two places may be alike by chance."""
    used = {unit for unit, splits in splits_of_units(own).items() if splits & {Split.TRAIN, Split.VAL}}
    seen = {record.unit for record in tested if record.patient_id} & used
    if not seen:
        return []
    return [f"{len(seen)} of the tested patient ids are also in the run's training or validation part."]


def _files_of(rows: Sequence[Prediction], tested: Manifest) -> tuple[Path | None, ...]:
    by_path = {record.path: tested.file(record) for record in tested}
    if all(row.path in by_path for row in rows):
        return tuple(by_path[row.path] for row in rows)
    return _same_order(rows, [tested.file(record) for record in tested])


def _same_order(rows: Sequence[Prediction], files: Sequence[Path]) -> tuple[Path | None, ...]:
    """Files of rows whose paths are relative to another folder: the same names in the same order."""
    if [Path(row.path).name for row in rows] == [file.name for file in files]:
        return tuple(files)
    return (None,) * len(rows)


def _only_modality(rows: Iterable[Prediction]) -> Modality | None:
    kinds = {row.modality for row in rows}
    return kinds.pop() if len(kinds) == 1 else None


def _command(target: Path, manifest: Path | None, split: Split | None, seed: int) -> str:
    words = ["duoscan", "evaluate", str(target)]
    words += [str(manifest)] if manifest else []
    words += ["--split", split] if split else []
    return shlex.join([*words, "--seed", str(seed)])


def records_by_patient(subjects: Iterable[Subject]) -> dict[str, list[ImageRecord]]:
    """Every record of every subject that names a patient."""
    found: dict[str, list[ImageRecord]] = {}
    for subject in subjects:
        for record in subject.records or ():
            if record.patient_id is not None:
                found.setdefault(record.patient_id, []).append(record)
    return found
