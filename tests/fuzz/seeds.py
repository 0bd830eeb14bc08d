"""Small valid files for every reader, made here or shipped with pydicom; no image is of a person under study."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from cases_by_state import screening_of
from duoscan.audit.gate import judge
from duoscan.audit.result import AuditResult, AuditTable, Level
from duoscan.cases.case import SeriesAnswer, StudyAnswer
from duoscan.cases.decide import decided
from duoscan.cases.stored import screening_text, write_maps
from duoscan.imaging.heatmap import SeenMap
from duoscan.imaging.preprocess import Box
from duoscan.inference.bundle import GRAPH_MEMBER, INFO_MEMBER, BundleInfo, write_bundle
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import write_manifest
from duoscan.policies.policy import Policy, PolicyDraft, PolicyKind, policy_toml
from duoscan.policies.rule import PhaseState
from duoscan.predictions import Prediction, write_predictions
from duoscan.privacy.pseudonyms import write_new_key
from duoscan.quiet import quiet
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision, Finding, Modality
from duoscan.training.recipe import builtin_recipes
from stand_ins import brightness_graph, brightness_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RADIOGRAPH, SLICE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.2"
LARGEST_SEED = 40_000
_PIXEL_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)
RAMP = np.arange(40 * 40, dtype=np.uint16).reshape(40, 40)


def pictures() -> list[bytes]:
    """Each raster format, grey and colour, eight bits and sixteen, some with EXIF or several frames."""
    grey = Image.fromarray((RAMP >> 3).astype(np.uint8))
    colour = grey.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        *(_saved(grey, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")),
        *(_saved(colour, kind) for kind in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")),
        *(_saved(grey, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
        _saved(Image.fromarray(RAMP), "PNG"),
        _saved(Image.fromarray(RAMP), "TIFF"),
        _saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        _saved(grey.convert("1"), "TIFF", compression="group4"),
        _saved(grey.convert("P"), "PNG"),
        _saved(colour.convert("RGBA"), "PNG"),
        _saved(colour.convert("CMYK"), "JPEG"),
        _saved(grey, "JPEG", progressive=True, exif=exif),
        _saved(grey, "GIF", save_all=True, append_images=[colour, grey]),
        _saved(grey, "TIFF", save_all=True, append_images=[colour]),
        _saved(grey, "PNG", exif=exif),
    ]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def dicom(stored: NDArray[np.generic] = RAMP, syntax: str = ExplicitVRLittleEndian, **attributes: object) -> bytes:
    """A frontal radiograph, unless attributes say otherwise; ``None`` leaves one out."""
    bits = stored.dtype.itemsize * 8
    values: dict[str, object] = {
        "SOPClassUID": RADIOGRAPH,
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2.4",
        "SeriesInstanceUID": "1.2.5",
        "PatientID": "P7",
        "PatientName": "Phantom^7",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.dtype.kind == "i"),
        "PixelData": stored.tobytes(),
    } | attributes
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    is_compressed = UID(syntax).is_encapsulated
    dataset["PixelData"].VR = "OW" if bits > 8 and not is_compressed else "OB"
    dataset["PixelData"].is_undefined_length = is_compressed
    return _written(dataset)


def _written(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    with quiet:
        dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _nested(depth: int) -> Sequence:
    item = Dataset()
    item.CodeMeaning = "frontal"
    if depth:
        item.ViewCodeSequence = _nested(depth - 1)
    return Sequence([item])


def _lut(entries: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, 0, 16])
    item.add_new("LUTData", "US", [number * 7 % 65536 for number in range(entries)])
    return Sequence([item])


def plain_dicom() -> list[bytes]:
    """Uncompressed images with windows, look-up tables, padding, private attributes and nested sequences."""
    axial = {
        "SOPClassUID": SLICE,
        "Modality": "CT",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    signed = RAMP.astype(np.int16) - 1024
    with_private = dcmread(io.BytesIO(dicom(**axial)))
    block = with_private.private_block(0x0099, "duoscan fuzz", create=True)
    block.add_new(0x01, "LO", "private")
    block.add_new(0x02, "SQ", _nested(2))
    block.add_new(0x03, "UN", b"\0" * 64)
    return [
        dicom(),
        dicom(WindowCenter=[800, 50], WindowWidth=[801, 10], PhotometricInterpretation="MONOCHROME1"),
        dicom(VOILUTSequence=_lut(256), ModalityLUTSequence=_lut(64)),
        dicom(ViewCodeSequence=_nested(4), PixelPaddingValue=0, PixelPaddingRangeLimit=9),
        dicom((RAMP >> 3).astype(np.uint8), SOPClassUID="1.2.840.10008.5.1.4.1.1.7", Modality=None),
        dicom(**axial),
        dicom(signed, ImplicitVRLittleEndian, **axial | {"RescaleIntercept": 0}),
        dicom(signed, DeflatedExplicitVRLittleEndian, **axial | {"RescaleIntercept": 0}),
        dicom(RAMP.byteswap(), ExplicitVRBigEndian),
        _written(with_private),
    ]


def any_dicom() -> list[bytes]:
    """The same and images of other kinds, from pydicom."""
    return plain_dicom() + _shipped(lambda _: True)


def compressed_dicom() -> list[bytes]:
    """Every compressed transfer syntax, by our own RLE and by the codestreams of pydicom's test files."""
    found = [run_length_dicom()]
    for content in _shipped(lambda dataset: dataset.file_meta.TransferSyntaxUID.is_encapsulated):
        with quiet:
            source = dcmread(io.BytesIO(content))
            taken = {keyword: source.get(keyword) for keyword in _PIXEL_KEYWORDS}
        if source.get("SamplesPerPixel") == 1:
            taken["PhotometricInterpretation"] = "MONOCHROME2"
        found.append(dicom(syntax=source.file_meta.TransferSyntaxUID, **taken))
    return found


def frames() -> list[bytes]:
    """Multi-frame objects, plain and compressed, with functional groups of their own."""
    stack = np.stack([RAMP, RAMP + np.uint16(1), RAMP + np.uint16(2)])
    axial = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1", "Modality": "CT", "NumberOfFrames": 3}
    axial |= {"Rows": 40, "Columns": 40}
    groups = []
    for number in range(3):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 2 * number]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    turned, measures, values, shared = Dataset(), Dataset(), Dataset(), Dataset()
    turned.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 2
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence = Sequence([turned])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PixelValueTransformationSequence = Sequence([values])
    grouped = {
        "PerFrameFunctionalGroupsSequence": Sequence(groups),
        "SharedFunctionalGroupsSequence": Sequence([shared]),
    }
    plain = dicom(stack, **axial, **grouped)
    with quiet:
        packed = dcmread(io.BytesIO(plain))
        packed.compress(RLELossless)
    return [plain, _written(packed), dicom(stack, **axial), dicom(stack.astype(np.uint8), **axial)]


def zips() -> list[bytes]:
    """Zipped files, by every method, with folders, links and a zip inside."""
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("p1/a.dcm", dicom())
            archive.writestr("p2/b.png", pictures()[0])
            archive.writestr("../c.txt", b"x" * 300)
            archive.writestr("inner.zip", b"PK\x03\x04")
        found.append(stream.getvalue())
    return found


def dicomdirs() -> list[bytes]:
    """A DICOMDIR that lists an image beside it and one outside."""
    records = []
    for kind, file_id in (("PATIENT", None), ("IMAGE", ["IMAGES", "A1"]), ("IMAGE", ["..", "OUT"])):
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.DirectoryRecordType = kind
        if file_id:
            with quiet:  # a file ID may not hold dots
                record.ReferencedFileID = file_id
        records.append(record)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.SOPClassUID, directory.SOPInstanceUID = "1.2.840.10008.1.3.10", "1.2.9"
    directory.FileSetID = "X"
    directory.DirectoryRecordSequence = Sequence(records)
    stated = _written(directory)
    directory["DirectoryRecordSequence"].is_undefined_length = True
    return [stated, _written(directory)]


def volumes(folder: Path) -> list[bytes]:
    """NIfTI volumes of both versions and several kinds of numbers; a folder for scratch."""
    import nibabel

    hu = np.full((40, 40, 3), 40.0)
    hu[:8] = -1000
    found = []
    for made, dtype in (
        (nibabel.Nifti1Image, np.int16),
        (nibabel.Nifti2Image, np.int16),
        (nibabel.Nifti1Image, np.float32),
    ):
        nibabel.save(made(hu.astype(dtype), np.diag([-1.0, -1.0, 2.0, 1.0])), folder / "v.nii")
        found.append((folder / "v.nii").read_bytes())
    return found


def packed_volumes(folder: Path) -> list[bytes]:
    """The same, compressed."""
    return [gzip.compress(content) for content in volumes(folder)]


def node_settings() -> list[bytes]:
    """Settings of the node."""
    return [b'spool = "s"\n[destination]\naddress = "PACS@127.0.0.1:104"\n[study]\nquiet_s = 5\n']


def run_length_dicom() -> bytes:
    """Our own radiograph, run-length encoded."""
    with quiet:
        dataset = dcmread(io.BytesIO(dicom()))
        dataset.compress(RLELossless)
    return _written(dataset)


def _shipped(wanted: Callable[[Dataset], bool]) -> list[bytes]:
    """Small test files of pydicom."""
    import pydicom.data

    found = []
    with quiet:
        for path in sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm")):
            if path.stat().st_size > LARGEST_SEED:
                continue
            dataset = dcmread(path, force=True)
            if dataset.file_meta.get("TransferSyntaxUID") and "PixelData" in dataset and wanted(dataset):
                found.append(path.read_bytes())
    return found


def tables() -> list[bytes]:
    """Tables as people write them, for manifests, predictions, patients and wishes for CT alike."""
    return [
        b"path,modality,label,patient_id,split\na.png,cxr,covid,p1,train\nb.png,ct,normal,p2,test\n",
        b"path;modality;lung_mask;source\r\na.png;cxr;m.png;here\r\n",
        b'path,probability,label,decision\n"a,b.png",0.5,1,positive\nb.png,,0,unreadable\n',
        b"probability\tp_covid\tp_other\n0.5\t0.5\t0.5\n",
        b"\xef\xbb\xbfpatient_id,need_ct\np1,yes\np2,no\n",
        b"path,patient_id,modality\na.png,p1,cxr\n",
    ]


def parquet_tables(folder: Path) -> list[bytes]:
    """The same as Parquet; a folder for scratch."""
    record = ImageRecord(path="a.png", modality=Modality.CXR, label=Finding.COVID, patient_id="p", source="here")
    write_manifest(Manifest(folder, (record,)), folder / "m.parquet")
    row = Prediction(
        "a.png", "p", Modality.CXR, 0.5, "positive", probabilities={Finding.COVID: 0.5, Finding.OTHER: 0.5}
    )
    write_predictions([row], folder / "p.parquet")
    return [(folder / "m.parquet").read_bytes(), (folder / "p.parquet").read_bytes()]


def graphs() -> list[bytes]:
    """Small ONNX graphs: plain, with constants to work out, and with what none may hold."""
    plain = brightness_graph()
    half = onnx.load_from_string(plain)
    numbers = numpy_helper.from_array(np.arange(6, dtype=np.float16).reshape(1, 2, 3), "half")
    half.graph.initializer.append(numbers)
    for operator, inputs, attributes in (
        ("Constant", [], {"value_ints": [3, -1]}),
        ("Cast", ["half"], {"to": onnx.TensorProto.FLOAT}),
        ("Transpose", ["Cast"], {"perm": [2, 0, 1]}),
        ("Reshape", ["Transpose", "Constant"], {}),
        ("Shape", ["Reshape"], {"start": 0, "end": 1}),
        ("Expand", ["Cast", "Shape"], {}),
        ("Concat", ["Expand", "Expand"], {"axis": 1}),
        ("Unsqueeze", ["Concat", "Shape"], {}),
        ("Squeeze", ["Concat"], {}),
        ("CastLike", ["half", "images"], {}),
    ):
        half.graph.node.append(helper.make_node(operator, inputs, [operator], **attributes))
    other = onnx.load_from_string(plain)
    indices = helper.make_tensor("", onnx.TensorProto.INT64, [1], [0])
    numbers.external_data.add(key="location", value="model.onnx")
    numbers.data_location = onnx.TensorProto.EXTERNAL
    other.graph.sparse_initializer.append(helper.make_sparse_tensor(numbers, indices, [6]))
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["on"])], "body", [], [])
    other.graph.node.append(helper.make_node("Loop", ["", ""], ["end"], body=body))
    other.functions.append(helper.make_function("own", "f", ["x"], ["y"], [], [helper.make_opsetid("", 18)]))
    return [plain, half.SerializeToString(), other.SerializeToString()]


def infos() -> list[bytes]:
    """What ``bundle.json`` holds."""
    digest = hashlib.sha256(brightness_graph()).hexdigest()
    return [info().model_copy(update={"graph_sha256": digest}).model_dump_json(indent=1).encode()]


def bundles(folder: Path) -> list[bytes]:
    """A sealed bundle; a folder for scratch."""
    path = folder / "seed.duoscan"
    write_bundle(path, info(), brightness_graph())
    return [path.read_bytes()]


def info() -> BundleInfo:
    """What goes with the graph."""
    calibration = {"kind": "temperature", "temperature": 2.0, "images": 9, "patients": 9}
    return brightness_info(Modality.CXR, calibration=calibration, policy={"kind": "confirm-positives"})


def write_sealed(path: Path, stated: bytes, graph: bytes) -> None:
    """Any ``bundle.json`` and graph under the seal of a bundle, which anybody can compute."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INFO_MEMBER, stated)
        archive.writestr(GRAPH_MEMBER, graph)
        archive.comment = bytes(71)
    body = stream.getvalue()[:-71]
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())


def policies() -> list[bytes]:
    """Policy files."""
    zones = Policy(kind=PolicyKind.THREE_ZONES, xray_threshold=0.2, xray_rule_in=0.8, ct_threshold=0.5)
    return [policy_toml(PolicyDraft(kind=PolicyKind.CONFIRM_POSITIVES)).encode(), policy_toml(zones).encode()]


def recipes() -> list[bytes]:
    """The recipes that come with the package."""
    return [path.read_bytes() for path in builtin_recipes().values()]


def audit_result() -> AuditResult:
    """One audit with a table."""
    table = AuditTable("table", ("a", "b"), (("x", "1.5"), ("y", "–")))
    return AuditResult("shortcuts", "Shortcuts", Level.WARN, ("a reason",), {"n": 3}, (table,))


def shortcuts() -> list[bytes]:
    """What ``duoscan shortcuts`` writes."""
    return [json.dumps({"modality": "cxr", "rows": "ab", "result": audit_result().to_json()}).encode()]


def verdicts() -> list[bytes]:
    """``verdict.json`` of an audit folder."""
    return [json.dumps({"cxr": judge([audit_result()]).to_json()}).encode()]


def ledgers() -> list[bytes]:
    """Uses of a test set."""
    use = {"test_set": "ab", "kind": "cxr", "rows": 3, "at": "2026-01-01T00:00:00+00:00", "command": "c", "model": "m"}
    return [(json.dumps(use) + "\n").encode() * 2]


def answers() -> list[bytes]:
    """What ``duoscan screen --json`` writes: patients in every state."""
    policy = Policy(kind=PolicyKind.RULE_OUT, xray_threshold=0.2, ct_threshold=0.5)
    rows = (
        Prediction("a.png", "p", Modality.CXR, 0.5, Decision.POSITIVE, sha256="0" * 64),
        Prediction("b.dcm", "p", Modality.CT, None, Decision.SET_ASIDE, Reason(ReasonCode.NO_LUNG, "no lung")),
    )
    series = SeriesAnswer("1.2", 3, "LUNG", "B60f", 5.0, 5.0, 9, 1, 0, is_used=True)
    study = StudyAnswer(Modality.CT, "1.2.3", "20200101", PhaseState.POSITIVE, 0.5, rows, 0.4, ("a.png",), (series,))
    screening = screening_of({"p": (0.9, 0.1, True), "q": (-1.0, None, False), "r": (None, None, False)}, policy)
    cases = (*screening.cases, decided("s", (study,), rows, policy, need_ct=False))
    return [screening_text(replace(screening, cases=cases)).encode()]


def maps(folder: Path) -> list[bytes]:
    """Activation maps; a folder for scratch."""
    path = folder / "maps.npz"
    write_maps(
        {
            "a.png": SeenMap(np.eye(4, dtype=np.float32), Box(1, 2, 3, 4)),
            "b.dcm#2": SeenMap(np.zeros((2, 3), np.float32)),
        },
        path,
    )
    return [path.read_bytes()]


def keys(folder: Path) -> list[bytes]:
    """A key file; a folder for scratch."""
    path = folder / "key"
    write_new_key(path)
    return [path.read_bytes()]
