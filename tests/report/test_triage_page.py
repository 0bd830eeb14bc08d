"""The page of policies: sound, closed in itself, readable without a script, and honest about what it lacks."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import pytest

from duoscan.audit.result import Level
from duoscan.policies.assumptions import Assumptions
from duoscan.policies.certify import Promise
from duoscan.policies.scores import PatientScores
from duoscan.report.triage_page import build_triage_page
from triage_cases import COSTS, DEPARTMENT, apart, cohort, document, setting

HTML = "{http://www.w3.org/1999/xhtml}"


def parsed(page: str) -> Element:
    """The document; an error of the page is an error of the test."""
    tree: Element = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True).parse(page)
    return tree


def text_of(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture(scope="module")
def stated() -> Iterator[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("duoscan.evaluation.policies.worth.REPLICATIONS", 4)
        asked = setting(margin=0.2, miss_rate_asked=True)  # so that a certified policy is chosen
        yield document(cohort(1), cohort(2), asked, Assumptions(costs=COSTS, department=DEPARTMENT, ct_harm=0.01))


@pytest.fixture(scope="module")
def page(stated: dict[str, Any]) -> str:
    return build_triage_page(stated)


def test_it_is_sound_and_loads_nothing(page: str, stated: dict[str, Any]) -> None:
    tree = parsed(page)
    identifiers = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page)
    assert not re.findall(r"url\((?!#|data:)", page)
    assert not re.findall(r"\b(fetch|XMLHttpRequest|import\()", page)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in page, "the one script that may run is the one that stands there"
    assert "<b>north</b>" not in page
    assert page == build_triage_page(json.loads(json.dumps(stated))), "what was read back gives an equal page"


def test_every_control_has_a_name(page: str) -> None:
    tree = parsed(page)
    labels = {label.get("for") for label in tree.iter(f"{HTML}label")}
    form = next(form for form in tree.iter(f"{HTML}form"))
    controls = [element for name in ("input", "select") for element in form.iter(HTML + name)]
    assert len(controls) == 9
    assert all(control.get("id") in labels for control in controls)
    assert form.get("hidden") is not None, "without a script it would move nothing"
    for figure in tree.iter("{http://www.w3.org/2000/svg}svg"):
        assert figure.get("aria-hidden") or figure.get("role") == "img"
        assert figure.get("aria-hidden") or figure.get("aria-label") or figure.get("aria-labelledby")
    assert all(table.find(f"{HTML}caption") is not None for table in tree.iter(f"{HTML}table"))


def test_the_numbers_stand_without_a_script(page: str, stated: dict[str, Any]) -> None:
    tree = parsed(page)
    rows = [row for row in tree.iter(f"{HTML}tr") if row.get("data-policy")]
    assert len(rows) == len(stated["policies"])
    for row, entry in zip(rows, stated["policies"], strict=True):
        for cell in row.iter(f"{HTML}td"):
            figure = entry["test"]["figures"][cell.get("data-figure")]
            digits = 1 if "per_1" in str(cell.get("data-figure")) else 3
            shown = f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f} to {figure['high']:.{digits}f})"
            assert text_of(cell) == shown
    everything = text_of(tree)
    for said in (
        "At most 0.05 of the sick leave at X-ray, with confidence 0.95",
        "Radiation dose of one examination, as given",
        "Against CT for all on the calibration patients, who chose the policy",
        "X-ray against CT, on equal terms",
        "scanners are loaded to 120%",
        "The cheapest policy with a sensitivity of at least 0.95",
        "source <b>north</b>",
        "a note",
    ):
        assert said in everything, said


def test_a_failing_verdict_keeps_the_number_from_the_headline(stated: dict[str, Any]) -> None:
    assert 'class="keys"' in build_triage_page(stated)
    failing = document(cohort(1), cohort(2), setting(), level=Level.FAIL)
    page = build_triage_page(failing)
    assert 'class="keys"' not in page
    assert "No policy's number is a headline while this stands" in page.replace("&#39;", "'")


def test_what_was_not_given_is_said_and_not_assumed() -> None:
    page = build_triage_page(document(cohort(1), cohort(2), setting(promise=Promise(0.01))))
    everything = text_of(parsed(page))
    assert "no costs are given and none is assumed" in everything
    assert "no department is given and none is assumed" in everything
    # 80 sick calibration patients, and 1 % needs 299
    assert "there are 80, so 219 are missing" in everything
    assert "Nothing: the policy is not certified" in everything


def test_different_patients_are_bounds_and_nothing_moves() -> None:
    page = build_triage_page(document(apart(cohort(1, 160, 160)), apart(cohort(2)), setting()))
    tree = parsed(page)
    assert not list(tree.iter(f"{HTML}form"))
    assert not list(tree.iter(f"{HTML}script"))
    everything = text_of(tree)
    assert "what the margins allow at least and at most" in everything
    assert "is not measured" in everything
    assert "Net benefit at least" in everything


def test_blocks_and_images_are_called_what_they_are() -> None:
    def renamed(group: PatientScores, name: str) -> PatientScores:
        names = tuple(name.format(place) for place in range(len(group)))
        return PatientScores(names, group.sick, group.xray, group.ct)

    blocks, images = renamed(cohort(1), "source/covid/block-{}"), renamed(cohort(2), "image:{}.png")
    found = document(blocks, images, setting(margin=0.2, miss_rate_asked=True))
    assert (found["calibration"]["units"], found["test"]["units"]) == ("blocks", "images")
    text = text_of(parsed(re.sub(r"<script.*?</script>", "", build_triage_page(found), flags=re.DOTALL)))
    assert "200 blocks, 80 sick (val rows)" in text
    assert "200 test images, 80 sick" in text
    assert "Against CT for all on the calibration blocks, who chose the policy" in text
    assert "test patients" not in text
    assert "Not everybody is named: 200 blocks in place of patients calibrate; 200 images in place of patients" in text
    assert "a level of 0.05 may be up to 0.072" in text
