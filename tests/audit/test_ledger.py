"""The ledger of a test set: locked by hash, every use counted, none lost."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pytest

from duoscan.audit.ledger import OWN_LEDGER, Book, Count, Look, Use, beside, own_ledger, read_uses
from duoscan.errors import InputError
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality, Split

USE = Use("a" * 64, "cxr", 20, "", "duoscan evaluate", "m" * 64, names=tuple(f"row{number}" for number in range(20)))
OTHER = replace(USE, test_set="b" * 64, names=tuple(f"other{number}" for number in range(20)))


def record_use(path: Path, use: Use, *, replaces: bool = False) -> Count:
    return Look(path, use, replaces).count()


def digest_of(tested: Manifest) -> str:
    return Book(Path("nowhere"), "").look_at_images(tested, "m", "cxr").use.test_set


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
        record_use(path, OTHER)
    assert len(read_uses(path)) == 1


def test_a_new_test_set_starts_at_one_but_the_old_one_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    count = record_use(path, OTHER, replaces=True)
    assert (count.use, count.before) == (1, 1)
    assert "replaces 1 earlier test set" in count.spoken
    with pytest.raises(InputError):  # and the new one is locked now
        record_use(path, USE)


def test_test_sets_of_two_kinds_do_not_lock_each_other(tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    count = record_use(path, replace(OTHER, kind="ct"))
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


def test_a_ledger_that_cannot_be_written_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = record_use(tmp_path / "no such folder" / "uses.jsonl", USE)
    assert count.use == 1
    assert "not written down" in count.spoken
    monkeypatch.setenv(OWN_LEDGER, str(tmp_path / "own.jsonl"))
    counts = [record_use(tmp_path / "no such folder" / "uses.jsonl", USE) for _ in range(2)]
    assert [(one.use, one.note) for one in counts] == [(1, ""), (2, "")]


@pytest.mark.parametrize(
    "line", ["not json", "[]", json.dumps({"test_set": "a"}), json.dumps(asdict(USE) | {"names": [1]})]
)
def test_a_damaged_ledger_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    path = tmp_path / "uses.jsonl"
    record_use(path, USE)
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match="line 2"):
        record_use(path, USE)
    monkeypatch.setenv(OWN_LEDGER, str(path))
    with pytest.raises(InputError, match="line 2"):  # before anything is answered
        Book(tmp_path / "another", "").look_at_rows(rows(), "m", "table cxr")


def test_rows_are_images_and_labels_wherever_they_lie(tested: Manifest, tmp_path: Path) -> None:
    """Order, remarks, patients, names and folders do not count; a changed label, a row less and other bytes do."""
    digest = digest_of(tested)
    one, *others = tested.records
    assert digest_of(tested.replace([*others, one])) == digest
    assert digest_of(tested.replace([one.model_copy(update={"notes": "seen", "patient_id": "q"}), *others])) == digest
    moved = tmp_path / "elsewhere" / "x.png"
    moved.parent.mkdir()
    moved.write_bytes(tested.file(one).read_bytes())
    assert digest_of(tested.replace([one.model_copy(update={"path": "elsewhere/x.png"}), *others])) == digest
    relabelled = one.model_copy(update={"label": Finding.NORMAL})
    assert digest_of(tested.replace([relabelled, *others])) != digest
    assert digest_of(tested.replace(others)) != digest
    tested.file(one).write_bytes(b"another picture")
    assert digest_of(tested) != digest


def test_frames_of_one_file_are_rows_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"two frames")
    frames = [ImageRecord(path=f"a.dcm#{number}", modality=Modality.CT, label=Finding.COVID) for number in (1, 2)]
    look = Book(tmp_path / "uses.jsonl", "").look_at_images(Manifest(tmp_path, tuple(frames)), "m", "ct")
    assert len(set(look.use.images)) == 2
    stated = [
        Prediction(one.path, None, one.modality, 0.5, None, label=one.label, sha256=sha256(b"two frames").hexdigest())
        for one in frames
    ]
    assert Book(tmp_path / "uses.jsonl", "").look_at_rows(stated, "m", "table ct").use.images == look.use.images


def test_a_book_locks_what_it_counts(tested: Manifest, tmp_path: Path) -> None:
    book = Book(beside(tmp_path / "cxr.csv"), "duoscan evaluate model cxr.csv")
    assert book.look_at_images(tested, "m", "cxr").count().use == 1
    assert (tmp_path / "cxr.csv.uses.jsonl").exists()
    tested.file(tested.records[0]).write_bytes(b"another picture")
    with pytest.raises(InputError):
        book.look_at_images(tested, "m", "cxr")
    assert book.look_at_images(tested, "m", "cxr", locks=False).count().use == 2
    tested.file(tested.records[0]).write_bytes(bytes([0]))
    assert book.look_at_images(tested, "m", "cxr").count().use == 3, "what is not split locks nothing"


def test_a_look_counts_once_it_is_over(tested: Manifest, tmp_path: Path) -> None:
    book = Book(tmp_path / "uses.jsonl", "duoscan evaluate model cxr.csv")
    look = book.look_at_images(tested, "m", "cxr")
    assert read_uses(book.path) == []
    assert [look.count().use, look.count().use] == [1, 2]


def rows(splits: int = 10, patient: str = "p{}") -> list[Prediction]:
    return [
        Prediction(f"{place}.png", patient.format(place), Modality.CXR, 0.5, "", label=Finding.COVID)
        for place in range(splits)
    ]


@pytest.mark.parametrize(
    ("changed", "use", "said"),
    [
        (rows(9), 3, "Use 3 of this test set, by 1 model so far, 2 of them before rows were changed; it replaces 1"),
        (rows(12), 3, "2 of them before rows were changed"),
        ([*rows(6), *rows(4, "q{}")], 3, "2 of them before rows were changed"),
        ([*rows(3), *rows(7, "q{}")], 1, "Use 1 of this test set, by 1 model so far; it replaces 1"),
    ],
)
def test_changing_rows_does_not_begin_the_count_anew(
    changed: list[Prediction], use: int, said: str, tmp_path: Path
) -> None:
    """Ten rows were looked at twice; one less, two more or four others are the same test set, seven others are not."""
    book = Book(tmp_path / "uses.jsonl", "duoscan evaluate t.csv", replaces=True)
    for _ in range(2):
        book.look_at_rows(rows(), "m", "table cxr").count()
    count = book.look_at_rows(changed, "m", "table cxr").count()
    assert count.use == use
    assert said in count.spoken


def test_a_copy_is_counted_with_its_original(tested: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside two manifests lie two ledgers; the user's own holds both, and rows that a model predicted of them."""
    monkeypatch.setenv(OWN_LEDGER, str(tmp_path / "state" / "uses.jsonl"))
    books = [Book(tmp_path / name, name) for name in ("one.uses.jsonl", "two.uses.jsonl", "table.uses.jsonl")]
    assert books[0].look_at_images(tested, "m", "cxr").count().use == 1
    assert [books[1].look_at_images(tested, "n", "cxr").count().use for _ in range(2)] == [2, 3]
    predicted = [
        Prediction(f"far/away/{one.path}", one.patient_id, one.modality, 0.5, "", label=one.label) for one in tested
    ]
    count = books[2].look_at_rows(predicted, "m", "table cxr").count()
    assert (count.use, count.models, count.changed) == (4, 2, 0)
    assert len(read_uses(tmp_path / "state" / "uses.jsonl")) == 4
    assert [len(read_uses(book.path)) for book in books] == [1, 2, 1]


def test_rows_without_names_are_known_by_their_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ "row 2" with a label is in every table; only a copy of the whole table is the same."""
    monkeypatch.setenv(OWN_LEDGER, str(tmp_path / "uses.jsonl"))

    def counted(name: str, answers: float) -> int:
        table = [
            Prediction(f"row {place}", None, None, answers + place / 100, "", label=Finding.COVID)
            for place in range(2, 12)
        ]
        return Book(tmp_path / name, "").look_at_rows(table, name, "table unknown").count().use

    assert [counted("a", 0.5), counted("copy of a", 0.5), counted("b", 0.3)] == [1, 2, 1]


def test_a_ledger_of_an_older_version_goes_on(tested: Manifest, tmp_path: Path) -> None:
    """Its lines name no rows: they count for their kind, and lock nothing."""
    path = tmp_path / "uses.jsonl"
    old = {key: value for key, value in asdict(USE).items() if key not in {"images", "names"}}
    path.write_text("".join(json.dumps(old | {"at": f"2025-01-0{day}T00:00:00+00:00"}) + "\n" for day in (1, 2)))
    count = Book(path, "").look_at_images(tested, "n", "cxr").count()
    assert (count.use, count.models, count.changed, count.before) == (3, 2, 0, 0)
    assert Book(path, "").look_at_images(tested, "n", "cxr, one source").count().use == 2  # new lines name the images


def test_the_rows_of_a_test_set_are_written_once(tested: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "uses.jsonl"
    for _ in range(3):
        Book(path, "").look_at_images(tested, "m", "cxr").count()
    assert ["images" in json.loads(line) for line in path.read_text().splitlines()] == [True, False, False]
    assert len({one.images for one in read_uses(path)}) == 1


def test_the_users_ledger_lies_where_state_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_ledger() is None  # the tests' own setting
    monkeypatch.delenv(OWN_LEDGER)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert own_ledger() == tmp_path / "duoscan" / "uses.jsonl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert own_ledger() == tmp_path / ".local" / "state" / "duoscan" / "uses.jsonl"
