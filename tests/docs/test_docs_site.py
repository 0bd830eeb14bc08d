"""The documentation site: built without a warning, from nothing but what lies here, with every name it promises."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

import duoscan
from docs_snippets import ROOT, pages
from duoscan.interfaces.cli import COMMANDS
from duoscan.settings import Stated
from duoscan.terms import Modality
from duoscan.training.recipe import Recipe
from duoscan.worklist.config import NodeConfig

sys.path.append(str(ROOT / "docs" / "ext"))
from settings_tables import rows_of

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_ELSEWHERE = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"(?:https?:)?//|<link\b[^>]*\bhref=\"(?:https?:)?//"
)
_IMPORTED = re.compile(r"@import|url\(['\"]?(?:https?:)?//")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", "html"]
    built = subprocess.run(
        [*command, str(ROOT / "docs"), str(out)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert built.returncode == 0, f"{built.stderr}\na new page goes into a toctree of docs/index.md"
    return out


def article(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", text[text.index("<article") : text.index("</article>")]))


@pytest.mark.slow
def test_the_site_is_built_and_fetches_nothing(site: Path) -> None:
    files = [path for path in site.rglob("*.html") if "_static" not in path.parts]
    assert len(files) >= len(pages()) - 1  # the README is not on the site
    assert not [path for path in files if _ELSEWHERE.search(path.read_text(encoding="utf-8"))]
    assert not [path for path in site.rglob("*.css") if _IMPORTED.search(path.read_text(encoding="utf-8"))]


@pytest.mark.slow
def test_every_command_name_and_key_has_a_place(site: Path) -> None:
    reference = {name: article(site / "reference" / f"{name}.html") for name in ("commands", "api", "recipe", "node")}
    assert [name for name in COMMANDS if f"\n{name}¶" not in reference["commands"]] == []
    names = [name for name in duoscan.__all__ if name != "__version__"]
    assert [name for name in names if f"duoscan.{name}" not in reference["api"]] == []
    for model, page in ((Recipe, "recipe"), (NodeConfig, "node")):
        keys = [key for key, *_ in rows_of(model)]
        assert [key for key in keys if key not in reference[page]] == []


class Inner(Stated):
    """Of the inside.

    More.
    """

    share: float = Field(default=0.5, gt=0, le=1, description="how much")


class Outer(Stated):
    name: str
    kind: Literal["a", "b"] = "a"
    modalities: tuple[Modality, ...] = ()
    one: Inner = Inner()
    many: tuple[Inner, ...] = ()


def test_a_table_of_settings_says_what_each_key_may_be() -> None:
    assert list(rows_of(Outer)) == [
        ("name", "must be given", "text", ""),
        ("kind", '"a"', "a or b", ""),
        ("modalities", "[]", "list of cxr or ct", ""),
        ("[one]", "", "a table", "Of the inside."),
        ("one.share", "0.5", "number, > 0, ≤ 1", "how much"),
        ("[many]", "", "a table", "Of the inside."),
        ("many.share", "0.5", "number, > 0, ≤ 1", "how much"),
    ]


def anchors(page: Path) -> set[str]:
    """As GitHub names the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*pages(), ROOT / "ARCHITECTURE.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_on_github_too(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page if not name else (page.parent / name).resolve()
        assert target.exists(), f"{page}: {link}: no such file"
        assert not anchor or anchor in anchors(target), f"{page}: {link}: no such heading"
