"""Boxes around lungs: from a table into the manifest, and back from the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from duoscan.errors import ManifestError
from duoscan.interfaces.cli.manifest import import_command
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import Modality
from stand_ins import write_png


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of two images and one of boxes, of the first image alone."""
    for name in "ab":
        write_png(tmp_path / f"{name}.png", 0.5)
    (tmp_path / "images.csv").write_text("path,label\na.png,covid\nb.png,normal\n")
    (tmp_path / "boxes.csv").write_text("path,side,x,y,w,h\na.png,Right,1.25,2,30,40\na.png,Left,33,2,28.5,41\n")
    return tmp_path / "images.csv"


def imported(table: Path, boxes: str) -> Manifest:
    words = [str(table), "--modality", "cxr", "--lung-boxes", str(table.with_name(boxes)), "--out"]
    out = table.with_name("m.csv")
    done = CliRunner().invoke(import_command, [*words, str(out)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return read_manifest(out)


def test_boxes_come_into_the_manifest(table: Path) -> None:
    first, second = imported(table, "boxes.csv")
    assert first.boxes == ((1.2, 2.0, 30.0, 40.0), (33.0, 2.0, 28.5, 41.0))
    assert second.boxes == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,x,y,w\na.png,1,2,3\n", "columns are missing: h"),
        ("path,x,y,w,h\na.png,1,2,0,4\n", "row 2: 1, 2, 0, 4 is no box"),
        ("path,x,y,w,h\na.png,1,,3,4\n", "row 2: 1, nothing, 3, 4 is no box"),
        ("path,x,y,w,h\nc.png,1,2,3,4\n", "names no image of the manifest"),
    ],
)
def test_a_wrong_table_is_refused(table: Path, text: str, message: str) -> None:
    table.with_name("wrong.csv").write_text(text)
    with pytest.raises(ManifestError, match=message):
        imported(table, "wrong.csv")


def test_a_manifest_with_wrong_boxes_says_how_to_write_them(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("path,modality,lung_boxes\na.png,cxr,1 2 3\n")
    with pytest.raises(ManifestError, match="row 2: lung_boxes '1 2 3' is unknown; write 'x y width height'"):
        read_manifest(tmp_path / "m.csv", check_files=False)


def test_boxes_survive_the_file_and_old_fingerprints_stand(tmp_path: Path) -> None:
    plain = ImageRecord(path="a.png", modality=Modality.CXR)
    boxed = plain.model_copy(update={"lung_boxes": "-1.5 0.0 3.0 4.0"})
    write_manifest(Manifest(tmp_path, (boxed,)), tmp_path / "m.csv")
    assert read_manifest(tmp_path / "m.csv", check_files=False).records == (boxed,)
    # Worked out before there was the column.
    before = "1d54253776782b405389dfc31e487c48509a1ad6f0748e15d300179da02dbda9"
    assert Manifest(tmp_path, (plain,)).fingerprint() == before != Manifest(tmp_path, (boxed,)).fingerprint()
