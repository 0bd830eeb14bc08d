"""One subject: a run, a bundle or a table on named rows, as every command that measures reads it."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.errors import InputError, PredictionsError
from duoscan.evaluation.prior_shift import Fitted
from duoscan.evidence.faults import faults_of, trained_sources
from duoscan.evidence.making import Making, bare_making, read_making
from duoscan.formats.frame_names import split_frame
from duoscan.inference.bundle import SUFFIX, read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.table import read_manifest
from duoscan.predictions import read_predictions
from duoscan.run_files import BUNDLE_NAME, MANIFEST, MARKER, TEST_PREDICTIONS
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duoscan.audit.ledger import Book, Count, Look
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

BookAt = Callable[[Path], "Book"]
"""Gives the ledger of a manifest or a table."""

ALL_SPLITS = "all"
NO_SPLIT = "not stated"

_FOLD = re.compile(r"fold-(\d+)")


@dataclass(frozen=True)
class Ask:
    """What a command asks of its targets.

    Attributes:
        images: Images that models shall answer; ``None`` takes the test images of their own runs.
        path: Where ``images`` were read from.
        beside: Images answered beside the measured ones, which count as validation rows.
        trained: What the model of a table was made with, where that is known.
        part: Rows to measure: a split, or ``all``; ``None`` takes ``test`` where there are several.
        modality: Rows to take; rows of a table that name none are taken to be of it.
        threshold: Operating point; ``None`` takes the model's, or what the table itself decides.
        seed: Goes into the command that a subject names.
        book_at: Where looks at the test rows of a manifest or a table are counted; ``None`` counts none.
        on_stage: Called before a model answers, with what it answers and how many images.
        on_image: Called after each image.
    """

    images: Manifest | None = None
    path: Path = Path(MANIFEST)
    beside: Manifest | None = None
    trained: Manifest | None = None
    part: str | None = None
    modality: Modality | None = None
    threshold: float | None = None
    seed: int = 0
    book_at: BookAt | None = None
    on_stage: Callable[[str, int], None] = lambda _name, _images: None
    on_image: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Subject:
    """A run, a bundle or a table, and the rows it is measured on.

    Attributes:
        name: How it is called; unique within a report.
        modality: ``None`` where rows name none or several.
        predictions: The rows that are measured.
        files: Where each row's image lies, ``None`` where unknown; as long as ``predictions``.
        split: Which part the rows are; ``None`` where they are not split, or of several.
        threshold: Operating point; ``None`` where the rows bring their own decisions.
        threshold_origin: Where it comes from.
        command: The command that prints the same numbers.
        fingerprint: SHA-256 of the measured data.
        beside: Answered rows that are not measured, those that calibrate among them.
        bundle: The model in memory; ``None`` for a table and for several folds.
        tested: The rows of the manifest that the model is measured on; ``None`` for a table.
        making: ``None`` for a table.
        records: Every record of the run, for counts and samples; ``None`` where there is no run.
        trained_sources: Sources of the images the model was made with; ``None`` where unknown.
        fitted: The rows whose prevalence P(covid) has; ``None`` where unknown.
        is_external: Whether the images come from another manifest than the run's own.
        faults: Why the numbers are too good, one sentence each.
        study_threshold: Operating point for patients; ``None`` where none is known but that of images.
        look: The use of the test set that measuring these rows is; ``None`` where it is none.
        count: How often the rows were looked at, this time included; ``None`` before they are measured.
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
    beside: tuple[Prediction, ...] = ()
    bundle: Bundle | None = field(default=None, repr=False)
    tested: Manifest | None = None
    making: Making | None = None
    records: Manifest | None = None
    trained_sources: frozenset[str] | None = None
    fitted: Fitted | None = None
    is_external: bool = False
    faults: tuple[str, ...] = ()
    study_threshold: float | None = None
    look: Look | None = None
    count: Count | None = None

    @property
    def rows(self) -> tuple[Prediction, ...]:
        """Every answered row."""
        return (*self.beside, *self.predictions)

    @property
    def part(self) -> str:
        """Which part the measured rows are, in words."""
        rows: Iterable[ImageRecord | Prediction] = self.predictions if self.tested is None else self.tested
        return self.split or (ALL_SPLITS if any(row.split for row in rows) else NO_SPLIT)

    @property
    def is_test(self) -> bool:
        """Whether to measure the rows is to use a test set: they are the test part, or not split."""
        return self.part in {Split.TEST, NO_SPLIT}

    @property
    def called(self) -> str:
        """The model's own name; of a table, the file's."""
        return self.making.info.name if self.making else self.name

    @property
    def model(self) -> str:
        """SHA-256 of the graph; of a table, the file's own."""
        return self.making.info.graph_sha256 if self.making else self.fingerprint

    @property
    def digest(self) -> str:
        """SHA-256 of the graph; empty for a table."""
        return self.bundle.digest if self.bundle else ""

    @property
    def study_digest(self) -> str:
        """SHA-256 of the graph and of how a study's images are joined; empty for a table."""
        return self.bundle.study_digest if self.bundle else ""


def read_subjects(targets: Sequence[Path], ask: Ask | None = None) -> list[Subject]:
    """Read every target, each under a name of its own; see :func:`read_subject`."""
    subjects = [read_subject(target, ask) for target in targets]
    names = [subject.name for subject in subjects]
    return [
        replace(subject, name=str(target)) if names.count(subject.name) > 1 else subject
        for subject, target in zip(subjects, targets, strict=True)
    ]


def read_subject(target: Path, ask: Ask | None = None) -> Subject:
    """Read one target; a model answers its images on the way. Nothing is counted before the rows are measured.

    Args:
        target: Run folder, bundle, cross-validation folder or predictions table.
        ask: What is asked of it.

    Raises:
        InputError: The target is no finished run and no table, has no row of the part asked for, or its test rows are
            not the ones that are locked.
        BundleError: The bundle is damaged.
        PredictionsError: The table is wrong.
    """
    ask = ask or Ask()
    if not target.exists():
        raise InputError(f"{target}: no such run folder or predictions table; correct the path")
    if is_model(target) and (target.is_file() or (target / BUNDLE_NAME).exists()):
        return _read_model(target, ask)
    if target.is_file():
        return _read_table(target, ask)
    if (target / TEST_PREDICTIONS).exists():
        return _read_folds(target, ask)
    if (target / MARKER).exists():
        raise InputError(f"{target}: the run is not finished; repeat its 'duoscan train' command, which takes it up")
    raise InputError(
        f"{target}: holds neither {BUNDLE_NAME} nor {TEST_PREDICTIONS}; name a run folder of 'duoscan train'"
    )


def is_model(target: Path) -> bool:
    """Whether it is a run folder or a bundle, which answers images, and no table."""
    return target.is_dir() or target.suffix == SUFFIX


def _read_table(table: Path, ask: Ask) -> Subject:
    stated = [replace(row, modality=row.modality or ask.modality) for row in read_predictions(table)]
    rows = [row for row in stated if ask.modality in {None, row.modality}]
    if stated and not rows and ask.modality:
        raise PredictionsError(f"{table}: none of {len(stated)} rows is of {ask.modality.spoken}; give another table")
    split = _chosen_part({row.split for row in rows}, ask.part, table)
    taken = [row for row in rows if split in {None, row.split}]
    fingerprint = hashlib.sha256(table.read_bytes()).hexdigest()
    subject = Subject(
        name=table.stem,
        modality=_only_modality(taken),
        predictions=tuple(taken),
        files=(None,) * len(taken),
        split=split,
        threshold=ask.threshold,
        threshold_origin="given" if ask.threshold is not None else "",
        command=_command(table, None, split, ask.seed),
        fingerprint=fingerprint,
        beside=tuple(row for row in rows if split not in {None, row.split}),
        trained_sources=trained_sources(ask.trained or rows),
        fitted=Fitted.on(rows, f"the labelled validation rows of {table.name}"),
        faults=faults_of(taken, rows, ask.trained),
    )
    kinds = " and ".join(sorted({row.modality or "unknown" for row in taken}))
    if ask.book_at is None or not subject.is_test:
        return subject
    look = ask.book_at(table).look_at_rows(taken, fingerprint, f"table {kinds}", locks=split is Split.TEST)
    return replace(subject, look=look)


def _read_model(target: Path, ask: Ask) -> Subject:
    bundle = read_bundle(target)
    kind = bundle.info.modality
    if ask.modality not in {None, kind}:
        raise InputError(
            f"{target} answers {kind.spoken}; here a {ask.modality and ask.modality.spoken} model is needed"
        )
    own = _records(target / MANIFEST) if (target / MANIFEST).exists() else None
    images, path = (own, target / MANIFEST) if ask.images is None else (ask.images, ask.path)
    if images is None:
        raise InputError(
            f"{target}: a bundle without its run; name the run folder, or predictions of 'duoscan predict'"
        )
    table = images.where(modality=kind)
    if not len(table):
        raise InputError(f"{path}: holds no {kind.spoken} image for this model to answer; name another manifest")
    split = _chosen_part({record.split for record in table}, ask.part, path)
    tested = table if split is None else table.where(split=split)
    sources = {key.rpartition("/")[0] for key in bundle.info.provenance.data_summary}
    sources |= trained_sources(own or ()) or set()
    subject = Subject(
        name=target.resolve().name if target.is_dir() else bundle.info.name,
        modality=kind,
        predictions=(),
        files=(),
        split=split,
        threshold=None,
        threshold_origin="",
        command=_command(target, path, split, ask.seed),
        fingerprint=tested.fingerprint(),
        bundle=bundle,
        tested=tested,
        making=read_making(target, [target]) if target.is_dir() else bare_making(bundle),
        records=own,
        trained_sources=frozenset(sources) or None,
        fitted=Fitted.on(table, f"the labelled validation rows of {path.name}")
        if own is None
        else Fitted.on(own.where(modality=kind), "the run's labelled validation rows"),
        is_external=ask.images is not None,
        faults=faults_of(tuple(tested), own, None if ask.images is None else own),
    )
    if ask.images is None and (target / TEST_PREDICTIONS).exists():
        return _with_stored(subject, target / TEST_PREDICTIONS, tested, ask.seed)
    return _with_answers(subject, bundle, tested, path, ask)


def _with_stored(subject: Subject, table: Path, tested: Manifest, seed: int) -> Subject:
    """Answers that the run holds already; the command that wrote them counted them."""
    rows = read_predictions(table)
    command = _command(table, None, None, seed)
    return replace(subject, predictions=tuple(rows), files=_files_of(rows, tested), command=command)


def _with_answers(subject: Subject, bundle: Bundle, tested: Manifest, path: Path, ask: Ask) -> Subject:
    missing = [record.path for record in tested if not split_frame(tested.file(record))[0].is_file()]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(tested)} images to be answered are not there, e.g. {missing[0]}; "
            "put them back, or name a manifest of images that are there with --manifest"
        )
    look = None
    if ask.book_at is not None and subject.is_test:
        is_locked = subject.split is Split.TEST
        look = ask.book_at(path).look_at_images(tested, bundle.digest, bundle.info.modality, locks=is_locked)
    beside: list[Prediction] = []
    if ask.beside is not None and subject.split is Split.TEST:
        answered = _answer(bundle, ask.beside, Split.VAL, ask)
        beside = [replace(row, split=Split.VAL) for row in answered]
    rows = _answer(bundle, tested, subject.part, ask)
    if rows and all(row.probability is None for row in rows):
        raise InputError(f"{path}: none of {len(rows)} images can be answered, e.g. {rows[0].path}: {rows[0].reason}")
    is_given = ask.threshold is not None
    return replace(
        subject,
        predictions=tuple(rows),
        files=tuple(tested.file(record) for record in tested),
        beside=tuple(beside),
        threshold=ask.threshold if is_given else bundle.info.threshold,
        threshold_origin="given" if is_given else "bundle",
        study_threshold=ask.threshold if is_given else bundle.info.study_threshold,
        look=look,
    )


def _read_folds(run: Path, ask: Ask) -> Subject:
    """A cross-validation: every image answered once, by a fold that never saw its patient."""
    if ask.images is not None:
        raise InputError(f"{run}: a cross-validation has no single model to answer {ask.path}; leave --manifest out")
    folds = sorted(
        (path for path in run.iterdir() if _FOLD.fullmatch(path.name) and (path / BUNDLE_NAME).exists()),
        key=lambda path: int(path.name.removeprefix("fold-")),
    )
    if not folds:
        raise InputError(f"{run}: no finished fold is there, only {TEST_PREDICTIONS}; name that table instead")
    manifests = [_records(fold / MANIFEST) for fold in folds]
    tested = [fold.where(split=Split.TEST) for fold in manifests]
    rows = read_predictions(run / TEST_PREDICTIONS)
    pooled = [(part.file(record), record) for part in tested for record in part]
    making = read_making(run, folds)
    return Subject(
        name=run.resolve().name,
        modality=making.info.modality,
        predictions=tuple(rows),
        files=_same_order(rows, [file for file, _ in pooled]),
        split=Split.TEST,
        threshold=None,
        threshold_origin="",
        command=_command(run / TEST_PREDICTIONS, None, None, ask.seed),
        fingerprint=manifests[0].replace([record for _, record in pooled]).fingerprint(),
        making=making,
        records=manifests[0],
        trained_sources=trained_sources(manifests[0]),
        faults=tuple(dict.fromkeys(line for fold in manifests for line in faults_of((), fold, None))),
    )


def _records(path: Path) -> Manifest:
    """Images need not be there yet, and crossing patients are reported on, not refused."""
    return read_manifest(path, check_files=False, check_patients=False)


def _answer(bundle: Bundle, images: Manifest, called: str, ask: Ask) -> list[Prediction]:
    own = images.where(modality=bundle.info.modality)
    ask.on_stage(f"answering {bundle.info.modality.spoken}, {called}", len(own))
    return predict_manifest(bundle, own, threshold=ask.threshold, on_image=ask.on_image)


def _chosen_part(present: set[Split | None], wanted: str | None, where: Path) -> Split | None:
    """The part asked for; where none is, ``test`` if the rows are of several, else the one they are of.

    Returns:
        ``None`` where all rows are taken.

    Raises:
        PredictionsError: The part is not there.
    """
    if wanted == ALL_SPLITS:
        return None
    if wanted is None and len(present) <= 1:
        return next(iter(present), None)
    chosen = Split(wanted or Split.TEST)
    if chosen not in present:
        found = ", ".join(sorted(split or "no split" for split in present)) or "none"
        raise PredictionsError(
            f"{where}: no row is of the split '{chosen}' (splits found: {found}); choose one with --split of "
            "'duoscan evaluate', or name images of a test part"
        )
    return chosen


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
