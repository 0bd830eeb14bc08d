"""The verdict in the report: a failing gate never headlines, and audits of other data do not count."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

import html5lib
import pytest
from click.testing import CliRunner

from duoscan.audit.evidence import new_entry
from duoscan.audit.gate import REQUIREMENTS, judge
from duoscan.audit.result import AuditResult, AuditTable, Level
from duoscan.audit.storage import Audited, read_audit, write_audit
from duoscan.errors import InputError
from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evidence.subject import Subject
from duoscan.evidence.verdicts import judge_subject
from duoscan.interfaces.cli.evaluate import evaluate_command
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.predictions import Prediction, write_predictions
from duoscan.terms import Finding, Modality, Split

HTML = "{http://www.w3.org/1999/xhtml}"
AUDITS = tuple(one.name for one in REQUIREMENTS if one.judge is None)


def parsed(page: str) -> Element:
    tree: Element = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True).parse(page)
    return tree


def audited(run: Path, *, failing: str | None = None) -> Audited:
    """Audits of a run's own manifest, all passed but one."""
    manifest = read_manifest(run / "manifest.csv")
    results = tuple(
        AuditResult(
            name,
            name,
            Level.FAIL if name == failing else Level.PASS,
            (f"{name} <b>found</b>",),
            tables=(AuditTable("Figures", ("what", "how many"), (("a", "1"),)),),
        )
        for name in AUDITS
    )
    return Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit cxr.csv")


@pytest.fixture(scope="module")
def failing_page(
    runs: dict[Modality, Path], page_of: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("audit")
    write_audit(audited(runs[Modality.CXR], failing="copies"), folder)
    return page_of(runs[Modality.CXR], runs[Modality.CT], audits=(folder,))


def evaluated(*words: object) -> str:
    """What ``duoscan evaluate`` prints."""
    result = CliRunner().invoke(evaluate_command, [*map(str, words), "--resamples", "100"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate_prints_the_verdict_of_the_runs_evidence_first(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run, table = tmp_path / "run", runs[Modality.CXR] / "manifest.csv"
    shutil.copytree(runs[Modality.CXR], run)
    asked = (run, table, "--ledger", tmp_path / "uses.jsonl")
    bare = evaluated(*asked)
    assert bare.splitlines()[-1] == f"No audit backs these figures; run: duoscan audit {table} --run {run}"
    assert "Verdict" not in bare
    for failing in (None, "copies"):
        with new_entry(run) as entry:
            write_audit(audited(runs[Modality.CXR], failing=failing), entry.draft)
    for words in (asked, (*asked, "--per-patient")):
        printed = evaluated(*words)
        assert printed.startswith("Verdict on these images: fail; copies <b>found</b>")
        order = [printed.index(text) for text in ("copies <b>", "not to be quoted without", "27 patients", "AUROC  ")]
        assert order == sorted(order)
        assert "No audit backs" not in printed


def test_evidence_of_other_images_backs_nothing(runs: dict[Modality, Path], tmp_path: Path) -> None:
    run, table = tmp_path / "run", runs[Modality.CXR] / "manifest.csv"
    shutil.copytree(runs[Modality.CXR], run)
    whole = audited(runs[Modality.CXR])
    with new_entry(run) as entry:
        write_audit(replace(whole, manifest=whole.manifest.replace(whole.manifest.records[:-1])), entry.draft)
    printed = evaluated(run, table, "--ledger", tmp_path / "uses.jsonl")
    assert "Verdict" not in printed
    assert "No audit backs these figures (the audit by 'duoscan audit cxr.csv' does not hold 1 of the 27" in printed
    rows = tmp_path / "rows.csv"
    rows.write_text("label,probability\n" + "1,0.9\n0,0.2\n" * 5, encoding="utf-8")
    assert f"run: duoscan audit --predictions {rows}" in evaluated(rows)


def test_a_failing_gate_never_headlines(failing_page: str) -> None:
    """Reasons stand before the first number; there is no big number; the overview shows reasons in its place."""
    tree = parsed(failing_page)
    (chapter,) = [one for one in tree.iter(HTML + "section") if one.attrib["id"] == "model-1"]
    text = " ".join("".join(chapter.itertext()).split())
    assert not [one for one in chapter.iter(HTML + "dl") if one.attrib.get("class") == "keys"]
    assert (
        text.index("copies <b>found</b>")
        < text.index("measured, under the reasons above")
        < text.index("Sensitivity (TPR)")
    )
    (overview,) = [one for one in tree.iter(HTML + "section") if one.attrib["id"] == "overview"]
    shown = "".join(overview.itertext())
    assert "copies <b>found</b>" in shown
    rows = ["".join(row.itertext()) for row in overview.iter(HTML + "tr")]
    assert not any("run-cxr" in row for row in rows)


def test_reasons_stand_before_every_number_of_the_page(
    runs: dict[Modality, Path], answers: Path, page_of: Callable[..., str], failing_page: str
) -> None:
    """Comparison and two-phase answers hold numbers too, and come before the chapters."""
    assert failing_page.index("copies &lt;b&gt;found&lt;/b&gt;") < failing_page.index('id="versus-1"')
    assert "Failed or not audited:" in failing_page
    flow_page = page_of(runs[Modality.CXR], screening=answers)
    parsed(flow_page)
    assert flow_page.index("9 covid patients and 18 others") < flow_page.index('id="flow"')


def test_every_requirement_stands_with_its_level_in_words(failing_page: str) -> None:
    tree = parsed(failing_page)
    (chapter,) = [one for one in tree.iter(HTML + "section") if one.attrib["id"] == "model-1"]
    (table,) = [one for one in chapter.iter(HTML + "table") if one.attrib.get("class") == "audits"]
    rows = ["".join(row.itertext()) for row in table.iter(HTML + "tr")][1:]
    assert len(rows) == len(REQUIREMENTS)
    assert all(one.title in row for one, row in zip(REQUIREMENTS, rows, strict=True))


@pytest.fixture
def sound() -> tuple[Subject, Evaluation]:
    """120 covid patients called right but for every tenth, 120 others likewise; no run behind it."""
    rows = tuple(
        Prediction(
            f"{number}.png",
            f"p{number}",
            Modality.CXR,
            0.9 if (number % 2 == 0) != (number % 10 == 9 or number % 10 == 4) else 0.1,
            "",
            source="here",
            split=Split.TEST,
            label=Finding.COVID if number % 2 == 0 else Finding.NORMAL,
        )
        for number in range(240)
    )
    subject = Subject("theirs", Modality.CXR, rows, (None,) * 240, Split.TEST, None, "", "", "f" * 64)
    return subject, evaluate(rows)


def manifest_of(subject: Subject, root: Path) -> Path:
    lines = ["path,modality,label,source,patient_id,split"]
    lines += [f"{row.path},cxr,{row.label},{row.source},{row.patient_id},test" for row in subject.predictions]
    (root / "m.csv").write_text("\n".join(lines))
    return root / "m.csv"


def test_without_audits_the_verdict_is_a_warning_that_names_them(sound: tuple[Subject, Evaluation]) -> None:
    verdict = judge_subject(*sound, []).verdict
    assert verdict.level is Level.WARN
    assert {check.name for check in verdict.checks if check.level is Level.NOT_RUN} >= set(AUDITS)


def test_audits_of_other_images_do_not_count(sound: tuple[Subject, Evaluation], tmp_path: Path) -> None:
    subject, evaluation = sound
    manifest = read_manifest(manifest_of(subject, tmp_path), check_files=False)
    results = tuple(AuditResult(name, name, Level.FAIL, ("bad",)) for name in ("copies",))
    whole = Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit m.csv")
    assert judge_subject(subject, evaluation, [whole]).verdict.level is Level.FAIL
    short = replace(whole, manifest=manifest.replace(manifest.records[:-3]))
    judgement = judge_subject(subject, evaluation, [short])
    assert judgement.verdict.level is Level.WARN
    assert "does not hold 3 of the 240 images" in judgement.unused[0]


def test_audits_of_another_model_do_not_count(sound: tuple[Subject, Evaluation], tmp_path: Path) -> None:
    subject, evaluation = sound
    manifest = read_manifest(manifest_of(subject, tmp_path), check_files=False)
    results = (AuditResult("shortcuts", "Shortcuts", Level.FAIL, ("bad",)), AuditResult("copies", "C", Level.PASS, ()))
    other = Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit m.csv")
    judgement = judge_subject(subject, evaluation, [other])
    assert [one.name for one in judgement.results] == ["copies"]
    assert "another model, so left out: Shortcuts" in judgement.unused[0]


def test_an_audit_folder_reads_back_and_an_altered_one_is_refused(runs: dict[Modality, Path], tmp_path: Path) -> None:
    stated = audited(runs[Modality.CXR], failing="patients")
    write_audit(stated, tmp_path)
    read = read_audit(tmp_path)
    assert (read.results, read.verdicts, read.command) == (stated.results, stated.verdicts, stated.command)
    lines = (tmp_path / "manifest.csv").read_text().splitlines(keepends=True)
    (tmp_path / "manifest.csv").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="not the rows that were audited"):
        read_audit(tmp_path)
    document = json.loads((tmp_path / "audit.json").read_text())
    for change in ({"version": 2}, {"results": [{"name": "copies"}]}):
        (tmp_path / "audit.json").write_text(json.dumps(document | change))
        with pytest.raises(InputError):
            read_audit(tmp_path)


def test_a_warning_headlines_below_its_reasons(
    sound: tuple[Subject, Evaluation], page_of: Callable[..., str], tmp_path: Path
) -> None:
    write_predictions(sound[0].predictions, tmp_path / "theirs.csv")
    bare = page_of(tmp_path / "theirs.csv")
    assert '<dl class="keys">' not in bare
    assert "no headline: the data they are on were not audited" in bare
    manifest = read_manifest(manifest_of(sound[0], tmp_path), check_files=False)
    results = tuple(AuditResult(name, name, Level.PASS, ()) for name in ("patients", "copies", "confounding"))
    whole = Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit m.csv")
    write_audit(whole, tmp_path / "audit")
    page = page_of(tmp_path / "theirs.csv", audits=(tmp_path / "audit",))
    parsed(page)
    assert page.index("Not run, so not known") < page.index('<dl class="keys">')
    assert "under the reasons above" not in page


def test_the_newest_evidence_in_a_run_is_read_where_none_is_named(
    runs: dict[Modality, Path], page_of: Callable[..., str], tmp_path: Path
) -> None:
    run = tmp_path / "run-cxr"
    shutil.copytree(runs[Modality.CXR], run)
    write_manifest(read_manifest(runs[Modality.CXR] / "manifest.csv"), run / "manifest.csv")
    for failing in ("copies", "confounding"):
        with new_entry(run) as entry:
            write_audit(audited(run, failing=failing), entry.draft)
    write_audit(audited(run, failing="patients"), tmp_path / "named")
    reasons = {name: f"<li>{name} &lt;b&gt;found&lt;/b&gt;" for name in ("copies", "confounding", "patients")}
    against, _, _ = page_of(run).partition("What speaks for them")
    assert [text in against for text in reasons.values()] == [False, True, False]
    against, _, _ = page_of(run, audits=(tmp_path / "named",)).partition("What speaks for them")
    assert [text in against for text in reasons.values()] == [False, False, True]
