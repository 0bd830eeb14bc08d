"""The report as it is read: the story first, patients before images, the rest folded, nothing cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from cases_by_state import case_of
from chromium import CHROMIUM, launched
from duoscan.cases.stored import read_screening, write_maps
from duoscan.imaging.heatmap import SeenMap
from duoscan.manifest.records import ImageRecord
from duoscan.policies.rule import PhaseState
from duoscan.report.flow import Mark, marked, read_flow
from duoscan.report.head import ages_and_sexes
from duoscan.terms import Finding, Modality, Split

HTML = "{http://www.w3.org/1999/xhtml}"


def parsed(page: str) -> Any:
    return html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True).parse(page)


def text_of(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def record(patient: str, label: Finding) -> ImageRecord:
    return ImageRecord(path=f"{patient}.png", modality=Modality.CXR, patient_id=patient, label=label, split=Split.TEST)


def test_missed_and_false_patients_lead(answers: Path) -> None:
    # p27, p29, p31 are answered positive or negative as the fixture states; p30 needs a CT.
    labels = {"p27": Finding.NORMAL, "p28": Finding.COVID, "p29": Finding.NORMAL, "p30": Finding.COVID}
    flow = read_flow(answers, {name: [record(name, label)] for name, label in labels.items()}, seed=0)
    shown = [(one.case.patient_id, one.mark) for one in flow.patients]
    assert shown[:3] == [("p28", Mark.MISSED), ("p27", Mark.FALSE), ("p30", Mark.UNANSWERED)]
    assert {name for name, mark in shown[3:5]} == {"p31", "stranger"}
    assert shown[5:] == [("p29", Mark.RIGHT)]
    assert flow.spoken_marks == "1 missed, 1 false alarm, 1 no answer, 2 not known, 1 right"


def test_who_has_no_answer_is_neither_right_nor_wrong() -> None:
    unreadable = case_of("a", PhaseState.UNREADABLE, PhaseState.UNREADABLE)
    assert marked(unreadable, Finding.NORMAL).mark is Mark.UNANSWERED
    assert marked(unreadable, None).mark is Mark.UNKNOWN


def test_the_head_says_who_was_measured_by_whom_and_what_follows(
    runs: dict[Modality, Path], answers: Path, page_of: Callable[..., str]
) -> None:
    made = {"screening": answers, "date": "2026-11-28", "by": "<i>A. Reader</i>"}
    tree = parsed(page_of(runs[Modality.CXR], runs[Modality.CT], **made))
    head = text_of(next(tree.iter(HTML + "header")))
    assert "2026-11-28, by <i>A. Reader</i>" in head
    assert "chest X-ray: 27 patients, 9 with covid; ages and sexes are not stated" in head
    # Neither was audited, so no number stands in the first line.
    assert "No number here may be quoted alone: run-cxr and run-ct were not audited, or failed." in head


def test_thresholds_stand_side_by_side(full_page: str) -> None:
    (table,) = [one for one in parsed(full_page).iter(HTML + "table") if "Thresholds on" in text_of(one)]
    rows = [[text_of(cell) for cell in row] for row in table.iter(HTML + "tr")]
    assert rows[0] == ["Threshold", "chest X-ray", "chest CT", "For"]
    assert [row[0] for row in rows[1:]] == ["Single image", "Study", "Policy: confirm-positives, uncertified"]
    assert all(row[1:3] == ["0.500", "0.500"] for row in rows[1:])
    assert len({row[3] for row in rows[1:]}) == 3


def test_patients_come_before_their_slices(full_page: str) -> None:
    (chapter,) = [one for one in parsed(full_page).iter(HTML + "section") if one.get("id") == "model-2"]
    captions = [text_of(one) for one in chapter.iter(HTML + "caption")]
    assert captions[0] == "Patients, one answer each: measured, under the reasons above"
    images = [one for one in chapter.iter(HTML + "details") if one.get("id") == "model-2-decisions"]
    assert text_of(next(images[0].iter(HTML + "summary"))).startswith("Single images:")


def test_ages_and_sexes_of_files_that_nobody_here_made(tmp_path: Path) -> None:
    real = [Path(str(get_testdata_file(name))) for name in ("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")]
    # Their sexes are O, F and M; the one age is 000Y, as de-identification leaves it, and says nothing.
    assert ages_and_sexes([*real, Path(__file__), Path("gone.dcm")]) == "women 1, men 1, other 1"
    aged = []
    for age in ("018M", "061Y", "044Y", "000Y", ""):
        dataset = dcmread(real[0])
        dataset.PatientAge, dataset.PatientSex = age, "U"
        aged.append(tmp_path / f"a{age}.dcm")
        dataset.save_as(aged[-1])
    # 18 months are 1.5 years, shown as 2.
    assert ages_and_sexes(aged) == "ages 2 to 61, median 44 (known of 3)"
    assert ages_and_sexes([]) == "ages and sexes are not stated"


def test_heatmaps_are_drawn_from_answers_and_maps_that_lie_beside(
    runs: dict[Modality, Path], tmp_path: Path, page_of: Callable[..., str]
) -> None:
    from duoscan.cases.find import from_manifest
    from duoscan.cases.screening import Screener
    from duoscan.cases.stored import write_screening
    from duoscan.manifest.table import read_manifest
    from duoscan.results.sources import ActivationKeeper

    run = runs[Modality.CXR]
    bundles = [runs[kind] / "model.duoscan" for kind in Modality]
    keeper = ActivationKeeper()
    table = read_manifest(run / "manifest.csv").where(split=Split.TEST)
    screening = Screener(*bundles, check_quality=False).screen_found(from_manifest(table), on_image=keeper.add)
    write_screening(screening, tmp_path / "answers.json")
    without = parsed(page_of(run, screening=tmp_path / "answers.json"))
    assert "Where the models looked" not in text_of(without)
    write_maps(keeper.maps, tmp_path / "answers.npz")
    tree = parsed(page_of(run, screening=tmp_path / "answers.json"))
    maps = [one for one in tree.iter(HTML + "img") if "heatmap of patient" in one.attrib["alt"]]
    assert maps
    said = " ".join(one.attrib["alt"] for one in maps)
    assert "heatmap of patient p" in said
    hidden = parsed(page_of(run, screening=tmp_path / "answers.json", with_images=False))
    assert not list(hidden.iter(HTML + "img"))


def test_a_map_that_is_gone_is_told(
    runs: dict[Modality, Path], answers: Path, tmp_path: Path, page_of: Callable[..., str]
) -> None:
    write_maps({"other.png": SeenMap(np.zeros((2, 2), np.float32))}, tmp_path / "x.npz")
    page = page_of(runs[Modality.CXR], screening=answers, maps=tmp_path / "x.npz")
    assert "Where the models looked" not in page  # the answers of the fixture name no image at all
    assert not read_screening(answers).cases[0].studies[0].carrying


# What follows is looked at in a browser.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    with launched() as opened:
        yield opened


@pytest.fixture
def opened(browser: Any, full_page: str, tmp_path: Path) -> Any:
    path = tmp_path / "report.html"
    path.write_text(full_page, encoding="utf-8")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(path.as_uri())
    yield page
    page.close()


OPEN_ALL = "document.querySelectorAll('details').forEach(one => one.open = true)"
CUT = """() => [...document.querySelectorAll('main *')].filter(one => !one.closest('svg')).filter(one => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.right > document.documentElement.clientWidth + 1;
}).map(one => one.tagName + ' ' + one.textContent.trim().slice(0, 60))"""


@pytest.mark.browser
def test_the_first_screens_tell_the_story_and_the_rest_unfolds(opened: Any) -> None:
    folded = opened.evaluate("document.documentElement.scrollHeight")
    assert opened.locator("#overview").is_visible()
    assert not opened.locator("#model-1-decisions").is_visible()
    opened.evaluate(OPEN_ALL)
    assert opened.locator("#model-1-decisions").is_visible()
    assert folded < 3 * 800 < opened.evaluate("document.documentElement.scrollHeight") / 3


@pytest.mark.browser
@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_is_cut(opened: Any, width: int) -> None:
    opened.set_viewport_size({"width": width, "height": 800})
    opened.evaluate(OPEN_ALL)
    assert opened.evaluate(CUT) == []


@pytest.mark.browser
def test_print_opens_everything(opened: Any) -> None:
    opened.emulate_media(media="print")
    # A height of its own, though nobody opened it.
    assert opened.evaluate("document.querySelector('#model-1-decisions table').getBoundingClientRect().height") > 50
    assert opened.evaluate("document.querySelector('#patients table').getBoundingClientRect().height") > 50
