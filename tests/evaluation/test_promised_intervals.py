"""The short form of ``benchmarks/promised_intervals.py``: promises are kept, and rules known to be broken found out."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm


def _loaded() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "promised_intervals.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = _loaded()
COHORTS = 150


@pytest.mark.parametrize("check", BENCHMARK.CHECKS, ids=lambda check: check.name)
def test_a_promise_is_kept_and_a_broken_rule_found_out(check: Any) -> None:
    # Two standard errors for one cell, more where the worst of all is looked at (Bonferroni); .05 of 150 cohorts: .10.
    found = [
        float(np.nanmean(check.run(cell, COHORTS, np.random.default_rng(place))))
        for place, cell in enumerate(check.short)
    ]
    cells = sum(len(one.short) for one in BENCHMARK.CHECKS if one.holds)
    bound = check.level + norm.isf(norm.sf(2.0) / cells) * math.sqrt(check.level * (1.0 - check.level) / COHORTS)
    assert bool(max(found) <= bound) is check.holds, found
