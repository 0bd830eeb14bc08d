"""The templates of all pages."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from duoscan.report.wording import contract_steps, interval, number


def environment(**known: Any) -> Environment:
    """The templates, with what a page's own know beside its values.

    Args:
        known: Values and functions by the name that templates call them.
    """
    templates = Environment(
        loader=PackageLoader("duoscan.report"),
        autoescape=True,
        undefined=StrictUndefined,  # a name that a template misspells is an error, not a gap
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"number": number, "interval": interval, "contract_steps": contract_steps}
    templates.globals |= known
    return templates
