"""The page of a yardstick: the worst source first, every figure of the table, and nothing that runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from duoscan.evaluation.yardstick.answers import CONTROLS, WHOLE, Part, PartAnswers
from duoscan.evaluation.yardstick.differences import differences
from duoscan.evaluation.yardstick.document import Table
from duoscan.evaluation.yardstick.figures import measure
from duoscan.interfaces.cli.yardstick_shown import show
from duoscan.report.yardstick_page import build_yardstick_page
from yardstick_answers import STATED, answers, made

HOSTILE = "<script>alert(1)</script>"
NAMES = ("compact", HOSTILE)


def facts(**changes: Any) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "command": f"duoscan yardstick {HOSTILE}",
        "frozen": False,
        "recipes": {name: {} for name in NAMES},
        "data": {
            "images": 180,
            "patients": 90,
            "sources": {"far": 90, HOSTILE: 90},
            "test_rows_put_away": 17,
            "groups_of_copies": 4,
            "groups_of_copies_across_sources": 3,
            "patients_joined": 5,
            "borrowed": [{"source": "near", "label": "covid", "from": "far", "images": 124}],
        },
        "views": {"stated": 40, "told": 50, "accuracy": 0.975, "accuracy_elsewhere": {"near": 0.9}},
        "parts": {},
        "missing": [],
        "failed": {},
        "uses": {"far": {"compact": "Use 3 of this test set, by 2 models so far"}},
    }
    return stated | changes


@pytest.fixture(scope="module")
def table() -> Table:
    parts = [made(name, seed, 0.5 + 0.5 * place) for place, name in enumerate(NAMES) for seed in (0, 1)]
    parts += [PartAnswers(Part("compact", "near", 0, 0, 0), WHOLE, answers(1, 3.0), answers(2, 3.0))]
    parts += [made("compact", 0, 0.4, control=control) for control in CONTROLS]
    views = {one.path: "AP" if place % 2 else "PA" for place, one in enumerate(parts[0].left_out)}
    stated = dict.fromkeys(NAMES, STATED)
    return Table(measure(parts, stated, views), differences(parts, stated), facts())


class Tags(HTMLParser):
    """Names of all elements, and what would be loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.loaded += [
            str(value) for name, value in attrs if name in {"src", "href"} and not str(value).startswith("#")
        ]


def test_names_are_text_and_nothing_is_loaded(table: Table) -> None:
    tags = Tags()
    tags.feed(build_yardstick_page(table))
    assert "script" not in tags.names
    assert tags.loaded == ["data:,"]


def test_the_worst_source_comes_first_and_every_figure_is_there(table: Table) -> None:
    page = build_yardstick_page(table)
    worst = page[page.index('aria-label="AUROC at each left-out source"') :]
    worst = worst[: worst.index("</table>")]
    shown = [float(value) for value in re.findall(r"<td>(\d\.\d{3}) <span", worst)]
    assert shown == sorted(shown)
    assert len(shown) == len(table.whole)
    assert "17 rows that the manifests call test were put away unseen" in page
    assert "124 images of covid left near: most are copies of far" in page
    assert "97.5 % of stated ones" in page
    assert "Use 3 of this test set" in page


def test_what_is_not_there_is_said(table: Table) -> None:
    lacking = Table((), (), facts(missing=["compact without far, seed 1"], failed={"compact without near": "no covid"}))
    page = build_yardstick_page(lacking)
    assert "Not finished: 1 trainings" in page
    assert "compact without near" in page
    assert "Nothing is finished yet" in page
    assert "Not all is here" not in build_yardstick_page(table)


def test_the_terminal_needs_80_columns(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("duoscan.interfaces.cli.tables._PIPED_WIDTH", 80)
    plain = [one for one in table.figures if one.recipe == "compact"]
    show(Table(plain, (), facts(recipes={"compact": {}})), tmp_path)
    rows = [line for line in capsys.readouterr().out.splitlines() if "/" in line and "[" in line]
    assert len(rows) == 12  # three questions at two sources, in two tables; none in two lines
    assert max(map(len, rows)) <= 80
