from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from duoscan.interfaces.cli import main
from duoscan.manifest.table import read_manifest
from duoscan.terms import Split
from stand_ins import write_png

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 CT slices of two classes with a name nobody knows."""
    for number in range(30):
        image = tmp_path / "set" / ("COVID" if number < 20 else "Sane") / f"{number}.png"
        write_png(image, number / 30)
    return tmp_path / "set"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def imported(folder: Path, capsys: pytest.CaptureFixture[str], *more: object) -> Path:
    out = folder.parent / "m.csv"
    code, _, err = run(
        capsys, "import", folder, "--out", out, "--modality", "ct", "--map", "Sane=normal", "--force", *more
    )
    assert code == 0, err
    return out


def test_import_writes_and_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.parent / "m.csv"
    words = ("import", folder, "--out", out, "--modality", "ct", "--map", "Sane=normal", "--source", "mine")
    code, shown, err = run(capsys, *words)
    assert code == 0, err
    assert "images (patients), 30 (0) in all" in shown
    assert "20 (?)" in shown
    assert f"wrote {out}" in shown
    manifest = read_manifest(out)
    assert {record.source for record in manifest} == {"mine"}
    # Slices without patient ids get blocks of 20: one for 20 covid, one for 10 normal.
    assert {record.group for record in manifest} == {"mine/covid/block-0", "mine/normal/block-0"}


def test_blocks_can_be_chosen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {record.group for record in read_manifest(imported(folder, capsys, "--block-size", 0))} == {None}
    sizes = read_manifest(imported(folder, capsys, "--block-size", 5))
    assert len({record.group for record in sizes}) == 6
    as_xray = read_manifest(imported(folder, capsys, "--modality", "cxr"))
    assert {record.group for record in as_xray} == {None}


def test_import_does_not_write_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = imported(folder, capsys)
    code, _, err = run(capsys, "import", folder, "--out", out)
    assert code == 2
    assert "exists already; choose another --out or add --force" in err


def test_import_lists_what_it_skips_and_warns_of_crossing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "b.png", "c.png"):
        write_png(tmp_path / name, 0.5)
    (tmp_path / "t.csv").write_text("path,pid,split,label\na.png,p,train,covid\nb.png,p,test,covid\n", encoding="utf-8")
    code, _, err = run(
        capsys, "import", tmp_path, "--labels", tmp_path / "t.csv", "--out", tmp_path / "m.csv",
        "--modality", "cxr", "--column", "patient_id=pid",
    )  # fmt: skip
    assert code == 0
    assert "not in the manifest: 1\n  c.png: not in t.csv" in err
    assert "1 patients are in more than one split of this set" in err
    assert "patient or group 'p' is in train and test" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--map", "Sane"), "'Sane' is not of the form NAME=VALUE"),
        (("--map", "Sane=sane"), "'sane' is not a label; use covid, pneumonia, normal, other"),
        ((), "folder 'Sane' (10 images)"),
    ],
)
def test_import_says_what_is_wrong(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    code, _, err = run(capsys, "import", folder, "--out", folder.parent / "m.csv", "--modality", "ct", *words)
    assert code == 2
    assert message in err
    assert not (folder.parent / "m.csv").exists()


def test_split_keeps_blocks_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = imported(folder, capsys, "--block-size", 2)
    out = folder.parent / "s.csv"
    code, shown, err = run(capsys, "split", manifest, "--out", out, "--train", 0.5, "--val", 0, "--test", 0.5)
    assert (code, err) == (0, "")
    assert "wrote" in shown
    splits = [record.split for record in read_manifest(out)]
    # 10 blocks of covid and 5 of normal, two images each: 10 + 10 covid, 6 + 4 or 4 + 6 normal.
    assert sorted((splits.count(Split.TRAIN), splits.count(Split.TEST))) == [14, 16]
    code, _, err = run(capsys, "split", out, "--out", out, "--force", "--seed", 5)
    assert (code, "every row has a split already" in err) == (0, True)
    assert [record.split for record in read_manifest(out)] == splits
    run(capsys, "split", out, "--out", out, "--force", "--seed", 5, "--ignore-splits")
    assert [record.split for record in read_manifest(out)] != splits


def test_split_can_choose_rows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = imported(folder, capsys)
    out = folder.parent / "s.csv"
    assert run(capsys, "split", manifest, "--out", out, "--labels", "normal", "--sources", "set")[0] == 0
    assert {record.label for record in read_manifest(out)} == {"normal"}
    code, _, err = run(capsys, "split", manifest, "--out", out, "--labels", "nrmal", "--force")
    assert code == 2
    assert "--labels: no rows of nrmal (found: covid, normal)" in err


def test_folds_are_numbered_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = imported(folder, capsys, "--block-size", 2)
    out = folder.parent / "f.csv"
    assert run(capsys, "split", manifest, "--out", out, "--folds", 3)[0] == 0
    folds = [read_manifest(folder.parent / f"f-fold{fold}.csv") for fold in (1, 2, 3)]
    tested = [record.path for fold in folds for record in fold if record.split is Split.TEST]
    assert sorted(tested) == sorted(record.path for record in folds[0])
    code, _, err = run(capsys, "split", manifest, "--out", out, "--folds", 3)
    assert code == 2
    assert "f-fold1.csv" in err


def test_too_few_blocks_are_told_with_a_remedy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two blocks cannot fill three parts: import and split say so."""
    out = folder.parent / "m.csv"
    words = ("import", folder, "--out", out, "--modality", "ct", "--map", "Sane=normal")
    code, shown, err = run(capsys, *words)
    assert code == 0
    assert "30 images without a patient id; 2 blocks (neighbouring images, or a study) stand for patients" in shown
    assert "duoscan split would leave parts without a label; say whose the images are" in err
    assert "val has no ct image of covid, of which there are 1 blocks to deal out" in err
    code, _, err = run(capsys, "split", out, "--out", out.with_name("s.csv"))
    assert code == 0
    assert "warning: parts lack a label; say whose" in err
    assert "with its --block-size" in err
    assert "val has no ct image of normal, of which there are 1 blocks to deal out" in err
    # Enough units, and nobody warns.
    _, _, err = run(capsys, *words, "--block-size", 1, "--force")
    assert err == ""
    _, _, err = run(capsys, "split", out, "--out", out.with_name("s.csv"), "--force")
    assert err == ""
    # No part of share 0 is asked for.
    _, _, err = run(capsys, "split", out, "--out", out.with_name("s.csv"), "--force", "--val", 0, "--train", 0.8)
    assert err == ""


def test_images_that_cannot_be_read_are_named_and_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "COVID" / "0.png").read_bytes()
    (folder / "COVID" / "0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "COVID" / "1.png").write_bytes(b"")
    (folder / "COVID" / "2.png").write_text("no image", encoding="utf-8")
    out = folder.parent / "m.csv"
    words = ("import", folder, "--out", out, "--modality", "ct", "--map", "Sane=normal")
    code, _, err = run(capsys, *words)
    assert code == 0
    assert "not in the manifest: 3\n  COVID/0.png: " in err
    assert all(f"  COVID/{number}.png: " in err for number in (1, 2))
    assert len(read_manifest(out)) == 27
    assert run(capsys, *words, "--no-image-check", "--force")[0] == 0
    assert len(read_manifest(out)) == 30


def test_a_set_of_which_no_image_can_be_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "covid").mkdir()
    (tmp_path / "covid" / "a.png").touch()
    code, _, err = run(capsys, "import", tmp_path, "--out", tmp_path / "m.csv", "--modality", "ct")
    assert code == 2
    assert "none of 1 images can be read" in err
    assert not (tmp_path / "m.csv").exists()
