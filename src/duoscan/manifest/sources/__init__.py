"""Public data sets as a person has them after the download; one small adapter for each.

Nothing is downloaded: a person gets a set from its own page, under its own terms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.manifest.sources import covidx, darkcovidnet, ieee8023, radiography, sarscov2, tehran, ucsd
from duoscan.manifest.sources.source import Source, SourceCheck, SourceInfo, check_source

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SOURCES", "Source", "SourceCheck", "SourceInfo", "check_source", "detect"]

SOURCES: dict[str, Source] = {
    source.info.name: source
    for source in (
        radiography.SOURCE,
        ieee8023.SOURCE,
        darkcovidnet.SOURCE,
        covidx.SOURCE,
        tehran.XRAY_SOURCE,
        tehran.CT_SOURCE,
        ucsd.SOURCE,
        sarscov2.SOURCE,
    )
}


def detect(root: Path) -> Source:
    """The set whose layout a folder has.

    Raises:
        ManifestError: No known set, or sets of one layout between which a person must decide.
    """
    if not root.is_dir():
        raise ManifestError(f"{root}: no such folder; give the folder a set was unpacked into")
    found = [source for source in SOURCES.values() if source.find(root)]
    if not found:
        raise ManifestError(f"{root}: the layout of no known set; duoscan data list says how they look")
    if len(found) > 1:
        names = ", ".join(source.info.name for source in found)
        raise ManifestError(f"{root}: could be any of {names}, which have one layout; say which with --source")
    return found[0]
