"""Several models side by side as one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.evaluation.differences import JUDGED
from duoscan.evaluation.metrics import METRIC_NAMES
from duoscan.report.environment import environment
from duoscan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.evaluation.side_by_side import SideBySide


def build_compare_page(found: SideBySide, remarks: Sequence[str], command: str) -> str:
    """Write the page; equal arguments give equal text.

    Args:
        found: The models.
        remarks: How the same images were found, one sentence each.
        command: What was typed.
    """
    page = environment(METRIC_NAMES=METRIC_NAMES).get_template("compare.html")
    return page.render(found=found, remarks=remarks, judged=JUDGED, command=command, version=__version__, triage=None)
