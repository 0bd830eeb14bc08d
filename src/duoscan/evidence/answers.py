"""A model's answers on audited rows: from a bundle, which answers them now, or from a predictions table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duoscan.audit.measured import measured_of, seen_patients
from duoscan.errors import InputError
from duoscan.evaluation.evaluate import evaluate
from duoscan.inference.bundle import read_bundle
from duoscan.inference.predictor import predict_manifest
from duoscan.manifest.table import read_manifest
from duoscan.predictions import read_predictions
from duoscan.terms import Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.audit.gate import Measured
    from duoscan.audit.ledger import Book
    from duoscan.audit.run import Watcher
    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.inference.bundle import Bundle
    from duoscan.manifest.records import Manifest
    from duoscan.predictions import Prediction
    from duoscan.terms import Modality

_RUN_MANIFEST = "manifest.csv"
_MADE_WITH = {Split.TRAIN, Split.VAL}


@dataclass(frozen=True)
class Answers:
    """A model's answers on the audited manifest.

    Attributes:
        modality: Of the model.
        rows: Its answers on the validation and test parts, or on all rows where there is no test part.
        evaluation: Of the test rows.
        measured: What the gate asks of it.
        bundle: ``None`` for a table.
        tested: The rows of the manifest that a bundle is measured on; ``None`` for a table.
    """

    modality: Modality
    rows: Sequence[Prediction]
    evaluation: Evaluation
    measured: Measured
    bundle: Bundle | None = None
    tested: Manifest | None = None


def answer_by_model(manifest: Manifest, run: Path, book: Book, watcher: Watcher, *, seed: int = 0) -> Answers:
    """Let a model answer the validation and test rows of a manifest and measure it on test.

    Args:
        manifest: Rows of any modality; those of the model are taken.
        run: Run folder or bundle.
        book: The use is written into it, before anything is answered.
        watcher: Progress callbacks.
        seed: Of the resamples.

    Raises:
        BundleError: The bundle is damaged.
        InputError: No row is of the model's modality, or the test set is not the one that is locked.
    """
    bundle = read_bundle(run)
    table = manifest.where(modality=bundle.info.modality)
    has_test = any(record.split is Split.TEST for record in table)
    tested = table.where(split=Split.TEST) if has_test else table
    if not len(tested):
        raise InputError(f"the manifest holds no {bundle.info.modality.spoken} image for this model to answer")
    count = book.count_images(tested, bundle.digest, kind_of(bundle.info.modality, has_test=has_test))
    asked = table.replace([*table.where(split=Split.VAL), *tested]) if has_test else table
    watcher.on_stage("answering images", len(asked))
    rows = predict_manifest(bundle, asked, on_image=watcher.on_image)
    measured_rows = [row for row in rows if row.split is Split.TEST] if has_test else rows
    evaluation = evaluate(measured_rows, threshold=bundle.info.threshold, threshold_origin="bundle", seed=seed)
    sources, faults = {key.rpartition("/")[0] for key in bundle.info.provenance.data_summary}, []
    if run.is_dir() and (run / _RUN_MANIFEST).exists():
        trained = read_manifest(run / _RUN_MANIFEST, check_files=False, check_patients=False)
        sources |= {record.source for record in trained if record.split in _MADE_WITH}
        faults = seen_patients(trained, tested)
    measured = measured_of(
        evaluation,
        measured_rows,
        name=bundle.info.name,
        trained_sources=sources or None,
        model=bundle.digest,
        count=count,
        faults=faults,
    )
    return Answers(bundle.info.modality, rows, evaluation, measured, bundle, tested)


def answer_by_table(manifest: Manifest, path: Path, book: Book, *, seed: int = 0) -> Answers:
    """Measure the test rows of a predictions table; the manifest's training part stands for what made its model.

    Args:
        manifest: The audited rows.
        path: The table.
        book: The use is written into it.
        seed: Of the resamples.

    Raises:
        PredictionsError: The table is wrong, or nothing in it can be measured.
        InputError: Rows and manifest are not of one modality, or the test set is not the one that is locked.
    """
    rows = read_predictions(path)
    kinds = {row.modality for row in rows} | {record.modality for record in manifest}
    named = sorted(kind for kind in kinds if kind is not None)
    if len(named) != 1:
        raise InputError(f"{path}: rows and manifest are of {' and '.join(named) or 'no modality'}; name --modality")
    has_test = any(row.split is Split.TEST for row in rows)
    measured_rows = [row for row in rows if row.split is Split.TEST] if has_test else rows
    model = hashlib.sha256(path.read_bytes()).hexdigest()
    count = book.count_rows(measured_rows, model, f"table {kind_of(named[0], has_test=has_test)}")
    evaluation = evaluate(measured_rows, seed=seed)
    measured = measured_of(
        evaluation,
        measured_rows,
        name=path.stem,
        trained_sources={one.source for one in manifest if one.split in _MADE_WITH} or None,
        model=model,
        count=count,
    )
    return Answers(named[0], rows, evaluation, measured)


def kind_of(modality: Modality, *, has_test: bool) -> str:
    """Which test set of a manifest it is, for the ledger."""
    return modality.value if has_test else f"{modality.value}, not split"
