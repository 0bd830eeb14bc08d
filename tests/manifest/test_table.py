from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import ManifestError, MissingExtraError
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import moved, read_manifest, write_manifest
from duoscan.terms import Finding, Modality, Split

HEADER = "path,modality,label,patient_id,split\n"


def table(folder: Path, text: str, *, images: tuple[str, ...] = ("a.png", "b.png"), name: str = "m.csv") -> Path:
    """A manifest file beside empty stand-ins for its images; only their being there is checked."""
    for image in images:
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).touch()
    (folder / name).write_bytes(text.encode())
    return folder / name


def problems_of(path: Path, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, **options)
    return caught.value.problems


def test_good_rows_become_records(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "a.png,CXR,Covid,p1,train\nb.png,ct,,,\n")
    manifest = read_manifest(path)
    assert manifest.root == tmp_path
    assert manifest.records == (
        ImageRecord(path="a.png", modality=Modality.CXR, label=Finding.COVID, patient_id="p1", split=Split.TRAIN),
        ImageRecord(path="b.png", modality=Modality.CT),
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_byte_order_mark_and_line_ends(tmp_path: Path, delimiter: str, start: str, end: str) -> None:
    rows = ["path,modality,notes", "a.png,cxr,x", "b.png,cxr,"]
    path = table(tmp_path, start + end.join(rows).replace(",", delimiter) + end)
    assert [(record.path, record.notes) for record in read_manifest(path)] == [("a.png", "x"), ("b.png", None)]


def test_unknown_columns_and_blank_lines_do_no_harm(tmp_path: Path) -> None:
    path = table(tmp_path, "path,url,modality,\na.png,http://x,cxr,5\n\n,,,\nb.png,,cxr,\n")
    assert [record.path for record in read_manifest(path)] == ["a.png", "b.png"]


def test_every_bad_row_is_named_as_a_spreadsheet_counts(tmp_path: Path) -> None:
    text = (
        HEADER  # row 1
        + "a.png,cxr,covd,p1,train\n"  # row 2: label
        + "\n"  # row 3 is blank and counts
        + "b.png,mri,covid,p2,trian\n"  # row 4: modality and split
        + ",cxr,covid,p3,\n"  # row 5: no path
        + "c.png,cxr,covid,p4,\n"  # row 6: no such file
        + "b.png,,covid,p5,\n"  # row 7: no modality
        + "b.png,ct,covid,p6,,x,y\n"  # row 8: too many cells
        + "./a.png,ct,covid,p7,\n"  # row 9: fine
        + "a.png,ct,covid,p8,\n"  # row 10: the path of row 9, written otherwise
    )
    problems = problems_of(table(tmp_path, text))
    expected = {
        "row 8: 7 cells but 5 columns": 1,
        "row 2: label 'covd' is unknown; use covid, pneumonia, normal, other": 1,
        "row 4: modality 'mri' is unknown; use cxr, ct": 1,
        "row 4: split 'trian' is unknown; use train, val, test": 1,
        "row 5: path is empty": 1,
        "row 6: path 'c.png' is not a file under": 1,
        "row 7: modality is empty; use cxr, ct": 1,
        "row 10: path 'a.png' stands in row 9 already": 1,
    }
    assert {start: sum(problem.startswith(start) for problem in problems) for start in expected} == expected
    assert len(problems) == len(expected)


def test_long_lists_are_cut_but_counted(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "".join(f"x{number}.png,cxr,,,\n" for number in range(60)))
    with pytest.raises(ManifestError, match=r"60 problems; correct the rows") as caught:
        read_manifest(path)
    assert len(caught.value.problems) == 51
    assert caught.value.problems[-1] == "… and 10 more"


def test_files_need_not_be_there_when_not_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "gone.png,cxr,,,\n")
    assert len(read_manifest(path, check_files=False)) == 1


def test_a_missing_mask_is_a_problem(tmp_path: Path) -> None:
    path = table(tmp_path, "path,modality,lung_mask\na.png,cxr,m.png\n")
    assert problems_of(path)[0].startswith("row 2: lung_mask 'm.png' is not a file")


def test_a_patient_in_two_splits_is_refused_unless_that_is_looked_for(tmp_path: Path) -> None:
    path = table(tmp_path, HEADER + "a.png,cxr,,p1,train\nb.png,cxr,,p1,test\n")
    assert problems_of(path) == ("patient or group 'p1' is in train and test; give it one split",)
    assert len(read_manifest(path, check_patients=False)) == 2


def test_required_columns(tmp_path: Path) -> None:
    path = table(tmp_path, "filename,modality\na.png,cxr\n")
    with pytest.raises(ManifestError, match=r"missing: path \(found: filename, modality\).*--column path=") as caught:
        read_manifest(path)
    assert caught.value.problems == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"path,modality\n", "no rows"),
        (b"path,modality,path\na.png,cxr,a\n", "twice in the header: path"),
        ("path,modality\na.png,cxr\né.png,cxr\n".encode("latin-1"), r"not UTF-8 \(byte 0xE9 in line 3\)"),
        (b'path,modality\n"a.png,cxr\nb.png,cxr\n', "not a readable CSV"),
    ],
)
def test_files_that_are_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=message):
        read_manifest(tmp_path / "m.csv")


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "m.xlsx").write_bytes(b"PK")
    with pytest.raises(ManifestError, match=r"'\.xlsx' is not a known kind of table"):
        read_manifest(tmp_path / "m.xlsx")
    (tmp_path / "m.parquet").write_bytes(b"not parquet")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        read_manifest(tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"written as \.csv or \.parquet, not '\.xlsx'"):
        write_manifest(Manifest(tmp_path), tmp_path / "m.xlsx")


def test_another_root_and_absolute_paths(tmp_path: Path) -> None:
    images = tmp_path / "images"
    path = table(tmp_path, f"path,modality\na.png,cxr\n{tmp_path.as_posix()}/out.png,cxr\n", images=("out.png",))
    images.mkdir()
    (images / "a.png").touch()
    manifest = read_manifest(path, root=images)
    assert [manifest.file(record) for record in manifest] == [images / "a.png", tmp_path / "out.png"]


def test_windows_separators_are_read(tmp_path: Path) -> None:
    path = table(tmp_path, "path,modality\nx\\a.png,cxr\n", images=("x/a.png",))
    assert read_manifest(path).records[0].path == "x/a.png"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_written_elsewhere_it_still_finds_its_images(tmp_path: Path, suffix: str) -> None:
    source = read_manifest(
        table(tmp_path / "set", HEADER + "a.png,cxr,,p,\nx/b.png,cxr,,,\n", images=("a.png", "x/b.png"))
    )
    out = tmp_path / "runs" / "one" / f"m{suffix}"
    write_manifest(source, out)
    again = read_manifest(out)
    assert [record.path for record in again] == ["../../set/a.png", "../../set/x/b.png"]
    assert [record.patient_id for record in again] == ["p", None]
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no unfinished file is left


def test_absolute_paths_do_not_move(tmp_path: Path) -> None:
    record = ImageRecord(path=(tmp_path / "a.png").as_posix(), modality=Modality.CT)
    assert moved(Manifest(tmp_path, (record,)), tmp_path / "other").records == (record,)


def test_parquet_numbers_become_the_text_a_person_means(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table(tmp_path, "", images=("a.png", "b.png"))
    columns = {"path": ["a.png", "b.png"], "modality": ["ct", "ct"], "patient_id": [17.0, None], "notes": [1.5, None]}
    parquet.write_table(pa.table(columns), tmp_path / "m.parquet")
    first, second = read_manifest(tmp_path / "m.parquet")
    assert (first.patient_id, first.notes) == ("17", "1.5")
    assert (second.patient_id, second.notes) == (None, None)


def test_parquet_without_its_extra_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_pyarrow(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError, match=r"duoscan\[parquet\]"):
        read_manifest(tmp_path / "m.parquet")
    with pytest.raises(MissingExtraError, match=r"duoscan\[parquet\]"):
        write_manifest(Manifest(tmp_path), tmp_path / "out.parquet")


# Anything a cell may hold; outer white space is dropped by design, and NUL ends text in too many tools.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).map(str.strip).filter(bool)
RECORDS = st.builds(
    ImageRecord,
    path=TEXT.filter(lambda text: "\\" not in text and not text.startswith("/")),
    modality=st.sampled_from(Modality),
    label=st.none() | st.sampled_from(Finding),
    source=TEXT,
    patient_id=st.none() | TEXT,
    split=st.none(),
    group=st.none() | TEXT,
    notes=st.none() | TEXT,
)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(records=st.lists(RECORDS, min_size=1, unique_by=lambda record: record.path.replace("/", "")))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, records: list[ImageRecord]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    manifest = Manifest(folder, tuple(records))
    write_manifest(manifest, folder / f"round{suffix}")
    assert read_manifest(folder / f"round{suffix}", check_files=False) == manifest
