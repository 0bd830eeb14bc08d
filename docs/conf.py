"""Sphinx reads this: the pages of this folder become one site, with nothing fetched from elsewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.version import __version__

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

sys.path.append(str(Path(__file__).parent / "ext"))

project = "duoscan"
author = "The duoscan authors"
copyright = author  # noqa: A001 - Sphinx's own name
version = release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "settings_tables"]
exclude_patterns = ["ext"]
html_theme = "furo"
html_title = f"duoscan {__version__}"
html_show_sphinx = False
html_copy_source = False
smartquotes = False

myst_heading_anchors = 4
myst_links_external_new_tab = False
suppress_warnings = ["myst.header", "misc.highlighting_failure"]  # a page may begin at any level, a block may be prose

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_use_ivar = True

_LINK = re.compile(r"\[([^\]\n]+)\]\(((?:\.\./)+[^)#\n]+)[^)\n]*\)")


def setup(app: Sphinx) -> None:
    """Links to files of the repository that are no pages become their names: the site holds pages alone."""
    app.connect("source-read", _pages_alone)
    app.connect("missing-reference", _as_it_stands)


def _pages_alone(app: Sphinx, page: str, source: list[str]) -> None:
    folder = (Path(app.srcdir) / page).parent

    def named(link: re.Match[str]) -> str:
        is_page = (folder / link[2]).resolve().is_relative_to(app.srcdir)
        return link[0] if is_page else link[1]

    source[0] = _LINK.sub(named, source[0])


def _as_it_stands(_app: Sphinx, _env: object, node: nodes.Element, content: nodes.Element) -> nodes.Element | None:
    """A name of the code that no page documents is shown as it is written."""
    return content if node.get("refdomain") == "py" else None
