"""A bundle from elsewhere unpacks to no more than a bundle holds, by the methods that bundles use."""

from __future__ import annotations

import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

import pytest

from duoscan.errors import BundleError
from duoscan.inference import bundle as bundles
from duoscan.inference.bundle import read_bundle
from fuzz import seeds
from fuzz.trial import peak_bytes
from stand_ins import brightness_graph

if TYPE_CHECKING:
    from pathlib import Path


def sealed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = bytes(71)
    body = stream.getvalue()[:-71]
    path.write_bytes(body + b"sha256:" + hashlib.sha256(body).hexdigest().encode())
    return path


def test_a_bundle_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sealed(tmp_path / "z.duoscan", {"bundle.json": seeds.infos()[0], "model.onnx": bytes(2**27)})
    before = peak_bytes()
    with pytest.raises(BundleError, match=r"model\.onnx unpacks to more than 9 MiB"):  # 130 kB as a file
        read_bundle(path)
    assert peak_bytes() - before < 2**26
    monkeypatch.setattr(bundles, "MAX_GRAPH_BYTES", 2**20)
    path = sealed(tmp_path / "b.duoscan", {"bundle.json": seeds.infos()[0], "model.onnx": bytes(2**24)})
    with pytest.raises(BundleError, match=r"model\.onnx unpacks to more than 1 MiB"):
        read_bundle(path)
    path.write_bytes(b"PK" + bytes(2**21))
    with pytest.raises(BundleError, match="larger than 1 MiB"):
        read_bundle(path)


def test_other_packing_is_refused(tmp_path: Path) -> None:
    members = {"bundle.json": seeds.infos()[0], "model.onnx": brightness_graph()}
    with pytest.raises(BundleError, match="packed by method 14"):
        read_bundle(sealed(tmp_path / "b.duoscan", members, zipfile.ZIP_LZMA))
