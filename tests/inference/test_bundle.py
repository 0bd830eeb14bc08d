from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import BundleError
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.shipped import load_bundle
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Modality
from stand_ins import brightness_graph, brightness_info


def test_round_trip(tmp_path: Path) -> None:
    graph = brightness_graph()
    written = write_bundle(tmp_path / "a.duoscan", brightness_info(Modality.CT), graph)
    read = read_bundle(written.path)
    assert read.info == written.info
    assert read.graph == graph
    assert read.info.threshold == 0.5


def test_a_run_folder_stands_for_its_bundle(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / BUNDLE_NAME, brightness_info(Modality.CT), brightness_graph())
    assert read_bundle(tmp_path) == written
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"empty/model\.duoscan: cannot be read"):
        read_bundle(tmp_path / "empty")


def test_equal_contents_give_equal_files(tmp_path: Path) -> None:
    paths = [write_bundle(tmp_path / name, brightness_info(Modality.CT), brightness_graph()).path for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_any_zip_tool_opens_it(brightness_bundles: dict[Modality, Path]) -> None:
    with zipfile.ZipFile(brightness_bundles[Modality.CT]) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["bundle.json", "model.onnx"]


@given(data=st.data())
def test_any_changed_byte_is_found(brightness_bundles: dict[Modality, Path], data: st.DataObject) -> None:
    source = brightness_bundles[Modality.CT]
    content = bytearray(source.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    altered = source.with_name("altered.duoscan")
    altered.write_bytes(content)
    with pytest.raises(BundleError, match="altered.duoscan"):
        read_bundle(altered)


@given(length=st.integers(0, 900))
def test_a_cut_file_is_found(brightness_bundles: dict[Modality, Path], length: int) -> None:
    source = brightness_bundles[Modality.CT]
    cut = source.with_name("cut.duoscan")
    cut.write_bytes(source.read_bytes()[:length])
    with pytest.raises(BundleError, match="cut.duoscan"):
        read_bundle(cut)


def test_a_resealed_but_foreign_zip_is_refused(tmp_path: Path) -> None:
    import hashlib

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello.txt", "hello")
        archive.comment = bytes(71)
    body = buffer.getvalue()[:-71]
    path = tmp_path / "foreign.duoscan"
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    with pytest.raises(BundleError, match="bundle.json"):
        read_bundle(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be read"):
        read_bundle(tmp_path / "nothing.duoscan")


def test_the_other_modality_is_refused(brightness_bundles: dict[Modality, Path]) -> None:
    with pytest.raises(BundleError, match="is a chest CT model, a chest X-ray model is needed"):
        load_bundle(brightness_bundles[Modality.CT], Modality.CXR)


def test_an_audit_model_must_not_answer(tmp_path: Path) -> None:
    info = brightness_info(Modality.CT)
    contract = info.contract.model_copy(update={"probe": "borders"})
    path = write_bundle(tmp_path / "p.duoscan", info.model_copy(update={"contract": contract}), brightness_graph()).path
    with pytest.raises(BundleError, match="must not answer for patients"):
        load_bundle(path, Modality.CT)
