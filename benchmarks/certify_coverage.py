"""Do certified thresholds keep their promise? 2,000 seeded cohorts for each line; rules known to be broken stand below.

Usage: python benchmarks/certify_coverage.py [COHORTS]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from certified_cohorts import SHAPES, true_miss_rate

ALPHAS = (0.05, 0.1)
METHODS = ("exact", "split-conformal", "empirical", "per slice", "among everyone")


def main() -> None:
    """Print how often the true miss rate exceeds α, and its mean."""
    cohorts = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{cohorts} cohorts of 400 to 700 patients a line; δ = 0.05")
    print(f"{'method':16} {'cohorts':18} {'α':>5} {'mean miss rate':>15} {'share above α':>14}")
    for method in METHODS:
        for shape in SHAPES:
            for alpha in ALPHAS:
                rates = true_miss_rate(method, shape, alpha, cohorts=cohorts, seed=7)
                print(f"{method:16} {shape:18} {alpha:5.2f} {rates.mean():15.4f} {(rates > alpha).mean():14.4f}")


if __name__ == "__main__":
    main()
