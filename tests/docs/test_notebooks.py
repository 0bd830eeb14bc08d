"""Every notebook runs, shows what it promises, and holds no path of the machine it was run on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from docs_snippets import ROOT

sys.path.append(str(ROOT / "notebooks"))
from run import run_notebook

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_PATH = re.compile(r"/(?:tmp|home|root|work|usr|Users|opt)/")
MOST_BYTES = 300_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of Jupyter's own libraries
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_figures(path: Path) -> None:
    notebook = run_notebook(path)
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in one for one in shown)
    assert any("text/html" in one for one in shown)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_kept_is_small_and_names_no_machine(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert len(text) < MOST_BYTES
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert all(cell["execution_count"] is None for cell in cells)
    said = [part for cell in cells for output in cell["outputs"] for part in (output.get("data") or output).values()]
    assert not _PATH.search(json.dumps([one for one in said if "iVBOR" not in str(one)[:20]]))


def test_the_page_names_each() -> None:
    page = (ROOT / "docs" / "guides" / "notebooks.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"`([\w-]+\.ipynb)`", page)) == [path.name for path in NOTEBOOKS]
