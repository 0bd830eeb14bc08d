"""The page of a screened batch: urgent first, closed in itself, and not to be changed by names from outside."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import html5lib
import pytest

from cases_by_state import screening_of
from duoscan.interfaces.cli import main
from duoscan.policies.policy import Policy
from duoscan.policies.rule import Answer
from duoscan.report.screening_page import MOST_OPEN, build_screening_page
from duoscan.terms import Modality
from stand_ins import write_png

HTML = "{http://www.w3.org/1999/xhtml}"
POLICY = Policy(kind="confirm-positives", xray_threshold=0.5, ct_threshold=0.5)
PAYLOADS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "'-alert(1)-'",
    "{{ 7 * 7 }}",
    "</style><b>bold",
    "javascript:alert(1)",
    "&lt;b&gt;",
)


def parsed(page: str) -> Any:
    return html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True).parse(page)


def named(tree: Any, name: str) -> list[Any]:
    return list(tree.iter(HTML + name))


def text_of(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_most_urgent_come_first_and_negatives_are_folded() -> None:
    cases = {
        "negative": (0.1, None, False),
        "unreadable": (None, -1.0, False),
        "less": (0.9, 0.6, False),
        "more": (0.6, 0.9, False),
        "waits": (0.7, None, False),
    }
    tree = parsed(build_screening_page(screening_of(cases, POLICY), "duoscan screen", {}))
    names = [text_of(one) for one in named(tree, "th") if one.attrib.get("scope") == "row"]
    assert names == ["more", "less", "waits", "unreadable", "negative"]
    groups = [one for one in named(tree, "section") if one.attrib["id"].startswith("answer-")]
    assert [next(iter(one)).attrib.get("open") is not None for one in groups] == [True, True, True, False]
    text = text_of(tree)
    assert "Research software, not a medical device." in text
    assert "1 negative, 1 CT needed, 2 positive, 1 unreadable" in text


def test_a_long_table_folds() -> None:
    cases = {f"p{number:03d}": (0.9, 0.9, False) for number in range(MOST_OPEN + 3)}
    tree = parsed(build_screening_page(screening_of(cases, POLICY), "duoscan screen", {}))
    (more,) = [one for one in named(tree, "summary") if text_of(one) == "3 more"]
    assert more is not None


def test_names_from_files_cannot_change_the_page() -> None:
    plain = build_screening_page(screening_of(dict.fromkeys("abcdefgh", (0.9, 0.9, False)), POLICY), "duoscan", {})
    hostile = build_screening_page(
        screening_of(dict.fromkeys(PAYLOADS, (0.9, 0.9, False)), POLICY), f"duoscan {PAYLOADS[0]}", {}
    )
    shapes = [[(one.tag, sorted(one.attrib)) for one in parsed(page).iter()] for page in (plain, hostile)]
    assert shapes[0] == shapes[1]
    text = text_of(parsed(hostile))
    assert all(payload in text for payload in PAYLOADS)
    assert "script-src" not in hostile  # so nothing may run, whatever slips through


def test_equal_answers_give_equal_pages() -> None:
    screening = screening_of({"a": (0.9, 0.9, False)}, POLICY)
    pages = {build_screening_page(screening, "duoscan", {}) for _ in range(2)}
    assert len(pages) == 1


def test_every_answer_has_its_group() -> None:
    cases = {"a": (0.1, None, False), "b": (0.7, None, False), "c": (0.9, 0.9, False), "d": (None, -1.0, False)}
    tree = parsed(build_screening_page(screening_of(cases, POLICY), "duoscan", {}))
    titles = [text_of(one).partition(":")[0].lower() for one in named(tree, "h2")]
    assert {answer.lower() for answer in Answer} <= set(titles)


def test_the_command_writes_the_page_of_hostile_files(brightness_bundles: dict[Modality, Path], tmp_path: Path) -> None:
    incoming, page = tmp_path / "in", tmp_path / "out" / "batch.html"
    names = ["<img src=x onerror=alert(1)>", "a&b", "c'd\"e"]
    for number, name in enumerate(names):
        write_png(incoming / f"{name}.png", 0.9 if number else 0.1)
    arguments = ["screen", str(incoming), "--no-quality-check", "--modality", "cxr", "--quiet", "--html", str(page)]
    bundles = [
        "--xray-bundle",
        str(brightness_bundles[Modality.CXR]),
        "--ct-bundle",
        str(brightness_bundles[Modality.CT]),
    ]
    with pytest.raises(SystemExit):
        main([*arguments, *bundles])
    without = parsed(page.read_text(encoding="utf-8"))
    assert not named(without, "img")
    with pytest.raises(SystemExit):
        main([*arguments, *bundles, "--heatmaps", str(tmp_path / "maps")])
    tree = parsed(page.read_text(encoding="utf-8"))
    pictures = named(tree, "img")
    assert len(pictures) == len(names)
    assert all(one.attrib["src"].startswith("data:image/jpeg;base64,") and one.attrib["alt"] for one in pictures)
    assert not named(tree, "script")
    assert all(name in text_of(tree) for name in names)
    for element, attribute in itertools.product(tree.iter(), ("onerror", "onload")):
        assert attribute not in element.attrib
