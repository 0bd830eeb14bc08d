"""Options that keep some rows of a manifest: ``--sources``, ``--labels``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duoscan.manifest.records import Manifest


def kept_option(name: str) -> Callable[[Any], Any]:
    """An option that names what to keep, as ``--sources a,b`` or ``--sources a --sources b``."""
    return click.option(
        name, multiple=True, callback=_apart, help="Keep only these: separated by commas, or one at a time."
    )


def chosen(manifest: Manifest, option: str, names: Sequence[str], field: str) -> Manifest:
    """The rows of which a field is among what a person named; all where nothing is named.

    Args:
        manifest: Any.
        option: Where a person named them, for the message.
        names: Each must be there.
        field: Of a record, e.g. ``source``.

    Raises:
        InputError: No row is of one of them.
    """
    if not names:
        return manifest
    there = {str(getattr(record, field)) for record in manifest}
    if missing := ", ".join(sorted(set(names) - there)):
        raise InputError(f"{option}: no rows of {missing} (found: {', '.join(sorted(there))}); correct the name")
    return manifest.replace([record for record in manifest if str(getattr(record, field)) in names])


def _apart(_context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))
    if values and not names:
        raise click.BadParameter("nothing is named", param=parameter)
    return names
