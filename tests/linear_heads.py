"""Graphs whose last step is a linear layer on averaged maps, as exports have it, and sites to adapt them to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality
from stand_ins import brightness_info

SIZE, PLACES = 32, 4
MAPS = 6


def linear_graph(weights: list[NDArray[np.float32]], *, bends: bool = False) -> bytes:
    """Maps of six fixed filters, their mean, and the mean of linear layers of these weights, each shape (2, 6).

    Args:
        weights: One a member; the same maps go into all.
        bends: Bend the logits, so that they are no linear layer.
    """
    helper, tensor = onnx.helper, onnx.TensorProto
    filters = np.random.default_rng(3).normal(0, 1, (MAPS, 1, 8, 8)).astype(np.float32)
    filters[0] = 1.0 / 64
    nodes = [
        helper.make_node("Conv", ["images", "filters"], ["convolved"], strides=[8, 8]),
        helper.make_node("Identity", ["convolved"], ["maps"]),
        helper.make_node("ReduceMean", ["maps", "places"], ["pooled"], keepdims=0),
    ]
    initial = [
        numpy_helper.from_array(filters, "filters"),
        numpy_helper.from_array(np.array([2, 3]), "places"),
        numpy_helper.from_array(np.array([0]), "first"),
    ]
    for number, weight in enumerate(weights):
        half = weight.astype(np.float16)
        initial += [
            numpy_helper.from_array(half, f"weight{number}_half"),
            numpy_helper.from_array(np.array([0.1 * number, 0.0], np.float32), f"bias{number}"),
        ]
        nodes += [
            helper.make_node("Cast", [f"weight{number}_half"], [f"weight{number}"], to=tensor.FLOAT),
            helper.make_node("Gemm", ["pooled", f"weight{number}", f"bias{number}"], [f"linear{number}"], transB=1),
            helper.make_node("Unsqueeze", [f"linear{number}", "first"], [f"member{number}"]),
            helper.make_node("Einsum", ["maps", f"weight{number}"], [f"map{number}"], equation="ndhw,kd->nkhw"),
            helper.make_node("Unsqueeze", [f"map{number}", "first"], [f"shown{number}"]),
        ]
    nodes += [
        helper.make_node("Concat", [f"member{number}" for number in range(len(weights))], ["members"], axis=0),
        helper.make_node("ReduceMean", ["members", "first"], ["joined"], keepdims=0),
        helper.make_node("Tanh" if bends else "Identity", ["joined"], ["logits"]),
        helper.make_node("Concat", [f"shown{number}" for number in range(len(weights))], ["all"], axis=0),
        helper.make_node("ReduceMean", ["all", "first"], ["activation"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", tensor.FLOAT, ["batch", 1, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("logits", tensor.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("activation", tensor.FLOAT, ["batch", 2, PLACES, PLACES]),
        ],
        initial,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    serialised: bytes = model.SerializeToString()
    return serialised


def linear_bundle(
    path: Path, members: int = 1, modality: Modality = Modality.CXR, *, blind: bool = False, **changes: object
) -> Bundle:
    """A bundle that mostly looks at brightness, and at texture at random; at texture alone where it is blind."""
    rng = np.random.default_rng(5)
    weights = []
    for _ in range(members):
        weight = rng.normal(0, 0.02, (2, MAPS)).astype(np.float32)
        weight[0, 0] += 0.0 if blind else 4.0
        weights.append(weight)
    contract = PreprocessingContract(modality=modality, height=SIZE, width=SIZE, crop_borders=False)
    info = brightness_info(modality, contract=contract, **changes)
    return write_bundle(path, info, linear_graph(weights))


def write_site(
    folder: Path, sick: int, well: int, *, shift: float = 0.0, images: int = 1, modality: Modality = Modality.CXR
) -> Manifest:
    """Grey pictures, the sick ones brighter on average, all of them darker or brighter by a shift, as of another hall.

    Args:
        folder: Where to.
        sick: Patients with covid.
        well: Patients without.
        shift: Of the grey of all, from −1 to 1.
        images: Of each patient.
        modality: As it is to be listed.
    """
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number in range(sick + well):
        is_sick = number < sick
        mean = 0.5 + shift + 0.08 * (is_sick - 0.5) + rng.normal(0, 0.06)
        for image in range(images):
            name = f"{number}-{image}.png"
            grey = (mean + rng.normal(0, 0.02, (SIZE, SIZE))).clip(0, 1)
            Image.fromarray((grey * 255).astype(np.uint8)).save(folder / name)
            label = Finding.COVID if is_sick else Finding.NORMAL
            record = ImageRecord(path=name, modality=modality, label=label, patient_id=f"p{number}", source="elsewhere")
            records.append(record)
    return Manifest(folder, tuple(records))
