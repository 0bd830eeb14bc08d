"""Tables and documents that are small on disk and without end in memory, or nested without end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from duoscan import rows
from duoscan.audit.ledger import read_uses
from duoscan.audit.storage import read_shortcuts
from duoscan.cases.find import read_need_ct
from duoscan.errors import InputError, ManifestError, PredictionsError
from duoscan.files import open_bounded, parse_json, parse_toml, read_bytes, safe_name
from duoscan.manifest.cells import read_table
from duoscan.manifest.patient_rules import read_patient_table
from duoscan.policies.policy import read_policy
from duoscan.predictions import read_predictions
from duoscan.report.flow import read_flow
from duoscan.training.recipe import read_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READERS: list[tuple[str, Callable[[Path], object]]] = [
    ("policy.toml", read_policy),
    ("recipe.toml", lambda path: read_recipe(str(path))),
    ("shortcuts.json", read_shortcuts),
    ("uses.jsonl", read_uses),
    ("answers.json", lambda path: read_flow(path, {}, 0)),
    ("patients.csv", read_patient_table),
    ("need.csv", read_need_ct),
    ("manifest.csv", read_table),
    ("predictions.csv", read_predictions),
]


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"a = " + b"[" * 5_000, b"a = " + b"9" * 5_000]
)
def test_nesting_and_numbers_without_end(
    tmp_path: Path, name: str, read: Callable[[Path], object], content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError):
        read(path)


@pytest.mark.parametrize(("name", "read"), READERS, ids=[name for name, _ in READERS])
def test_files_that_are_too_large(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(2**27)  # takes no room on disk
    with pytest.raises(InputError, match="larger than 64 MiB"):
        read(path)


def test_nested_documents_are_value_errors() -> None:
    assert parse_json('{"a": [1]}') == {"a": [1]}
    assert parse_toml(b"a = [1]") == {"a": [1]}
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml(b"a = " + b"[" * 100_000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        read_bytes(tmp_path / "pipe")


def test_a_bounded_reader_reads_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc" * 10)
    with open_bounded(path) as stream:
        assert stream.read(2) == b"ab"
        assert stream.read(2**40) == (b"abc" * 10)[2:]
        assert stream.read(2**40) == b""
        assert stream.read() == b""


@pytest.mark.parametrize("text", ["..", ".", "", "/", "a/../b", "..\\x", ".hidden", "a" * 500, "a\0b", "\udcff"])
def test_names_from_elsewhere_stay_in_their_folder(tmp_path: Path, text: str) -> None:
    name = safe_name(text)
    path = tmp_path / name
    path.write_text("x", encoding="utf-8")
    assert path.resolve().parent == tmp_path.resolve()
    assert not name.startswith(".")


def test_different_texts_have_different_names() -> None:
    assert safe_name("1.2.3") == "1.2.3"
    assert len({safe_name(text) for text in ("a/b", "a_b", "a\\b", "/a_b", "." * 3, "." * 4)}) == 6


def test_a_table_of_too_many_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",".join(f"c{number}" for number in range(3_000)) + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="more than 2,000 columns"):
        read_table(path)


def test_short_rows_under_a_wide_header_are_counted_as_they_become(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_CELLS", 100_000)
    path = tmp_path / "m.csv"
    path.write_text(",".join(f"c{number}" for number in range(1_000)) + "\n" + "x\n" * 200, encoding="utf-8")
    with pytest.raises(ManifestError, match="more than 100,000 cells"):
        read_table(path)


@pytest.mark.parametrize("read", [read_table, read_predictions])
def test_a_nul_character(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(b"path,probability\na\0b,0.5\n")
    with pytest.raises(InputError, match="holds a NUL character"):
        read(path)
    parquet.write_table(pa.table({"path": ["a\0b"], "probability": [0.5]}), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="holds a NUL character"):
        read(tmp_path / "m.parquet")


def test_a_parquet_file_of_millions_of_rows(tmp_path: Path) -> None:
    """Equal cells take a few kilobytes as a dictionary with run lengths."""
    path = tmp_path / "m.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int8()), pa.array(["a.png"]))
    table = pa.table({"path": pa.chunked_array([column] * 7)})
    parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 50_000
    with pytest.raises(ManifestError, match="more than 6,000,000 cells"):
        read_table(path)


def test_a_parquet_file_whose_one_long_text_stands_in_every_row(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int16()), pa.array(["x" * 200_000]))
    parquet.write_table(pa.table({"path": text}), path, compression="zstd")
    assert path.stat().st_size < 100_000
    with pytest.raises(ManifestError, match="a cell has 200,000 bytes"):
        read_table(path)
    with pytest.raises(PredictionsError):
        read_predictions(path)


def test_nested_parquet_columns(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"path": [["a"], ["b"]]}), path)
    with pytest.raises(ManifestError, match="cells must be numbers or text"):
        read_table(path)
