"""Every reader of files from elsewhere; it answers or raises an ``InputError``, nothing else."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.gate import judge
from duoscan.audit.ledger import read_uses
from duoscan.audit.storage import (
    MANIFEST_NAME,
    RESULTS_NAME,
    VERDICT_NAME,
    Audited,
    read_audit,
    read_shortcuts,
    write_audit,
)
from duoscan.cases.decide import decide_again
from duoscan.cases.find import collect, read_need_ct
from duoscan.cases.stored import read_maps, read_screening, screening_text
from duoscan.formats.dicom.directory import listed_files
from duoscan.formats.dicom.header import read_dicom_header
from duoscan.formats.frame_names import frame_path
from duoscan.formats.nifti import nifti_planes
from duoscan.formats.raster import read_raster
from duoscan.formats.reader import read_image
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.lungs import read_lung_mask
from duoscan.imaging.preprocess import preprocess
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.graph_folding import folded
from duoscan.inference.predictor import Predictor
from duoscan.manifest.patient_rules import read_patient_table
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest
from duoscan.policies.policy import parse_policy, read_policy
from duoscan.predictions import read_predictions
from duoscan.privacy.confidentiality import Options
from duoscan.privacy.deidentify import Deidentifier
from duoscan.privacy.pseudonyms import read_key
from duoscan.report.flow import read_flow
from duoscan.terms import Modality
from duoscan.training.recipe import read_recipe
from duoscan.worklist.config import read_config
from fuzz import archives, seeds
from fuzz.mutations import mutate_binary, mutate_dicom, mutate_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

CONTRACTS = {modality: PreprocessingContract(modality=modality, height=32, width=32) for modality in Modality}


@dataclass(frozen=True)
class Target:
    """One reader.

    Attributes:
        name: For reports.
        file: Name of the file that it reads, which may decide how.
        seeds: Valid files; gets an empty folder for scratch.
        read: The file's path → anything.
        mutate: Makes another file of one of them.
        beside: Other files that the reader needs; made once in the file's folder.
        weight: Share of the inputs, relative to the other targets.
    """

    name: str
    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    mutate: Callable[[Random, bytes], bytes] = mutate_binary
    beside: Callable[[Path], object] = field(default=lambda _folder: None)
    weight: float = 1.0


def _decided_again(path: Path) -> None:
    screening_text(decide_again(read_screening(path), need_ct=True))


def _answer_image(path: Path) -> None:
    pixels = read_image(path)
    preprocess(pixels, CONTRACTS[pixels.modality or Modality.CXR])


def _answer_frame(path: Path) -> None:
    read_dicom_header(path)
    _answer_image(frame_path(path, 2))


def _answer_volume(path: Path) -> None:
    nifti_planes(path)
    _answer_image(frame_path(path, 1))


def _collect_zip(path: Path) -> None:
    """As a batch does: members become images or refusals, never errors."""
    folder = path.parent / "unpacked"
    for found in collect([path], unpack_into=folder):
        if not found.refusal:
            found.path.read_bytes()
    shutil.rmtree(folder, ignore_errors=True)
    if escaped := [one.name for one in path.parent.iterdir() if one != path]:
        raise AssertionError(escaped)


def _image_beside(folder: Path) -> None:
    (folder / "IMAGES").mkdir(exist_ok=True)
    (folder / "IMAGES" / "A1").write_bytes(seeds.dicom())


def _read_node(path: Path) -> None:
    read_config(path, {})


def _deidentify(path: Path) -> None:
    Deidentifier(b"k" * 32, path.parent / "out", options=Options(), refuse_text=False).deidentify(path)


def _read_bundle(path: Path) -> None:
    bundle = read_bundle(path)
    if bundle.info.policy is not None:
        parse_policy(bundle.info.policy, str(path))


def _read_info(path: Path) -> None:
    """``bundle.json`` under a right seal, as an attacker writes it."""
    seeds.write_sealed(path.with_suffix(".duoscan"), path.read_bytes(), seeds.graphs()[0])
    _read_bundle(path.with_suffix(".duoscan"))


def _run_graph(path: Path) -> None:
    """A graph under a right seal, run once."""
    bundle = write_bundle(path.with_suffix(".duoscan"), seeds.info(), path.read_bytes())
    Predictor(read_bundle(bundle.path)).answer(np.zeros((1, 1, 32, 32), np.float32))


def _fold_graph(path: Path) -> None:
    """A graph read and its constants worked out, without the runtime."""
    folded(path.read_bytes(), path)


def _read_manifest(path: Path) -> None:
    read_manifest(path, check_files=False)


def _read_audit(path: Path) -> None:
    read_audit(path.parent)


def _read_key(path: Path) -> None:
    path.chmod(0o600)
    read_key(path)


def _write_audit(folder: Path) -> None:
    result = seeds.audit_result()
    manifest = Manifest(folder, (ImageRecord(path="a.png", modality=Modality.CXR),))
    write_audit(Audited({Modality.CXR: (result,)}, {Modality.CXR: judge([result])}, manifest, "command"), folder)


def _audit_results(folder: Path) -> list[bytes]:
    _write_audit(folder)
    return [(folder / RESULTS_NAME).read_bytes()]


def _audit_manifest(folder: Path) -> list[bytes]:
    _write_audit(folder)
    return [(folder / MANIFEST_NAME).read_bytes()]


TARGETS = (
    Target("picture", "x.png", lambda _: seeds.pictures(), _answer_image, weight=3),
    Target("picture, reduced", "x.jpg", lambda _: seeds.pictures(), lambda path: read_raster(path, at_least_px=32)),
    Target("lung mask", "m.png", lambda _: seeds.pictures(), lambda path: read_lung_mask(path, (48, 64))),
    Target("DICOM header", "x.dcm", lambda _: seeds.any_dicom(), read_dicom_header, mutate_dicom, weight=2),
    Target("DICOM", "x.dcm", lambda _: seeds.plain_dicom(), _answer_image, mutate_dicom, weight=4),
    Target("DICOM, compressed", "x.dcm", lambda _: seeds.compressed_dicom(), _answer_image, mutate_dicom, weight=4),
    Target("de-identification", "x.dcm", lambda _: seeds.any_dicom(), _deidentify, mutate_dicom, weight=0.5),
    Target("DICOM frame", "x.dcm", lambda _: seeds.frames(), _answer_frame, mutate_dicom, weight=2),
    Target("zip", "x.zip", lambda _: seeds.zips(), _collect_zip, weight=0.7),
    Target("DICOMDIR", "DICOMDIR", lambda _: seeds.dicomdirs(), listed_files, mutate_dicom, _image_beside),
    Target("NIfTI", "x.nii", seeds.volumes, _answer_volume),
    Target("NIfTI, packed", "x.nii.gz", seeds.packed_volumes, _answer_volume),
    Target("node settings", "n.toml", lambda _: seeds.node_settings(), _read_node, mutate_text),
    Target("manifest, CSV", "m.csv", lambda _: seeds.tables(), _read_manifest, mutate_text),
    Target("manifest, Parquet", "m.parquet", seeds.parquet_tables, _read_manifest),
    Target("predictions, CSV", "p.csv", lambda _: seeds.tables(), read_predictions, mutate_text),
    Target("predictions, Parquet", "p.parquet", seeds.parquet_tables, read_predictions),
    Target("patients", "p.csv", lambda _: seeds.tables(), read_patient_table, mutate_text),
    Target("wishes for CT", "n.csv", lambda _: seeds.tables(), read_need_ct, mutate_text),
    Target("bundle", "b.duoscan", seeds.bundles, _read_bundle),
    Target("bundle.json", "b.json", lambda _: seeds.infos(), _read_info, mutate_text),
    Target("ONNX graph", "g.onnx", lambda _: seeds.graphs(), _run_graph),
    Target("ONNX graph, guard", "g.onnx", lambda _: seeds.graphs(), _fold_graph, weight=2),
    Target("policy", "p.toml", lambda _: seeds.policies(), read_policy, mutate_text),
    Target("recipe", "r.toml", lambda _: seeds.recipes(), lambda path: read_recipe(str(path)), mutate_text),
    Target("audit results", RESULTS_NAME, _audit_results, _read_audit, mutate_text, _write_audit),
    Target("audit manifest", MANIFEST_NAME, _audit_manifest, _read_audit, mutate_text, _write_audit),
    Target("verdict", VERDICT_NAME, lambda _: seeds.verdicts(), _read_audit, mutate_text, _write_audit),
    Target("shortcuts", "s.json", lambda _: seeds.shortcuts(), read_shortcuts, mutate_text),
    Target("ledger", "u.jsonl", lambda _: seeds.ledgers(), read_uses, mutate_text),
    Target("screening answers", "a.json", lambda _: seeds.answers(), lambda path: read_flow(path, {}, 0), mutate_text),
    Target("stored case", "a.json", lambda _: seeds.answers(), _decided_again, mutate_text),
    Target("activation maps", "m.npz", seeds.maps, read_maps),
    Target("DICOMweb, QIDO", "q.http", lambda _: archives.listings(), archives.read_listing),
    Target("DICOMweb, WADO", "w.http", lambda _: archives.studies(), archives.read_study),
    Target(
        "DICOMweb, STOW",
        "s.http",
        lambda _: archives.confirmations(),
        archives.read_confirmation,
        mutate_binary,
        _image_beside,
    ),
    Target("PDUs", "p.pdu", archives.conversations, archives.read_pdus),
    Target("key", "k.key", seeds.keys, _read_key, mutate_text, weight=0.5),
)
"""Names are unique."""
