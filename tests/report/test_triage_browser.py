"""The script's numbers are Python's: a browser moves the sliders, and the pure functions are asked the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chromium import CHROMIUM, launched
from duoscan.evaluation.policies.answered import answered
from duoscan.evaluation.policies.measured import FIGURES, measure_policy, paired_patients
from duoscan.evaluation.policies.operating import candidate_policies
from duoscan.evaluation.policies.worth import cheapest_policy, cost, measured_policies
from duoscan.policies.assumptions import Assumptions
from duoscan.policies.certify import Promise
from duoscan.policies.scores import PatientScores
from duoscan.policies.worth import Costs, net_benefit_weights
from duoscan.report.triage_page import build_triage_page
from triage_cases import COSTS, cohort, document, setting

pytest.importorskip("playwright.sync_api")
SAME = {"rel": 1e-9, "abs": 1e-10}
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Opens a document as a page; any error of the script, and any request, is an error of the test."""
    problems: list[str] = []
    context = browser.new_context()

    def open_page(stated: dict[str, Any]) -> Any:
        path = tmp_path / "report.html"
        path.write_text(build_triage_page(stated), encoding="utf-8")
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text))
        page.on("request", lambda request: problems.append(request.url) if request.url != path.as_uri() else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    context.close()
    assert not problems


def move(page: Any, name: str, value: float) -> None:
    """As a hand does: the value changes and the page hears of it."""
    page.eval_on_selector(
        f"#triage-{name}",
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})); }",
        str(value),
    )


def read(page: Any) -> dict[str, list[float]]:
    """Value, lower and upper end of every cell, by row and figure, to the last bit."""
    found: dict[str, list[str]] = page.eval_on_selector_all(
        "#triage tr[data-policy] td, #triage tr[data-worth] td",
        """cells => Object.fromEntries(cells.map(({dataset, parentNode}) => [
            `${parentNode.dataset.policy || parentNode.dataset.worth} ${dataset.figure}`,
            [dataset.value, dataset.low, dataset.high]]))""",
    )
    return {cell: [float(end) for end in ends if end is not None] for cell, ends in found.items()}


def check(page: Any, calibration: PatientScores, test: PatientScores, promise: Promise, **at: Any) -> list[str]:
    """Hold every number of both tables against Python's; returns the refusals that Python has."""
    prevalence, harm, treat_from = at.get("prevalence", 0.1), at.get("harm", 0.0), at.get("treat_from", 0.1)
    costs: Costs = at.get("costs", COSTS)
    refusals, shown = [], read(page)
    offers = candidate_policies(calibration, setting(promise=promise, prevalence=prevalence))
    for place, (policy, refusal) in enumerate(offers):
        refusals += [refusal] if refusal else []
        assert page.inner_text(f'#triage tr[data-policy="{place}"] th span').startswith(policy.name)
        of = answered(policy, paired_patients(test))
        expected = measure_policy(policy, test, prevalence=prevalence).figures
        expected["net_benefit"] = of.worth(net_benefit_weights(prevalence, treat_from, harm))
        expected["cost"] = cost(of, policy, prevalence, costs)
        for name, estimate in expected.items():
            ends = [estimate.value, estimate.low, estimate.high]
            assert shown[f"{place} {name}"] == pytest.approx(ends, **SAME), (place, name)
        assert shown[f"{place} threshold"] == [policy.xray_threshold]
    measured = measured_policies([policy for policy, _ in offers], calibration, test)
    cheapest = cheapest_policy(measured, prevalence, costs, Assumptions().target_sensitivity)
    assert page.get_attribute("#triage-cheapest", "data-value") == str(-1 if cheapest is None else cheapest)
    assert len(shown) == len(offers) * (len(FIGURES) + 3)
    return refusals


def numbers(page: Any) -> list[str]:
    cells: list[str] = page.eval_on_selector_all(
        "#triage td, #triage [data-flow], #triage-cheapest", "all => all.map(one => one.textContent)"
    )
    return [" ".join(cell.split()) for cell in cells]


def test_the_script_starts_from_the_numbers_that_stand(opened: Any, browser: Any, tmp_path: Path) -> None:
    """With and without scripts the page says the same, digit by digit."""
    stated = document(cohort(1), cohort(2), setting(), Assumptions(costs=COSTS, ct_harm=0.01))
    moved = opened(stated)
    still = browser.new_context(java_script_enabled=False).new_page()
    still.goto((tmp_path / "report.html").as_uri())
    assert not still.is_visible("#triage-controls")
    assert moved.is_visible("#triage-controls")
    assert numbers(moved) == numbers(still)
    still.context.close()


def test_without_a_stated_prevalence_shares_are_of_the_test_patients(opened: Any) -> None:
    """Until the slider states one; then it is taken as known."""
    calibration, test = cohort(1), cohort(2, 30, 50)
    page = opened(document(calibration, test, setting(prevalence=None), Assumptions(costs=COSTS)))
    shown = read(page)
    for place, (policy, _) in enumerate(candidate_policies(calibration, setting())):
        for name, estimate in measure_policy(policy, test).figures.items():
            ends = [estimate.value, estimate.low, estimate.high]
            assert shown[f"{place} {name}"] == pytest.approx(ends, **SAME), (place, name)
    move(page, "prevalence", 0.1)
    check(page, calibration, test, Promise(0.05))


@pytest.mark.parametrize("levels", [None, 20])
def test_sliders_say_what_python_says(opened: Any, levels: int | None) -> None:
    """Also where scores are tied, and where too few are sick for the miss rate."""
    calibration, test = cohort(1, 80, 120, levels=levels), cohort(2, levels=levels)
    page = opened(document(calibration, test, setting(), Assumptions(costs=COSTS)))
    assert not check(page, calibration, test, Promise(0.05))
    move(page, "alpha", 0.12)
    assert not check(page, calibration, test, Promise(0.12))
    move(page, "prevalence", 0.02)
    move(page, "ct_harm", 0.013)
    move(page, "treat_from", 0.25)
    at = {"prevalence": 0.02, "harm": 0.013, "treat_from": 0.25}
    check(page, calibration, test, Promise(0.12), **at)
    move(page, "cost-miss", 7)
    check(page, calibration, test, Promise(0.12), costs=Costs(7, 10, 1, 6), **at)
    move(page, "alpha", 0.02)
    refusals = check(page, calibration, test, Promise(0.02), costs=Costs(7, 10, 1, 6), **at)
    # 2 % needs 149 sick patients; 80 calibrate.
    assert all(
        "needs 149 sick calibration patients; there are 80, so 69 are missing" in refusal for refusal in refusals
    )
    assert "needs 149 sick calibration patients; there are 80, so 69 are missing" in page.inner_text("#triage-refusal")
    assert "Moved by you" in page.inner_text("#triage-settings")
    page.click("#triage-reset")
    assert not check(page, calibration, test, Promise(0.05))
    assert not page.is_visible("#triage-refusal")


@pytest.mark.parametrize(
    ("promise", "least_sick", "missing"),
    [
        (Promise(0.1, scope="joint"), 100, "needs 59 sick"),
        (Promise(0.1, scope="union"), 200, "needs 146 sick"),
        (Promise(0.1, scope="union"), 100, "needs 146 sick"),
        (Promise(0.1, method="split-conformal"), 30, ""),
        (Promise(0.1, scope="joint", ct_chosen_here=True), 100, "chosen on the calibration patients"),
        # At 10 % the pairs are enough for both phases, at 5 % for X-ray alone or for neither.
        (Promise(0.1, scope="auto"), 50, "needs 59 sick"),
        (Promise(0.1, scope="auto"), 200, ""),
        (Promise(0.1, scope="auto", ct_chosen_here=True), 100, ""),
    ],
)
def test_other_promises_certify_the_same(opened: Any, promise: Promise, least_sick: int, missing: str) -> None:
    calibration, test = cohort(1, least_sick, 120), cohort(2)
    page = opened(document(calibration, test, setting(promise=promise), Assumptions(costs=COSTS)))
    check(page, calibration, test, promise)
    move(page, "alpha", 0.05)
    smaller = replace(promise, alpha=0.05)
    refusals = check(page, calibration, test, smaller)
    assert bool(refusals) == page.is_visible("#triage-refusal")
    assert not missing or not refusals or all(missing in each or "CT alone misses" in each for each in refusals)


def test_keys_move_the_sliders_and_the_curves_follow(opened: Any) -> None:
    page = opened(document(cohort(1), cohort(2), setting(), Assumptions()))
    assert not page.is_visible("#triage-cost-figure")
    assert page.is_visible("#triage-no-costs")
    before = page.inner_html('[data-chart="decision"]')
    page.focus("#triage-prevalence")
    page.keyboard.press("ArrowRight")
    assert page.inner_text('output[for="triage-prevalence"]') == "0.101"
    assert page.get_attribute("#triage-prevalence", "aria-valuetext") == "0.101"
    assert "prevalence 0.101" in page.inner_text("#triage-status")
    assert page.inner_html('[data-chart="decision"]') != before
    for name, value in vars(COSTS).items():
        page.fill(f"#triage-cost-{name}", str(value))
    assert page.is_visible("#triage-cost-figure")
    assert page.locator('[data-chart="cost"] polyline').count() == 6
    page.select_option("#triage-looked-at", "4")
    # CT for all: everyone of 1,000 goes, 101 of them sick.
    assert page.text_content('[data-flow="to_ct"]') == "1000.0 (101.0 sick)"


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(opened: Any, width: int, scheme: str) -> None:
    page = opened(document(cohort(1), cohort(2), setting(), Assumptions(costs=COSTS)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ink, paper = (
        sum(map(int, re.findall(r"\d+", colour)))
        for colour in page.eval_on_selector(
            "body", "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
        )
    )
    assert (ink < paper) == (scheme == "light")
