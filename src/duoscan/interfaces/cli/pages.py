"""Pages: whether they can be written, and that of a screened batch."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from duoscan.errors import MissingExtraError
from duoscan.files import write_text
from duoscan.interfaces.cli.ledger_options import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.cases.case import Screening

_SHOWN_PX = 480


def check_can_write_pages(what: str, *packages: str) -> None:
    """Refuse early where what draws and fills pages is not installed.

    Args:
        what: The command.
        packages: What it needs; of pages with figures where left out.

    Raises:
        MissingExtraError: It is not.
    """
    for package in packages or ("jinja2", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError("evaluate", what)


def write_page(screening: Screening, path: Path, overlays: Mapping[str, Path]) -> None:
    """Write the page of a batch, with the overlays of the images that carry an answer.

    Args:
        screening: What was said.
        path: Where to.
        overlays: By the name of their image.
    """
    from PIL import Image

    from duoscan.report.data_uri import picture_uri
    from duoscan.report.screening_page import build_screening_page

    shown = {}
    for name in {study.carrying[0] for case in screening for study in case.studies if study.carrying}:
        if name in overlays:
            with Image.open(overlays[name]) as picture:
                picture.thumbnail((_SHOWN_PX, _SHOWN_PX))
                shown[name] = picture_uri(picture, "JPEG")
    write_text(path, build_screening_page(screening, command_line(), shown))
