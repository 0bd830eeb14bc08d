"""What the gate is told of a run or a table, and how often its rows were used, is the same whoever asks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from duoscan.audit.evidence import new_entry
from duoscan.audit.gate import REQUIREMENTS, Verdict, judge
from duoscan.audit.ledger import OWN_LEDGER, beside, read_uses
from duoscan.audit.result import AuditResult, Level
from duoscan.audit.storage import Audited, write_audit
from duoscan.errors import InputError, PredictionsError
from duoscan.evaluation.evaluate import Evaluation
from duoscan.evidence.subject import Ask, Subject, read_subject
from duoscan.evidence.verdicts import evaluated, facts_of, measure
from duoscan.interfaces.cli import cli
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Decision, Finding, Modality, Split

QUICK = ["--resamples", "100"]


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands that cannot be asked for fewer; no interval is looked at here."""

    def few(subject: Subject, *, seed: int = 0, **_: int) -> Evaluation:
        return evaluated(subject, resamples=100, seed=seed)

    for place in ("duoscan.evidence.verdicts", "duoscan.report.page"):
        monkeypatch.setattr(f"{place}.evaluated", few)


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def printed(*words: object) -> str:
    done = run(*words)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def both(runs: dict[Modality, Path], path: Path, *, test_patients: tuple[str, ...] = ()) -> Path:
    """One manifest of the images of both runs; ``test_patients`` are called test patients whatever they were."""
    records: list[ImageRecord] = []
    root = runs[Modality.CXR].parent
    for folder in runs.values():
        own = read_manifest(folder / "manifest.csv")
        records += [
            one.model_copy(
                update={
                    "path": own.file(one).resolve().relative_to(root.resolve()).as_posix(),
                    "split": Split.TEST if one.patient_id in test_patients else one.split,
                }
            )
            for one in own
        ]
    write_manifest(Manifest(root, tuple(records)), path)
    return path


def triaged(runs: dict[Modality, Path], manifest: Path, out: Path, *words: object) -> dict[str, Verdict]:
    printed("triage", *runs.values(), "--manifest", manifest, "--miss-rate", 0.4, "--out", out, *words, *QUICK)
    document: dict[str, Any] = json.loads((out / "triage.json").read_text(encoding="utf-8"))
    return {phase: Verdict.from_json(one) for phase, one in document["verdicts"].items()}


def check(verdict: Verdict, name: str) -> tuple[Level, tuple[str, ...]]:
    (found,) = [one for one in verdict.checks if one.name == name]
    return found.level, found.reasons


SEEN = "2 of the tested patient ids took part in training or validation."


def test_triage_tells_that_patients_took_part_in_training(runs: dict[Modality, Path], tmp_path: Path) -> None:
    table = both(runs, tmp_path / "m.csv", test_patients=("p00", "p01"))
    for verdict in triaged(runs, table, tmp_path / "out").values():
        assert check(verdict, "test-untouched") == (Level.FAIL, (SEEN,))
    for verdict in triaged(runs, both(runs, tmp_path / "own.csv"), tmp_path / "own").values():
        assert check(verdict, "test-untouched")[0] is Level.PASS


def test_triage_knows_the_sources_of_training(runs: dict[Modality, Path], tmp_path: Path) -> None:
    verdict = triaged(runs, both(runs, tmp_path / "m.csv"), tmp_path / "out")["ct"]
    level, (reason,) = check(verdict, "external")
    assert (level, reason[:38]) == (Level.WARN, "every measured source took part in tra")


def audited(run_folder: Path, *, uses: int) -> Audited:
    """An audit that passes a run's own images and counted so many uses, by three models."""
    results = tuple(AuditResult(one.name, one.title, Level.PASS, ()) for one in REQUIREMENTS if one.judge is None)
    facts = replace(facts_of(*measure(read_subject(run_folder))), test_uses=uses, models_tried=3)
    table = read_manifest(run_folder / "manifest.csv")
    return Audited({Modality.CXR: results}, {Modality.CXR: judge(results, facts)}, table, "duoscan audit m.csv")


def own_run(runs: dict[Modality, Path], table: Path, folder: Path) -> Path:
    """The X-ray run in a folder of its own, with a copy of the manifest's rows as training leaves it."""
    shutil.copytree(runs[Modality.CXR], folder)
    write_manifest(read_manifest(table).where(modality=Modality.CXR), folder / "manifest.csv")
    return folder


def test_an_audits_larger_count_of_uses_stands_in_every_command(runs: dict[Modality, Path], tmp_path: Path) -> None:
    """The audit saw seven uses by three models, elsewhere; nobody's smaller count takes its place."""
    table = both(runs, tmp_path / "m.csv")
    xray = own_run(runs, table, tmp_path / "run-cxr")
    with new_entry(xray) as entry:
        write_audit(audited(xray, uses=7), entry.draft)
    said = "use 7 of this test set, by 3 model(s) so far"
    assert said in printed("evaluate", xray, table, *QUICK)
    printed("report", xray, "--out", tmp_path / "r.html")
    assert said in (tmp_path / "r.html").read_text(encoding="utf-8")
    printed("card", xray, "--out", tmp_path / "cards")
    assert said in (tmp_path / "cards" / "claim-2024.md").read_text(encoding="utf-8")
    models = {Modality.CXR: xray, Modality.CT: runs[Modality.CT]}
    verdict = triaged(models, table, tmp_path / "out", "--audit", xray / "evidence" / "001")["xray"]
    assert check(verdict, "uses")[1] == (f"{said}; the best of several is better than it will be on new patients",)


def test_all_commands_count_in_one_row(
    runs: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``report`` and ``card`` read the copy of the manifest that the run holds, the others the one that was given."""
    monkeypatch.setenv(OWN_LEDGER, str(tmp_path / "own.jsonl"))
    monkeypatch.setattr("duoscan.interfaces.cli.audit.audit_data", lambda *_, **__: ([], None))
    monkeypatch.setattr("duoscan.interfaces.cli.audit.audit_model", lambda *_, **__: [])
    table = both(runs, tmp_path / "m.csv")
    run_folder = own_run(runs, table, tmp_path / "run-cxr")
    printed("evaluate", run_folder, table, "--out", tmp_path / "first", *QUICK)
    lines = [
        printed("audit", table, "--run", run_folder),
        printed("report", run_folder, "--out", tmp_path / "r.html"),
        printed("card", run_folder, "--out", tmp_path / "cards"),
        printed("evaluate", tmp_path / "first" / "predictions.csv", *QUICK),
        printed("evaluate", run_folder / "model.duoscan", table, *QUICK),
    ]
    uses = ["use 2 of", "Use 3 of", "Use 4 of", "Use 5 of", "Use 6 of"]
    assert [use in text for use, text in zip(uses, lines, strict=True)] == [True] * 5, lines
    assert lines[-1].count("by 2 models so far") == 1, "the table's model is not known to be the run's"


def test_every_reader_tells_the_gate_the_same(runs: dict[Modality, Path], tmp_path: Path) -> None:
    """A run on its own images, and the same images named by a manifest, with and without validation rows beside."""
    table = read_manifest(both(runs, tmp_path / "m.csv"))
    validation = table.where(split=Split.VAL)
    target = runs[Modality.CT]
    asks = [Ask(), Ask(table, tmp_path / "m.csv"), Ask(table, tmp_path / "m.csv", beside=validation)]
    facts = [facts_of(*measure(read_subject(target, ask), resamples=100)) for ask in asks]
    assert {replace(one, data=None) for one in facts} == {replace(facts[0], data=None)}
    assert facts[0].external_sources == ()
    bare = facts_of(*measure(read_subject(target / "model.duoscan", asks[1]), resamples=100))
    assert bare.external_sources == ("phantom-0", "phantom-1"), "the bundle alone says it was trained on 'all'"


@pytest.mark.parametrize("target", ["model", "table"])
def test_rows_that_the_model_was_made_with_are_a_fault(runs: dict[Modality, Path], tmp_path: Path, target: str) -> None:
    ask = Ask(read_manifest(both(runs, tmp_path / "m.csv")), tmp_path / "m.csv", part="all")
    subject = read_subject(runs[Modality.CXR], ask)
    if target == "table":
        write_predictions(subject.predictions, tmp_path / "t.csv")
        subject = read_subject(tmp_path / "t.csv", Ask(part="all"))
    assert subject.part == "all"
    assert "27 of 54 measured rows are of a part that the model was made with." in subject.faults


def rows(splits: dict[Split | None, int], **changes: object) -> list[Prediction]:
    """So many patients of each part, every other one sick and called right."""
    found = []
    for split, count in splits.items():
        for place in range(count):
            sick = place % 2 == 0
            row = Prediction(
                f"{split}{place}.png",
                f"{split}{place}",
                Modality.CXR,
                0.8 if sick else 0.2,
                None,
                source="here",
                split=split,
                label=Finding.COVID if sick else Finding.NORMAL,
            )
            found.append(replace(row, **changes))  # type: ignore[arg-type]
    return found


def test_what_a_manifest_says_of_training_holds_for_a_table(runs: dict[Modality, Path], tmp_path: Path) -> None:
    """Its model was made with the manifest's training part, so a table on two of these patients is told."""
    manifest = read_manifest(both(runs, tmp_path / "m.csv"))
    tested = rows({Split.TEST: 40})
    write_predictions(
        [replace(row, patient_id=f"p{place:02d}") for place, row in enumerate(tested[:2])], tmp_path / "t"
    )
    subject = read_subject(tmp_path / "t", Ask(trained=manifest))
    assert subject.faults == (SEEN,)
    assert subject.trained_sources == {"phantom-0", "phantom-1"}
    write_predictions(tested, tmp_path / "alone")
    assert read_subject(tmp_path / "alone").trained_sources is None
    write_predictions([*tested, *rows({Split.VAL: 4}, source="there")], tmp_path / "val")
    assert read_subject(tmp_path / "val").trained_sources is None, "who only calibrates may not have trained"
    write_predictions([*tested, *rows({Split.TRAIN: 4}, source="there")], tmp_path / "train")
    assert read_subject(tmp_path / "train").trained_sources == {"there"}


def test_rows_that_name_no_modality_are_of_the_one_asked_for(tmp_path: Path) -> None:
    mixed = rows({None: 40}, modality=None) + rows({Split.TEST: 10}, modality=Modality.CT)
    write_predictions(mixed[:40], tmp_path / "t.csv")
    assert "40 images" in printed("evaluate", tmp_path / "t.csv", "--per-patient", "--modality", "cxr", *QUICK)
    write_predictions(mixed, tmp_path / "both.csv")
    assert read_subject(tmp_path / "both.csv", Ask(part="all", modality=Modality.CXR)).predictions == tuple(
        replace(row, modality=Modality.CXR) for row in mixed[:40]
    )
    write_predictions(mixed[40:], tmp_path / "ct.csv")
    with pytest.raises(PredictionsError, match="none of 10 rows is of chest X-ray"):
        read_subject(tmp_path / "ct.csv", Ask(modality=Modality.CXR))


def test_an_audit_measures_no_rows_of_training(
    runs: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest of training and validation rows alone has nothing to measure, as for every other command."""
    monkeypatch.setattr("duoscan.interfaces.cli.audit.audit_data", lambda *_, **__: ([], None))
    table = read_manifest(both(runs, tmp_path / "m.csv"))
    write_manifest(table.replace([one for one in table if one.split is not Split.TEST]), tmp_path / "made.csv")
    for words in (["audit", tmp_path / "made.csv", "--run"], ["evaluate"], ["report"]):
        target = [runs[Modality.CXR]]
        target += [tmp_path / "made.csv"] if words == ["evaluate"] else []
        target += ["--manifest", tmp_path / "made.csv"] if words == ["report"] else []
        refused = run(*words, *target).exception
        assert isinstance(refused, InputError)
        assert "no row is of the split 'test' (splits found: train, val)" in str(refused)


def test_a_prevalence_that_cannot_be_moved_is_no_use(tmp_path: Path) -> None:
    write_predictions(rows({Split.TEST: 40}, label=Finding.COVID), tmp_path / "t.csv")
    assert "rows of both classes" in str(run("evaluate", tmp_path / "t.csv", "--prevalence", 0.1, *QUICK).exception)
    assert not beside(tmp_path / "t.csv").exists()


@pytest.mark.parametrize("words", [["evaluate"], ["report", "--out", "r.html"], ["card", "--out", "cards"]])
def test_what_ends_before_it_measured_is_no_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_predictions(rows({Split.TEST: 10}, label=None), tmp_path / "t.csv")
    assert isinstance(run(words[0], "t.csv", *words[1:]).exception, PredictionsError)
    assert not beside(tmp_path / "t.csv").exists()
    write_predictions(rows({Split.TEST: 40}), tmp_path / "t.csv")
    printed(words[0], "t.csv", *words[1:])
    assert len(read_uses(beside(tmp_path / "t.csv"))) == 1


@pytest.mark.parametrize(
    "words", [["report", "--screening", "t.csv"], ["report", "--audit", "."], ["card", "--audit", "."]]
)
def test_what_else_is_damaged_is_told_before_anything_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_predictions(rows({Split.TEST: 40}), tmp_path / "t.csv")
    assert isinstance(run(*words, "t.csv", "--out", "out").exception, InputError)
    assert not beside(tmp_path / "t.csv").exists()


def test_triage_without_calibration_rows_is_no_use(tmp_path: Path) -> None:
    for kind in Modality:
        write_predictions(rows({Split.TEST: 40}, modality=kind), tmp_path / f"{kind}.csv")
    done = run("triage", tmp_path / "cxr.csv", tmp_path / "ct.csv", "--out", tmp_path / "out")
    assert "no calibration rows" in str(done.exception)
    assert not list(tmp_path.glob("*.jsonl"))


def test_rows_that_are_not_split_are_counted_and_not_locked(tmp_path: Path) -> None:
    for size, said in ((40, "Use 1 of"), (50, "Use 2 of")):
        write_predictions(rows({None: size}), tmp_path / "t.csv")
        assert said in printed("evaluate", tmp_path / "t.csv", *QUICK)
    write_predictions(rows({Split.VAL: 40}), tmp_path / "v.csv")
    assert "of this test set" not in printed("evaluate", tmp_path / "v.csv", *QUICK)


@pytest.fixture
def every_decision(tmp_path: Path) -> dict[Modality, Path]:
    """Tables of calibration and test patients that hold each decision there is, as ``duoscan predict`` writes them."""
    paths = {}
    for kind in Modality:
        table = rows({Split.VAL: 60, Split.TEST: 60}, modality=kind)
        table = [
            replace(row, decision=Decision.POSITIVE if row.label is Finding.COVID else Decision.NEGATIVE)
            for row in table
        ]
        for number, decision in enumerate((Decision.UNREADABLE, Decision.SET_ASIDE, Decision.NOT_READ), start=1):
            reason = Reason(ReasonCode.OTHER_KIND, "a word on why")
            table += [
                replace(row, path=f"{decision}{place}", probability=None, decision=decision, reason=reason)
                for place, row in enumerate(table[60 : 60 + number])
            ]
        paths[kind] = tmp_path / f"{kind}.csv"
        write_predictions(table, paths[kind])
        assert {row.decision for row in read_predictions(paths[kind])} == set(Decision)
    return paths


def test_a_table_is_evaluated_whatever_rows_it_holds(every_decision: dict[Modality, Path], tmp_path: Path) -> None:
    done = run("evaluate", every_decision[Modality.CT], "--out", tmp_path / "out", *QUICK)
    assert done.exit_code == 0, done.output
    assert "Answered: 0.984 [" in done.output  # 60 of 61: the refused image counts, those not asked for do not
    assert "60 images of 60 patients" in done.output
    for said in ("1 images have no answer", "2 images are sound but not", "3 images were not read"):
        assert f"Note: {said}" in done.output
    counts = json.loads((tmp_path / "out" / "metrics.json").read_text())["counts"]
    assert [sum(counts[name].values()) for name in ("unreadable", "set_aside", "not_read")] == [1, 2, 3]


def test_a_table_is_reported_on_whatever_rows_it_holds(every_decision: dict[Modality, Path], tmp_path: Path) -> None:
    assert "Written to" in printed("report", *every_decision.values(), "--out", tmp_path / "r.html")
    assert "2 images are sound but not what is answered" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Written to" in printed("card", every_decision[Modality.CT], "--out", tmp_path / "cards")


def test_triage_reads_a_table_whatever_rows_it_holds(every_decision: dict[Modality, Path], tmp_path: Path) -> None:
    printed("triage", *every_decision.values(), "--miss-rate", 0.4, "--out", tmp_path / "out", *QUICK)
    found = json.loads((tmp_path / "out" / "triage.json").read_text())
    assert found["test"] | {"sick": 30} == {"patients": 60, "units": "patients", "sick": 30, "paired": 60}
    again = read_predictions(tmp_path / "out" / "ct-predictions.csv")
    assert sorted(again, key=str) == sorted(read_predictions(every_decision[Modality.CT]), key=str)


def test_a_table_is_audited_whatever_rows_it_holds(
    every_decision: dict[Modality, Path], runs: dict[Modality, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duoscan.interfaces.cli.audit.audit_data", lambda *_, **__: ([], None))
    manifest = runs[Modality.CT] / "manifest.csv"
    done = printed("audit", manifest, "--predictions", every_decision[Modality.CT], "--out", tmp_path / "out")
    assert "on 60 images" in done
    assert "use 1 of this test set" in done


def test_blocks_images_and_single_images_of_a_new_source_are_told_to_the_gate(tmp_path: Path) -> None:
    """400 images without ids, one of them of another hospital: nobody is a known patient, nothing is external."""
    rows = [
        Prediction(
            f"{number}.png", None, Modality.CXR, 0.9 if number % 2 else 0.2, "", split=Split.TEST,
            source="new" if number == 0 else "here", label=Finding.COVID if number % 2 else Finding.OTHER,
        )
        for number in range(400)
    ]  # fmt: skip
    rows[1] = replace(rows[1], patient_id="here/covid/block-3")
    rows[2] = replace(rows[2], patient_id="p1")
    write_predictions(rows, tmp_path / "t.csv")
    subject = replace(read_subject(tmp_path / "t.csv"), trained_sources=frozenset({"here"}))
    facts = facts_of(*measure(subject, resamples=100))
    assert (facts.covid_patients + facts.other_patients, facts.unnamed) == (400, 399)
    assert (facts.external_sources, facts.external_patients) == (("new",), ((0, 1),))
    verdict = judge((), facts)
    for name in ("interval", "size", "external"):
        assert check(verdict, name)[0] is Level.WARN
    assert evaluated(subject).overall.people == "1 patients, and 1 blocks and 398 images in their place"
