"""``duoscan audit`` as typed: exit codes, files, and a bundle that carries its verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from duoscan.audit.gate import Verdict
from duoscan.audit.result import AuditResult, Level
from duoscan.audit.storage import Shortcuts, read_audit, rows_fingerprint, write_shortcuts
from duoscan.errors import InputError
from duoscan.inference.bundle import read_bundle
from duoscan.interfaces.cli import audit as command
from duoscan.interfaces.cli.audit import GATE_FAILED, audit_command
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, write_predictions
from duoscan.terms import Finding, Modality, Split
from stand_ins import write_png


def run(*words: object) -> Result:
    return CliRunner().invoke(audit_command, [str(word) for word in words])


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 patients with one X-ray each, covid bright; every fourth is a test patient."""
    root = tmp_path_factory.mktemp("data")
    records = []
    for number in range(16):
        write_png(root / f"{number}.png", 0.55 if number % 2 else 0.45, size=40 + number)
        records.append(
            ImageRecord(
                path=f"{number}.png",
                modality=Modality.CXR,
                label=Finding.COVID if number % 2 else Finding.NORMAL,
                source="here",
                patient_id=f"p{number}",
                split=(Split.TEST, Split.TEST, Split.TRAIN, Split.VAL)[number // 2 % 4],
            )
        )
    write_manifest(Manifest(root, tuple(records)), root / "m.csv")
    return root / "m.csv"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[Level], None]:
    """Audits of the data, which have tests of their own, answer at once."""

    def make(level: Level) -> None:
        names = ("patients", "copies", "confounding", "quality")
        results = [AuditResult(name, name, level, (f"reason of {name}",)) for name in names]
        monkeypatch.setattr(command, "audit_data", lambda *_, **__: (list(results), None))

    return make


def test_the_real_audits_of_data_find_a_copy_across_splits(manifest: Path, tmp_path: Path) -> None:
    """Image 0 (test) again as an image of a training patient: fail, exit 3, copies.csv names it, one row left out."""
    table = read_manifest(manifest)
    (manifest.parent / "again.png").write_bytes((manifest.parent / "0.png").read_bytes())
    again = table.records[0].model_copy(update={"path": "again.png", "patient_id": "q", "split": Split.TRAIN})
    write_manifest(table.replace([*table.records, again]), manifest.with_name("faulty.csv"))
    out = tmp_path / "out"
    done = run(manifest.with_name("faulty.csv"), "--out", out, "--deduplicate", tmp_path / "clean.csv")
    assert done.exit_code == GATE_FAILED, done.output
    assert "Verdict: FAIL" in done.output
    audited = read_audit(out)
    levels = {result.name: result.level for result in audited.results[Modality.CXR]}
    assert levels["copies"] is Level.FAIL
    assert "again.png" in (out / "copies.csv").read_text()
    kept = {record.path for record in read_manifest(tmp_path / "clean.csv")}
    assert len(kept) == 16
    assert not any(path.endswith("again.png") for path in kept)
    assert "again.png" in (tmp_path / "clean-dropped.csv").read_text()


def test_data_alone_never_pass(manifest: Path, quick: Callable[[Level], None]) -> None:
    """Every audit of the data passes, but no number was measured: a warning at best."""
    quick(Level.PASS)
    done = run(manifest)
    assert done.exit_code == 0, done.output
    assert "Verdict: WARN" in done.output
    assert "Not run: Skill is lost without the lung" in done.output


def test_a_run_is_judged_and_its_bundle_carries_the_verdict(
    manifest: Path, quick: Callable[[Level], None], brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    """The stand-in is right on all 8 test patients, who are too few: the number stands last and not as a headline."""
    quick(Level.PASS)
    bundle = brightness_bundles[Modality.CXR]
    words = ["--run", bundle, "--out", tmp_path / "out", "--bundle-out", tmp_path / "judged.duoscan"]
    done = run(manifest, *words, "--ledger", tmp_path / "uses.jsonl")
    assert done.exit_code == GATE_FAILED, done.output
    last = done.output.split("Verdict: FAIL")[1]
    assert last.index("4 covid patients and 4 others") < last.index(
        "not to be quoted without these reasons: AUROC 1.000"
    )
    judged, plain = read_bundle(tmp_path / "judged.duoscan"), read_bundle(bundle)
    assert judged.info.verdict is not None
    assert Verdict.from_json(judged.info.verdict) == read_audit(tmp_path / "out").verdicts[Modality.CXR]
    assert (judged.digest, plain.info.verdict) == (plain.digest, None)
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["cxr"]["measured"]["test_uses"] == 1


def test_each_audit_of_a_model_is_a_use(
    manifest: Path, quick: Callable[[Level], None], brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    quick(Level.PASS)
    words = ["--run", brightness_bundles[Modality.CXR], "--ledger", tmp_path / "uses.jsonl"]
    run(manifest, *words)
    assert "use 2 of this test set, by 1 model(s)" in run(manifest, *words).output


def test_answers_of_any_model_are_judged(manifest: Path, quick: Callable[[Level], None], tmp_path: Path) -> None:
    quick(Level.WARN)
    rows = [
        Prediction(one.path, one.patient_id, one.modality, 0.9, "", source=one.source, split=one.split, label=one.label)
        for one in read_manifest(manifest)
    ]
    write_predictions(rows, tmp_path / "theirs.csv")
    done = run(manifest, "--predictions", tmp_path / "theirs.csv")
    assert done.exit_code == GATE_FAILED
    assert "does not lie above chance" in done.output  # the same answer for everybody: AUROC 0.5


def test_shortcuts_found_elsewhere_count_for_their_modality(
    manifest: Path, quick: Callable[[Level], None], tmp_path: Path
) -> None:
    quick(Level.PASS)
    found = AuditResult("shortcuts", "Shortcuts", Level.FAIL, ("borders alone keep 0.9 of the skill",))
    path = tmp_path / "shortcuts.json"
    rows = read_manifest(manifest).where(modality=Modality.CXR)
    write_shortcuts(Shortcuts(Modality.CXR, found, rows_fingerprint(rows)), path)
    done = run(manifest, "--shortcuts", path)
    assert done.exit_code == GATE_FAILED
    assert "- borders alone keep 0.9 of the skill" in done.output
    write_shortcuts(Shortcuts(Modality.CT, found, ""), path)
    assert run(manifest, "--shortcuts", path).exit_code == 0
    write_shortcuts(Shortcuts(Modality.CXR, found, rows_fingerprint(rows.replace(rows.records[1:]))), path)
    refused = run(manifest, "--shortcuts", path).exception
    assert isinstance(refused, InputError)
    assert "learned on other rows" in str(refused)
    for damaged in ({}, {"modality": "mr", "result": {}}, {"modality": "cxr", "result": {"name": "shortcuts"}}):
        path.write_text(json.dumps(damaged))
        assert isinstance(run(manifest, "--shortcuts", path).exception, InputError)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", ".", "--predictions", "m.csv"], "give one of them"),
        (["--bundle-out", "x.duoscan"], "name the model with --run"),
    ],
)
def test_what_does_not_go_together_is_refused(manifest: Path, words: list[str], message: str) -> None:
    done = run(manifest, *(manifest.parent / word if word in {".", "m.csv"} else word for word in words))
    assert done.exit_code == 2
    assert message in done.output


def test_a_run_keeps_each_audit_of_it(
    manifest: Path, quick: Callable[[Level], None], brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    quick(Level.PASS)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.duoscan").write_bytes(brightness_bundles[Modality.CXR].read_bytes())
    words = ["--run", folder, "--ledger", tmp_path / "uses.jsonl"]
    assert "Kept as" in run(manifest, *words).output
    run(manifest, *words)
    first, second = (read_audit(folder / "evidence" / number) for number in ("001", "002"))
    uses = [one.verdicts[Modality.CXR].measured for one in (first, second)]
    assert [one.test_uses for one in uses if one is not None] == [1, 2]
    assert {result.name for result in first.results[Modality.CXR]} >= {"calibration", "perturbation", "attention"}


def test_a_run_that_cannot_be_written_to_loses_no_finding(
    manifest: Path, quick: Callable[[Level], None], brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    quick(Level.PASS)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "model.duoscan").write_bytes(brightness_bundles[Modality.CXR].read_bytes())
    (folder / "evidence").write_text("in the way")
    done = run(manifest, "--run", folder, "--out", tmp_path / "out", "--ledger", tmp_path / "uses.jsonl")
    assert done.exit_code == GATE_FAILED
    assert "not kept in" in done.output
    assert read_audit(tmp_path / "out").verdicts
