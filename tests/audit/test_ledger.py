"""The ledger of a test set: locked by hash, every use counted, none lost."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from duoscan.audit import ledger
from duoscan.audit.ledger import Book, Use, digest_of_images, read_uses, record_use
from duoscan.errors import InputError
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split

USE = Use("a" * 64, "cxr", 20, "", "duoscan evaluate", "m" * 64)


@pytest.fixture
def tested(tmp_path: Path) -> Manifest:
    records = []
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(bytes([number]))
        records.append(
            ImageRecord(
                path=f"{number}.png", modality=Modality.CXR, label=Finding.COVID, patient_id="p", split=Split.TEST
            )
        )
    return Manifest(tmp_path, tuple(records))


def use_many(path: Path, times: int) -> None:
    for _ in range(times):
        record_use(path, USE)


def test_uses_and_models_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    counts = [record_use(path, replace(USE, model=model)) for model in ("one", "one", "two")]
    assert [(one.use, one.models) for one in counts] == [(1, 1), (2, 1), (3, 2)]
    assert counts[-1].spoken == "Use 3 of this test set, by 2 models so far"
    assert all(one.at.endswith("+00:00") for one in read_uses(path))


def test_a_probe_is_a_use_but_no_model(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    counts = [record_use(path, replace(USE, model=model)) for model in ("", USE.model, "")]
    assert [(one.use, one.models) for one in counts] == [(1, 0), (2, 1), (3, 1)]


def test_changed_test_rows_are_refused_and_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    with pytest.raises(InputError, match="locked as aaaaaaaaaaaa.*--new-test-set"):
        record_use(path, replace(USE, test_set="b" * 64))
    assert len(read_uses(path)) == 1


def test_a_new_test_set_starts_at_one_but_the_old_one_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    count = record_use(path, replace(USE, test_set="b" * 64), replaces=True)
    assert (count.use, count.before) == (1, 1)
    assert "replaces 1 earlier test set" in count.spoken
    with pytest.raises(InputError):  # and the new one is locked now
        record_use(path, USE)


def test_test_sets_of_two_kinds_do_not_lock_each_other(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    count = record_use(path, replace(USE, kind="ct", test_set="c" * 64))
    assert (count.use, count.before) == (1, 0)


def test_two_processes_lose_no_use(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=use_many, args=(path, 25)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_uses(path)) == 50
    assert record_use(path, USE).use == 51


def test_a_ledger_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    count = record_use(tmp_path / "no such folder" / "uses.jsonl", USE)
    assert count.use == 1
    assert "not written down" in count.spoken


@pytest.mark.parametrize("line", ["not json", "[]", json.dumps({"test_set": "a"})])
def test_a_damaged_ledger_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match="line 2"):
        record_use(path, USE)


def test_the_digest_holds_rows_and_bytes_but_not_order_or_remarks(tested: Manifest) -> None:
    digest = digest_of_images(tested)
    one, *others = tested.records
    assert digest_of_images(tested.replace([*others, one])) == digest
    assert digest_of_images(tested.replace([one.model_copy(update={"notes": "seen"}), *others])) == digest
    relabelled = one.model_copy(update={"label": Finding.NORMAL})
    assert digest_of_images(tested.replace([relabelled, *others])) != digest
    assert digest_of_images(tested.replace(others)) != digest
    tested.file(one).write_bytes(b"another picture")
    assert digest_of_images(tested) != digest


def test_a_book_locks_what_it_counts(tested: Manifest, tmp_path: Path) -> None:
    book = Book(ledger.beside(tmp_path / "cxr.csv"), "duoscan evaluate model cxr.csv")
    assert book.count_images(tested, "m", "cxr").use == 1
    assert (tmp_path / "cxr.csv.uses.jsonl").exists()
    tested.file(tested.records[0]).write_bytes(b"another picture")
    with pytest.raises(InputError):
        book.count_images(tested, "m", "cxr")
