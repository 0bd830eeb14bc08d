"""Several manifests as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from duoscan.errors import ManifestError
from duoscan.manifest.joining import joined
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality


def table(root: Path, *names: str, label: Finding = Finding.COVID) -> Manifest:
    return Manifest(root, tuple(ImageRecord(path=name, modality=Modality.CXR, label=label) for name in names))


def test_rows_of_other_folders_lead_to_the_same_files(tmp_path: Path) -> None:
    made = joined([table(tmp_path / "a" / "b", "1.png"), table(tmp_path / "c", "1.png", "../a/b/2.png")])
    files = {made.file(record).resolve() for record in made}
    assert files == {tmp_path / "a" / "b" / "1.png", tmp_path / "c" / "1.png", tmp_path / "a" / "b" / "2.png"}


def test_a_row_that_two_state_alike_stands_once(tmp_path: Path) -> None:
    made = joined([table(tmp_path, "x/1.png"), table(tmp_path / "x", "1.png", "2.png")])
    assert [made.file(record).relative_to(tmp_path).as_posix() for record in made] == ["x/1.png", "x/2.png"]


def test_rows_that_differ_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"two manifests(.|\n)*1\.png: two manifests differ in label"):
        joined([table(tmp_path, "1.png"), table(tmp_path, "1.png", label=Finding.NORMAL)])


def test_one_manifest_stays_as_it_is(tmp_path: Path) -> None:
    alone = table(tmp_path, "1.png")
    assert joined([alone]) is alone
