"""What ``duoscan yardstick`` found as one HTML file, the worst source first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.yardstick.answers import CONTROL_NAMES, CONTROLS
from duoscan.evaluation.yardstick.figures import MOST_RETAINED
from duoscan.report.page import environment
from duoscan.version import __version__

if TYPE_CHECKING:
    from duoscan.evaluation.yardstick.document import Table

VIEWS = ("AP", "PA")


def build_yardstick_page(table: Table) -> str:
    """Write the page.

    Equal tables give equal text: nothing in it depends on time or machine.

    Args:
        table: What was measured, with the facts that ``duoscan yardstick`` states.
    """
    page = environment().get_template("yardstick.html")
    return page.render(
        table=table,
        facts=table.facts,
        views=VIEWS,
        controls=CONTROLS,
        control_names=CONTROL_NAMES,
        most_retained=MOST_RETAINED,
        triage=None,
        version=__version__,
    )
