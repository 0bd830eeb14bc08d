"""The gate's verdicts above the numbers they are on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.interfaces.cli.tables import echo

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duoscan.audit.gate import Verdict


def show_verdicts(verdicts: Mapping[str, Verdict]) -> None:
    """Print what the gate says of each model with its reasons; under a failing one the numbers are no headline.

    Args:
        verdicts: By what they are on, in words; called before the numbers are printed.
    """
    for what, one in verdicts.items():
        not_run = (f"not run: {', '.join(one.not_run)}",) if one.not_run else ()
        echo(f"Verdict on {what}: {'; '.join((one.level, *one.reasons, *not_run))}")
    if not all(one.may_headline for one in verdicts.values()):
        echo("Measured, not to be quoted without these reasons:")
