"""What ``duoscan triage`` found as one HTML file of its own."""

from __future__ import annotations

from typing import Any

from duoscan.report.environment import environment
from duoscan.report.triage_section import GLOBALS, triage_section
from duoscan.version import __version__


def build_triage_page(document: dict[str, Any]) -> str:
    """Write the page.

    Equal documents give equal text: nothing in it depends on time or machine.

    Args:
        document: Of ``triage.json``.
    """
    page = environment(**GLOBALS).get_template("triage_page.html")
    return page.render(triage=triage_section(document), version=__version__)
