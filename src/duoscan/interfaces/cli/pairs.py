"""Options of the form ``NAME=VALUE``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence


def pairs_of(texts: Sequence[str], option: str) -> list[tuple[str, str]]:
    """What stands before and after the ``=`` of each.

    Raises:
        BadParameter: One has no ``=``, or nothing on a side.
    """
    pairs = [text.partition("=") for text in texts]
    for (left, _, right), text in zip(pairs, texts, strict=True):
        if not left or not right:
            raise click.BadParameter(f"'{text}' is not of the form NAME=VALUE", param_hint=option)
    return [(left.strip(), right.strip()) for left, _, right in pairs]


def finding_of(text: str) -> Finding:
    """The label that a person named with ``--map``.

    Raises:
        BadParameter: It is none of ours.
    """
    if text.lower() not in set(Finding):
        raise click.BadParameter(f"'{text}' is not a label; use {', '.join(Finding)}", param_hint="--map")
    return Finding(text.lower())
