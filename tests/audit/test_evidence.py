"""Evidence stays with its run: whole, numbered, never written over, and read by report and cards."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from duoscan.audit.evidence import FOLDER, latest, new_entry, read_audits
from duoscan.audit.gate import judge
from duoscan.audit.result import AuditResult, Level
from duoscan.audit.storage import Audited, read_audit, write_audit
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Modality
from stand_ins import write_png


def audited(root: Path, reason: str) -> Audited:
    write_png(root / "a.png", 0.5)
    results = (AuditResult("copies", "Copies", Level.WARN, (reason,)),)
    manifest = Manifest(root, (ImageRecord(path="a.png", modality=Modality.CXR),))
    return Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit m.csv")


def keep(run: Path, what: Audited) -> Path:
    with new_entry(run) as entry:
        write_audit(what, entry.draft)
    assert entry.path is not None
    return entry.path


def test_entries_are_numbered_and_the_last_one_counts(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert latest(run) is None
    first = keep(run, audited(tmp_path, "first"))
    before = {path: path.read_bytes() for path in first.iterdir()}
    second = keep(run, audited(tmp_path, "second"))
    assert [first.name, second.name] == ["001", "002"]
    assert {path: path.read_bytes() for path in first.iterdir()} == before
    assert latest(run) == second
    (found,) = read_audits((), [run, tmp_path / "table.csv"])
    assert found.results[Modality.CXR][0].reasons == ("second",)
    assert found.manifest.file(found.manifest.records[0]).is_file()  # relative paths hold where it stands
    (named,) = read_audits((first,), [run])
    assert named.results[Modality.CXR][0].reasons == ("first",)


def test_an_audit_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with new_entry(tmp_path) as entry:
            (entry.draft / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_number_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    what = audited(tmp_path, "mine")
    with new_entry(tmp_path) as entry:
        write_audit(what, entry.draft)
        shutil.copytree(entry.draft, tmp_path / FOLDER / "001")  # another process was faster
    assert entry.path == tmp_path / FOLDER / "002"
    assert read_audit(entry.path).results == what.results


def test_half_an_entry_is_none(tmp_path: Path) -> None:
    kept = keep(tmp_path, audited(tmp_path, "whole"))
    (tmp_path / FOLDER / "002").mkdir()
    (tmp_path / FOLDER / "notes").mkdir()
    assert latest(tmp_path) == kept
    assert keep(tmp_path, audited(tmp_path, "next")).name == "003"
