"""Models and images that tests make for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.bundle import BundleInfo, Provenance, write_bundle
from duoscan.terms import Finding, Modality


def brightness_graph(
    size: int = 32,
    slope: float = 20.0,
    places: NDArray[np.float32] | None = None,
    dark: float = 0.0,
    pool: str = "Average",
) -> bytes:
    """A graph whose P(covid) grows with the mean of its input: logits (slope · mean, 0).

    Args:
        size: Pixels a side of the input.
        slope: How fast it grows.
        places: shape (size / 4, size / 4); how much each place counts, all alike where left out.
        dark: Input at which a place argues neither for nor against.
        pool: ``Average`` or ``Max``, over 4 × 4 pixels each place.
    """
    helper, tensor = onnx.helper, onnx.TensorProto
    weights = np.ones((size // 4, size // 4)) if places is None else places
    nodes = [
        helper.make_node("Conv", ["images", "weight", "bias"], ["maps"]),
        helper.make_node(f"{pool}Pool", ["maps"], ["spread"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Mul", ["spread", "places"], ["activation"]),
        helper.make_node("ReduceMean", ["activation", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("images", tensor.FLOAT, ["batch", 1, size, size])],
        [
            helper.make_tensor_value_info("logits", tensor.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("activation", tensor.FLOAT, ["batch", 2, size // 4, size // 4]),
        ],
        [
            helper.make_tensor("weight", tensor.FLOAT, [2, 1, 1, 1], [slope, 0.0]),
            helper.make_tensor("bias", tensor.FLOAT, [2], [-slope * dark, 0.0]),
            helper.make_tensor("places", tensor.FLOAT, [1, 1, size // 4, size // 4], weights.ravel().tolist()),
            helper.make_tensor("axes", tensor.INT64, [2], [2, 3]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


def brightness_info(modality: Modality, **changes: object) -> BundleInfo:
    """What goes with ``brightness_graph``; input is normalised to [−1, 1], so mid-grey is P = 0.5."""
    fields: dict[str, object] = {
        "name": f"brightness-{modality}",
        "classes": (Finding.COVID, Finding.OTHER),
        "contract": PreprocessingContract(modality=modality, height=32, width=32, crop_borders=False),
        "operating_points": {"argmax": 0.5},
        "default_point": "argmax",
        "provenance": Provenance(duoscan_version="0", recipe={}, data_fingerprint="none", parity=0.0),
    }
    return BundleInfo.model_validate(fields | changes)


def write_brightness_bundles(folder: Path) -> dict[Modality, Path]:
    """One bundle per modality that calls bright images positive."""
    return {
        modality: write_bundle(folder / f"{modality}.duoscan", brightness_info(modality), brightness_graph()).path
        for modality in Modality
    }


def write_png(path: Path, mean: float, size: int = 64) -> Path:
    """A noisy grey image of a given mean in [0, 1]."""
    noise = np.random.default_rng(size).normal(0, 0.02, (size, size))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(((mean + noise).clip(0, 1) * 255).astype(np.uint8)).save(path)
    return path


def ct_slice_hu(lung_hu: float | None = -850.0, side: int = 96) -> np.ndarray:
    """An oval body in air with two lungs; without lungs where ``lung_hu`` is ``None``."""
    y, x = np.mgrid[0:side, 0:side] / side
    hu = np.full((side, side), -1000, np.int16)
    hu[((y - 0.5) / 0.35) ** 2 + ((x - 0.5) / 0.45) ** 2 <= 1] = 40
    if lung_hu is not None:
        for middle in (0.3, 0.7):
            hu[((y - 0.5) / 0.22) ** 2 + ((x - middle) / 0.13) ** 2 <= 1] = lung_hu
    return hu


def write_ct_slice(path: Path, hu: np.ndarray, z_mm: float, **attributes: object) -> Path:
    """One axial CT slice as DICOM; a value of ``None`` leaves the attribute out."""
    uid = f"1.2.{abs(hash((str(path), z_mm))) % 10**12}"
    values: dict[str, object] = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": uid, "Modality": "CT", "PatientID": "P1",
        "StudyInstanceUID": "1.2.10", "SeriesInstanceUID": "1.2.11", "FrameOfReferenceUID": "1.2.12",
        "StudyDate": "20200102", "SeriesNumber": 2, "ConvolutionKernel": "STANDARD", "BodyPartExamined": "CHEST",
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, z_mm],
        "PixelSpacing": [4, 4], "SliceThickness": 3, "RescaleSlope": 1, "RescaleIntercept": -1024,
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "Rows": hu.shape[0], "Columns": hu.shape[1],
        "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15, "PixelRepresentation": 0,
        "PixelData": (hu.astype(np.int32) + 1024).astype("<u2").tobytes(),
    }  # fmt: skip
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in (values | attributes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_enhanced_ct(study: Path, path: Path) -> Path:
    """The slices of a folder as one Enhanced CT, the last by name first."""
    slices = [dcmread(file) for file in sorted(study.iterdir(), reverse=True)]
    made = dcmread(min(study.iterdir()))
    frames = []
    for one in slices:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    del made.ImagePositionPatient
    made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    made.NumberOfFrames = len(slices)
    made.PerFrameFunctionalGroupsSequence = Sequence(frames)
    made.PixelData = b"".join(one.PixelData for one in slices)
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path)
    return path
