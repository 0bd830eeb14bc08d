"""Checklists and cards: what is filled comes from the run, and what the run cannot know stays open."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from duoscan.audit.gate import judge
from duoscan.audit.result import AuditResult, Level
from duoscan.audit.storage import Audited
from duoscan.evaluation.evaluate import evaluate
from duoscan.evidence.subject import Subject, read_subjects
from duoscan.evidence.verdicts import measure
from duoscan.interfaces.cli.card import card_command
from duoscan.manifest.table import read_manifest
from duoscan.predictions import Prediction, write_predictions
from duoscan.report.cards import claim, tripod
from duoscan.report.cards.item import OPEN, Item, Status, answer
from duoscan.report.cards.write import Drafts, draft
from duoscan.terms import Finding, Modality, Split


@pytest.fixture(scope="module")
def subject(runs: dict[Modality, Path]) -> Subject:
    (found,) = read_subjects([runs[Modality.CXR]])
    return found


@pytest.fixture(scope="module")
def drafts(subject: Subject) -> Drafts:
    return draft(measure(subject))


def line_of(drafts: Drafts, name: str, number: int) -> str:
    (line,) = [line for line in drafts.files[name].splitlines() if line.startswith(f"| {number} |")]
    return line


def test_the_checklists_have_all_their_items_in_order() -> None:
    assert [one.number for one in claim.ITEMS] == [str(number) for number in range(1, 45)]  # CLAIM 2024: 44 items
    assert [one.number for one in tripod.ITEMS] == [str(number) for number in range(1, 28)]  # TRIPOD+AI: 27 items


@pytest.mark.parametrize(
    ("facts", "left", "status"),
    [({"a": "x"}, "", Status.FILLED), ({"a": "x"}, "more", Status.PARTLY), ({}, "", Status.OPEN)],
)
def test_an_item_is_filled_only_by_all_its_facts(facts: dict[str, str], left: str, status: Status) -> None:
    found = answer(Item("1", "s", "asks", "It is {a}.", left), facts)
    assert found.status is status
    assert bool(found.left) == (status is not Status.FILLED)
    assert ("It is x." in found.text) == (status is not Status.OPEN)


def test_filled_items_hold_what_the_run_holds(subject: Subject, drafts: Drafts) -> None:
    evaluation = evaluate(subject.predictions, threshold=subject.threshold, threshold_origin="bundle")
    assert f"AUROC {evaluation.metrics['auroc'].value:.3f}" in line_of(drafts, "claim-2024.md", 37)
    assert "plain:tiny" in line_of(drafts, "claim-2024.md", 22)  # the recipe of the fixture
    assert "32 × 32 pixels" in line_of(drafts, "claim-2024.md", 9)
    # 18 train, 9 val, 27 test patients, a third of them covid
    parts = line_of(drafts, "claim-2024.md", 19)
    assert "train: 6 covid images of 6 patients" in parts
    assert "test: 9 covid images of 9 patients" in parts
    assert "python 3.11" in line_of(drafts, "claim-2024.md", 23)


def test_another_run_gives_other_text(subject: Subject, drafts: Drafts) -> None:
    """The same draft on half the rows must not say the same: nothing is written in."""
    other = draft(measure(replace(subject, predictions=subject.predictions[:15], files=subject.files[:15])))
    for number in (21, 37, 38, 39):
        assert line_of(other, "claim-2024.md", number) != line_of(drafts, "claim-2024.md", number)


@pytest.mark.parametrize("number", [3, 4, 11, 13, 15, 16, 17, 18, 34, 41, 44])
def test_what_only_a_person_can_say_stays_open(drafts: Drafts, number: int) -> None:
    assert f"| {OPEN}" in line_of(drafts, "claim-2024.md", number)


def test_audits_fill_what_was_open(subject: Subject, runs: dict[Modality, Path], drafts: Drafts) -> None:
    assert OPEN in line_of(drafts, "claim-2024.md", 20)
    results = tuple(AuditResult(name, name, Level.PASS, (f"the {name} reason",)) for name in ("patients", "copies"))
    manifest = read_manifest(runs[Modality.CXR] / "manifest.csv")
    audited = Audited({Modality.CXR: results}, {Modality.CXR: judge(results)}, manifest, "duoscan audit")
    line = line_of(draft(measure(subject), [audited]), "claim-2024.md", 20)
    assert OPEN not in line
    assert "the patients reason" in line
    assert "the copies reason" in line


def test_counts_are_those_of_the_table(drafts: Drafts) -> None:
    for name, counts in drafts.counts.items():
        rows = [line for line in drafts.files[name].splitlines() if re.match(r"\| \d+ \|", line)]
        answers = [row.split(" | ")[3] for row in rows]
        assert counts[Status.OPEN] == sum(text.startswith(OPEN) for text in answers)
        assert counts[Status.FILLED] == sum(OPEN not in text for text in answers)
        assert sum(counts.values()) == len(rows)


def test_the_front_matter_is_yaml_and_a_failing_number_is_not_in_it(drafts: Drafts, tmp_path: Path) -> None:
    """The fixture's 9 covid test patients are too few; 120 of either class are enough, once their data are audited."""
    card = drafts.files["model-card.md"]
    front = yaml.safe_load(card.split("---")[1])
    assert front["library_name"] == "duoscan"
    assert "model-index" not in front
    assert card.index("must not be quoted") < card.index("## Evaluation")
    rows = [
        Prediction(
            f"{n}.png", f"p{n}", Modality.CT, 0.9 if (n % 2 == 0) != (n % 10 == 9) else 0.1, "", split=Split.TEST,
            source="here", label=Finding.COVID if n % 2 == 0 else Finding.NORMAL,
        )
        for n in range(240)
    ]  # fmt: skip
    write_predictions(rows, tmp_path / "theirs.csv")
    (sound,) = read_subjects([tmp_path / "theirs.csv"])
    assert "model-index" not in yaml.safe_load(draft(measure(sound)).files["model-card.md"].split("---")[1])
    lines = ["path,modality,label,source,patient_id,split"]
    lines += [f"{row.path},ct,{row.label},here,{row.patient_id},test" for row in rows]
    (tmp_path / "m.csv").write_text("\n".join(lines), encoding="utf-8")
    results = tuple(AuditResult(name, name, Level.PASS, ()) for name in ("patients", "copies", "confounding"))
    manifest = read_manifest(tmp_path / "m.csv", check_files=False)
    audited = Audited({Modality.CT: results}, {Modality.CT: judge(results)}, manifest, "duoscan audit")
    front = yaml.safe_load(draft(measure(sound), [audited]).files["model-card.md"].split("---")[1])
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == evaluate(rows).metrics["auroc"].value
    assert yaml.safe_load(drafts.files["dataset-card.md"].split("---")[1])["size_categories"] == ["n<1K"]


def test_the_command_writes_the_drafts_and_says_what_is_open(hospital_run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(card_command, [str(hospital_run), "--out", str(tmp_path / "cards")])
    assert done.exit_code == 0, done.output
    assert re.search(r"claim-2024.md: \d+ filled, \d+ partly filled, \d+ open", done.output)
    names = {"claim-2024.md", "tripod-ai.md", "model-card.md", "dataset-card.md"}
    assert {file.name for file in (tmp_path / "cards").iterdir()} == names
    assert not any("<script>" in file.read_text() for file in (tmp_path / "cards").iterdir())
