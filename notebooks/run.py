"""Run notebooks anew and keep what they show: ``python notebooks/run.py notebooks/*.ipynb``.

What differs from run to run without meaning (counts of executions, times, libraries' chatter) is not kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
from nbclient import NotebookClient

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nbformat import NotebookNode

LONGEST_S = 600


def run_notebook(path: Path) -> NotebookNode:
    """A notebook with what it shows now.

    Raises:
        CellExecutionError: A cell fails; its text says which and how.
    """
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=LONGEST_S, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = list(_lasting(cell.outputs))
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def _lasting(outputs: Iterable[NotebookNode]) -> Iterable[NotebookNode]:
    for output in outputs:
        if output.get("name") == "stderr":
            continue
        if "execution_count" in output:
            output.execution_count = None
        if "text/html" in output.get("data", ()):
            output.data = {"text/html": output.data["text/html"]}
        yield output


def main(paths: Iterable[str]) -> None:
    """Run each and write it over itself."""
    for path in map(Path, paths):
        nbformat.write(run_notebook(path), path)
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
