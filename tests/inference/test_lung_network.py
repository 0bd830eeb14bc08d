"""A bundle with a second graph that says where lung is."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from duoscan.errors import BundleError
from duoscan.imaging.contract import PreprocessingContract
from duoscan.imaging.lung_view import FINDER_SIDE, find_lungs
from duoscan.inference.bundle import Bundle, read_bundle, write_bundle
from duoscan.inference.lung_network import finder_of
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.policies.policy import DEFAULT_POLICY
from duoscan.policies.stored import store_policy
from duoscan.predictions import Prediction
from duoscan.reasons import ReasonCode
from duoscan.terms import Decision, Modality
from stand_ins import brightness_graph, brightness_info


def dark_is_lung(output: str = "lungs", side: int = FINDER_SIDE) -> bytes:
    """A graph that calls lung what is darker than half grey: sigmoid(40 · (0.5 − grey))."""
    nodes = [
        helper.make_node("Sub", ["half", "images"], ["darker"]),
        helper.make_node("Mul", ["darker", "slope"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], [output]),
    ]
    values = [helper.make_tensor(name, TensorProto.FLOAT, [1], [one]) for name, one in (("half", 0.5), ("slope", 40))]
    shape = ["batch", 1, side, side]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("images", output)]
    graph = helper.make_graph(nodes, "dark", [ends[0]], [ends[1]], values)
    made: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    serialised: bytes = made.SerializeToString()
    return serialised


def lungs_bundle(path: Path, finder: bytes | None = None) -> Bundle:
    contract = PreprocessingContract(version=2, modality=Modality.CXR, height=32, width=32, lungs="each")
    return write_bundle(path, brightness_info(Modality.CXR, contract=contract), brightness_graph(), finder)


def chest(path: Path, lung: float = 0.2) -> Path:
    grey = np.full((200, 240), 0.95)
    for first in (40, 140):
        grey[40:160, first : first + 60] = lung
    Image.fromarray((grey * 255).astype(np.uint8)).save(path)
    return path


def test_the_model_is_shown_the_lungs_and_says_where_they_were(tmp_path: Path) -> None:
    bundle = read_bundle(lungs_bundle(tmp_path / "a.duoscan", dark_is_lung()).path)
    predictor = Predictor(bundle, check_quality=False)
    files = [chest(tmp_path / f"{lung}.png", lung) for lung in (0.1, 0.4)]
    rows = [Prediction(str(path), "", Modality.CXR, None, Decision.UNREADABLE) for path in files]
    dark, less = predictor.predict(map(ImageFile, files, rows))
    assert dark.answer is not None
    assert less.answer is not None
    # All else is as bright as the lungs, so that P(covid), which grows with the mean, is that of the lungs alone.
    assert dark.answer.probability < 0.01 < less.answer.probability < 0.5
    assert dark.seen is not None
    np.testing.assert_allclose(dark.seen, (40, 40, 200, 160), atol=8)


def test_a_picture_without_lungs_is_refused_with_the_reason(tmp_path: Path) -> None:
    predictor = Predictor(lungs_bundle(tmp_path / "a.duoscan", dark_is_lung()), check_quality=False)
    path = chest(tmp_path / "none.png", lung=0.9)
    (file,) = predictor.predict([ImageFile(path, Prediction(str(path), "", None, None, Decision.UNREADABLE))])
    assert file.row.probability is None
    assert file.row.reason is not None
    assert file.row.reason.code is ReasonCode.NO_LUNG


def test_a_finder_is_sealed_hashed_and_part_of_the_study_digest(tmp_path: Path) -> None:
    one = lungs_bundle(tmp_path / "a.duoscan", dark_is_lung())
    with zipfile.ZipFile(one.path) as archive:
        assert archive.namelist() == ["bundle.json", "model.onnx", "lungs.onnx"]
        members = {name: archive.read(name) for name in archive.namelist()}
    other = lungs_bundle(tmp_path / "b.duoscan", dark_is_lung()[:-1] + b"\x11")
    assert one.digest == other.digest
    assert one.study_digest != other.study_digest
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content if name != "lungs.onnx" else content[:-1] + b"\x13")
        archive.comment = bytes(71)
    body = stream.getvalue()[:-71]
    (tmp_path / "c.duoscan").write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    with pytest.raises(BundleError, match="lung finder does not match"):
        read_bundle(tmp_path / "c.duoscan")


def test_a_finder_and_a_contract_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the lung finder is None"):
        lungs_bundle(tmp_path / "a.duoscan")
    with pytest.raises(ValueError, match="shows lungs 'none'"):
        write_bundle(tmp_path / "a.duoscan", brightness_info(Modality.CXR), brightness_graph(), dark_is_lung())
    plain = write_bundle(tmp_path / "b.duoscan", brightness_info(Modality.CXR), brightness_graph())
    assert finder_of(plain) is None
    assert read_bundle(plain.path).finder is None


@pytest.mark.parametrize(
    ("finder", "why"),
    [
        (b"no graph", "no ONNX model"),
        (dark_is_lung("other"), "its lung finder fails"),
        (dark_is_lung(side=FINDER_SIDE - 1), "its lung finder fails"),
    ],
)
def test_a_finder_that_is_none_is_told(tmp_path: Path, finder: bytes, why: str) -> None:
    bundle = lungs_bundle(tmp_path / "a.duoscan", finder)
    with pytest.raises(BundleError, match=why):
        find_lungs(np.zeros((200, 200), np.float32), finder_of(bundle) or float, each=True)


def test_what_writes_a_bundle_anew_keeps_its_finder(tmp_path: Path) -> None:
    bundle = lungs_bundle(tmp_path / "a.duoscan", dark_is_lung())
    stored = store_policy(bundle, DEFAULT_POLICY.resolved(0.5, 0.5), tmp_path / "b.duoscan")
    assert read_bundle(stored.path).finder == bundle.finder
