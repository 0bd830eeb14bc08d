"""Is what the program promises held? One check a promise, on cohorts whose truth is known; see ``promise_cells.py``.

Usage: python benchmarks/promises.py [--cohorts N] [--cells N] [--only WORDS]
"""

from __future__ import annotations

import argparse
import importlib
import time

from promise_cells import CHECKS, tried

for _module in ("promises_of_policies", "promises_of_points", "promises_of_intervals"):
    importlib.import_module(_module)  # they register what they check


def main() -> None:
    """Print a table; fails where a promise is broken, or a broken rule is not found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--cells", type=int, default=30, help="at most about so many of each grid")
    parser.add_argument("--only", default="", help="checks whose name holds these words")
    asked = parser.parse_args()
    began, wrong = time.monotonic(), 0
    print("| promise | level | worst of cells | there | held |\n|---|---|---|---|---|")
    for check in CHECKS:
        if asked.only not in check.name:
            continue
        found = tried(check, asked.cohorts, asked.cells)
        wrong += found.held != check.holds
        print(found.row, flush=True)
    print(f"\n{time.monotonic() - began:.0f} s; {wrong} not as they should be")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
