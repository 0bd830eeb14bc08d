"""The table of real files in ``docs/dicom.md`` says what happens to each of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from duoscan.cases.find import FoundImage
from duoscan.cases.screening import Screener
from duoscan.errors import ImageError
from duoscan.formats.reader import read_image
from duoscan.terms import Modality

PAGE = Path(__file__).parents[2] / "docs" / "dicom.md"
ROW = re.compile(r"\| `([^`]+\.dcm)` \| (HU|grey|refused) \| (.+) \|")


def stated() -> dict[str, tuple[str, str]]:
    return {match[1]: (match[2], match[3]) for match in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def read(path: Path) -> str:
    try:
        return "HU" if read_image(path).is_hu else "grey"
    except ImageError:
        return "refused"


@pytest.mark.data
def test_the_page_states_what_becomes_of_each_real_file(
    data_dir: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    folder = data_dir / "dicom"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    assert len(names) == 35
    # Each is a patient of its own. Which model answers does not matter: reading and checks come before it.
    found = [FoundImage(folder / name, name, name) for name in names]
    screener = Screener(brightness_bundles[Modality.CXR], brightness_bundles[Modality.CT])
    outcomes = {}
    for case in screener.screen_found(found, need_ct=True):
        (row,) = case.images
        why = f"{row.decision}: {row.reason.text if row.reason else ''}"
        outcomes[row.path] = (read(folder / row.path), "answered" if row.probability is not None else why)
    assert outcomes == stated()
