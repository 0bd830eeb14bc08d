"""The commands and snippets of README and docs, as tests take them apart.

A block in fences is run by a test, unless the line before it says why not::

    <!-- not run: it installs a service -->

``PYTHONPATH=tests python -m docs_snippets`` counts the blocks and lists those that are not run.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = ("duoscan", ".venv/bin/duoscan", "make", "python", "pip", "curl")
"""What begins a line of a block that is typed at a terminal."""

_FENCE = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]*?) *-->\n+)?^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED = re.compile(r"(?<=\n\n)(?:    [^\n]+\n)+")
_INLINE = re.compile(r"`((?:duoscan|make|python) [^`]+)`")
_SHELL = frozenset({"", "sh", "shell", "bash", "console"})
_DIRECTIVE = "{"


@dataclass(frozen=True)
class Snippet:
    """One block.

    Attributes:
        page: Where it stands, relative to the repository.
        line: Where it begins, from 1.
        language: As the fence says.
        text: Between the fences.
        why_not: Why it is not run; empty where it is.
    """

    page: Path
    line: int
    language: str
    text: str
    why_not: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_typed(self) -> bool:
        """Whether it is typed at a terminal."""
        return self.language in _SHELL and bool(self.lines) and self.lines[0].split()[0] in COMMANDS

    @cached_property
    def lines(self) -> list[str]:
        """What is typed, a command each: continued lines joined, prompts and remarks left out."""
        joined = self.text.replace("\\\n", " ")
        lines = [line.partition(" #")[0].strip().removeprefix("$ ") for line in joined.splitlines()]
        return [one.strip() for line in lines if line and not line.startswith("#") for one in re.split(r";|&&", line)]


def pages() -> list[Path]:
    """README and every page of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def snippets(page: Path) -> list[Snippet]:
    """The blocks of a page, in their order."""
    text, place = page.read_text(encoding="utf-8"), page.relative_to(ROOT)

    def line(found: re.Match[str]) -> int:
        return text.count("\n", 0, found.start()) + 1

    fenced = [
        Snippet(place, line(one), one["language"].strip(), one["text"], one["why"] or "")
        for one in _FENCE.finditer(text)
        if not one["language"].startswith(_DIRECTIVE)
    ]
    outside = _FENCE.sub(lambda one: "\n" * one[0].count("\n"), text)
    indented = [
        Snippet(place, outside.count("\n", 0, one.start()) + 1, "", re.sub(r"^    ", "", one[0], flags=re.MULTILINE))
        for one in _INDENTED.finditer(outside)
    ]
    return sorted([*fenced, *indented], key=lambda one: one.line)


def inline_commands(page: Path) -> list[str]:
    """Commands with their arguments in running text and tables."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return list(dict.fromkeys(" ".join(one.split()) for one in _INLINE.findall(text)))


def written_out(line: str) -> Iterator[list[str]]:
    """``pacs echo|find …`` stands for two commands, ``[KEY…]`` for what may be left out, ``…`` for more words."""
    words = [word.removesuffix("…") for word in shlex.split(re.sub(r"\[[^\]]*\]", "", line)) if word != "…"]
    ways = next((word.split("|") for word in words if "|" in word), [""])
    for way in ways:
        yield [way if "|" in word else word for word in words]


def listing() -> str:
    """How many blocks there are, and which are not run and why."""
    found = [one for page in pages() for one in snippets(page)]
    kinds = Counter("typed" if one.is_typed else one.language or "text" for one in found)
    return "\n".join(
        [
            f"{len(found)} blocks, {sum(bool(one.why_not) for one in found)} not run",
            *(f"  {count:3d} {kind}" for kind, count in kinds.items()),
            *(f"{one}: {one.why_not}" for one in found if one.why_not),
            f"{sum(len(inline_commands(page)) for page in pages())} commands in running text",
        ]
    )


if __name__ == "__main__":
    sys.stdout.write(listing() + "\n")
