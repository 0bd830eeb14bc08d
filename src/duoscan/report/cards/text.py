"""Markdown of cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def front_matter(front: Mapping[str, Any]) -> list[str]:
    """The lines that a hub reads before a card."""
    return ["---", *(f"{key}: {json.dumps(value)}" for key, value in front.items()), "---"]


def plain(text: object) -> str:
    """Text of others on one line and without marks that Markdown or HTML would act on."""
    flat = " ".join(str(text).split())
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("`", "&#96;"), ("[", "&#91;")):
        flat = flat.replace(mark, entity)
    return flat
