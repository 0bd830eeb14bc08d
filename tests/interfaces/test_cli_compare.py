"""``duoscan compare`` and other commands on tables that somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from duoscan.errors import InputError, PredictionsError
from duoscan.interfaces.cli import cli


@pytest.fixture(autouse=True)
def _no_ledger_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUOSCAN_USES", "")


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """One table of two models."""
    rng = np.random.default_rng(0)
    lines = ["image,patient,gt,age,resnet,vgg"]
    for place in range(90):
        sick = place % 3 == 0
        scores = np.clip(rng.normal(0.4 + 0.25 * sick, 0.15, 2), 0, 1)
        word = "COVID-19" if sick else "Normal"
        lines.append(f"set/{place}.png,p{place},{word},{20 + place % 60},{scores[0]:.3f},{scores[1]:.3f}")
    (tmp_path / "wide.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "wide.csv"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """Answers on most of the same images in other folders, without labels and patients."""
    lines = ["filename,y_score", *(f"/elsewhere/{place}.png,{(place * 37 % 90) / 90:.3f}" for place in range(80))]
    (tmp_path / "bare.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "bare.csv"


QUICK = ("--resamples", 100)


def test_one_table_may_hold_several_models(wide: Path, tmp_path: Path) -> None:
    done = run("compare", f"{wide}#resnet", f"{wide}#vgg", "--out", tmp_path / "c.json", *QUICK)
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in document["models"]] == ["resnet", "vgg"]
    (comparison,) = document["comparisons"]
    assert comparison["paired"]
    assert {one["metric"] for one in comparison["tests"]} == {"auroc", "sensitivity", "specificity"}
    assert "vgg: Use 2 of this test set, by 2 models so far." in done.output


def test_the_same_images_are_found_in_other_folders(wide: Path, bare: Path) -> None:
    done = run("compare", f"{wide}#resnet", bare, "--only-shared", *QUICK)
    assert done.exit_code == 0, done.output
    assert "Images are known by file name, for paths differ; 80 are in all." in done.output
    assert "bare: 80 rows take the label or patient they lack from resnet." in done.output
    assert "resnet: 10 rows are left out, not answered by all." in done.output
    assert done.output.count("80 of 80 patients") == 2
    assert "DeLong" in done.output


def test_a_page_shows_every_model(wide: Path, tmp_path: Path) -> None:
    done = run("compare", f"{wide}#resnet", f"{wide}#vgg", "--out", tmp_path / "c.html", *QUICK)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert page.count('<th scope="row">vgg</th>') == 4  # alone, and three metrics against the first
    assert "http" not in page.replace("http-equiv", "")


def test_what_cannot_be_compared_is_said(wide: Path, bare: Path, tmp_path: Path) -> None:
    assert "name two or more" in run("compare", f"{wide}#vgg").output
    assert "name the file so" in run("compare", f"{wide}#vgg", bare, "--out", tmp_path / "c.pdf").output
    missing = run("compare", f"{wide}#vg", bare)
    assert isinstance(missing.exception, PredictionsError)
    assert "the column 'vg' is not there, found image, patient, gt, age, resnet, vgg" in str(missing.exception)
    nowhere = run("compare", f"{tmp_path / 'none.csv'}#vgg", bare)
    assert isinstance(nowhere.exception, InputError)


def test_a_table_is_evaluated_by_groups(wide: Path) -> None:
    done = run("evaluate", wide, "--column", "probability=vgg", "--by", "age", *QUICK)
    assert done.exit_code == 0, done.output
    groups = [line.split("│")[1:3] for line in done.output.splitlines() if "age = " in line and "│" in line]
    assert [name.strip() for name, _ in groups] == [
        "age = 18 to below 40",
        "age = 40 to below 60",
        "age = 60 to below 80",
    ]
    assert sum(int(images) for _, images in groups) == 90


def test_answers_alone_are_audited_and_what_is_stated_is_called_so(wide: Path, tmp_path: Path) -> None:
    words = ("--column", "probability=vgg", "--modality", "cxr", "--rows-are", "test")
    stated = ("--threshold-chosen-on", "validation", "--trained-on", "elsewhere")
    done = run("audit", "--predictions", wide, *words, *stated, "--out", tmp_path / "audit")
    assert done.exit_code == 0, done.output
    verdict = json.loads((tmp_path / "audit" / "verdict.json").read_text(encoding="utf-8"))["cxr"]
    checks = {one["name"]: one for one in verdict["checks"]}
    assert checks["test-untouched"]["level"] == "pass"
    assert "as stated, and not checked: the rows are of the part 'test'" in checks["test-untouched"]["reasons"][0]
    assert checks["copies"]["level"] == "not run"
    assert checks["label-errors"]["level"] in {"pass", "warn"}
    page = run("report", wide, *words[:2], "--audit", tmp_path / "audit", "--out", tmp_path / "r.html")
    assert page.exit_code == 0, page.output


def test_chosen_on_test_is_a_warning(wide: Path, tmp_path: Path) -> None:
    words = ("--column", "probability=vgg", "--modality", "cxr", "--rows-are", "test", "--threshold-chosen-on", "test")
    run("audit", "--predictions", wide, *words, "--out", tmp_path / "audit")
    verdict = json.loads((tmp_path / "audit" / "verdict.json").read_text(encoding="utf-8"))["cxr"]
    (check,) = [one for one in verdict["checks"] if one["name"] == "test-untouched"]
    assert check["level"] == "warn"


def test_an_image_with_two_labels_fails_the_number(tmp_path: Path) -> None:
    lines = [f"{place}.png,{place % 2},{0.3 + 0.4 * (place % 2)},test" for place in range(60)]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(["path,label,probability,split", *lines, "4.png,1,0.3,test"]) + "\n", encoding="utf-8")
    done = run("audit", "--predictions", table, "--modality", "cxr")
    assert done.exit_code == 3
    assert "1 images carry two labels, e.g. 4.png: covid and other." in done.output
    assert "Note: 1 rows repeat a path that the table already holds (4.png)" in run("evaluate", table, *QUICK).output
