"""Fit the guess of X-ray or CT, and show how it does on sources it has not seen.

Usage: ``python benchmarks/fit_modality.py --data DIR [--write]``. ``DIR`` holds ``cxr.csv`` and ``ct.csv`` with the
columns ``path``, ``source``, ``label`` and ``split``. Rows of an official test split are never fitted on.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import duoscan.imaging.modality as guess
from duoscan.formats.raster import read_raster
from duoscan.terms import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from duoscan.formats.image import Pixels

COPIES = 3
# A source of fewer images counts as if it had this many, so that 23 images do not outweigh a thousand.
LEAST_SOURCE_SIZE = 400
# Strength of the L2 penalty, the inverse of C.
INVERSE_PENALTY = 0.1

# Each line is left out of the fit and then guessed.
HELD_OUT: tuple[tuple[str, ...], ...] = (
    ("darkcovidnet/cxr", "luna16/ct"),
    ("ieee8023/cxr", "ieee8023/ct"),
    ("ucsd_covid_ct/ct", "luna16/ct"),
    ("sarscov2/ct",),
    ("darkcovidnet/cxr", "sarscov2/ct"),
    ("ieee8023/cxr", "ieee8023/ct", "ucsd_covid_ct/ct"),
)


@dataclass(frozen=True)
class Table:
    """One row per image, ``features`` of shape (N, F) and of its changed copies (COPIES, N, F)."""

    features: NDArray[np.float64]
    copies: NDArray[np.float64]
    is_ct: NDArray[np.bool_]
    source: NDArray[np.str_]
    is_test: NDArray[np.bool_]


def changed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Crop, flip, change the exposure and add black or white borders at random, as pictures on the web have."""
    values = pixels.values
    height, width = (round(side * rng.uniform(0.75, 1)) for side in values.shape)
    top, left = rng.integers(0, values.shape[0] - height + 1), rng.integers(0, values.shape[1] - width + 1)
    values = values[top : top + height, left : left + width]
    if rng.random() < 0.5:
        values = values[:, ::-1]
    values = values ** np.float32(np.exp(rng.uniform(-0.7, 0.7)))
    if rng.random() < 0.3:
        thickness = rng.integers(0, min(height, width) // 5, (2, 2))
        values = np.pad(values, thickness, constant_values=rng.integers(0, 2))
    return replace(pixels, values=np.ascontiguousarray(values))


def family(row: dict[str, str], modality: Modality) -> str:
    """Where an image came from first: darkcovidnet took its COVID-19 radiographs from ieee8023."""
    source = "ieee8023" if (row["source"], row["label"]) == ("darkcovidnet", "covid") else row["source"]
    return f"{source}/{modality}"


def load(data: Path) -> Table:
    """Read every image and describe it."""
    rng = np.random.default_rng(0)
    plain, copies, is_ct, source, is_test = [], [], [], [], []
    for modality in Modality:
        with (data / f"{modality}.csv").open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                pixels = read_raster(data / row["path"])
                plain.append(guess.features(pixels))
                copies.append([guess.features(changed(pixels, rng)) for _ in range(COPIES)])
                is_ct.append(modality is Modality.CT)
                source.append(family(row, modality))
                is_test.append(row["split"] == "test")
    stacked = np.array(copies).transpose(1, 0, 2)
    return Table(np.array(plain), stacked, np.array(is_ct), np.array(source), np.array(is_test))


def fit(table: Table, rows: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Weights on the raw features and bias; modalities count alike, and sources within them nearly so."""
    x = np.concatenate([table.features[rows], *table.copies[:, rows]])
    y = np.tile(table.is_ct[rows], COPIES + 1)
    _, index, counts = np.unique(table.source[rows], return_inverse=True, return_counts=True)
    weight = np.tile((1 / np.maximum(counts, LEAST_SOURCE_SIZE))[index], COPIES + 1)
    for value in (True, False):
        weight[y == value] *= len(y) / 2 / weight[y == value].sum()
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(scaler.transform(x), y, sample_weight=weight)
    weights = model.coef_[0] / scaler.scale_
    return weights, float(model.intercept_[0] - weights @ scaler.mean_)


def report(name: str, probability: NDArray[np.float64]) -> None:
    """Print how often the true modality was named, none was, or the wrong one."""
    right = (probability >= guess.ABSTAIN_BELOW).mean()
    wrong = (probability <= 1 - guess.ABSTAIN_BELOW).mean()
    forced = (probability > 0.5).mean()
    print(
        f"  {name:<22} n={len(probability):<5} right {right:7.2%}  none {1 - right - wrong:7.2%}  "
        f"wrong {wrong:7.2%}  (accuracy without abstention {forced:.2%})"
    )


def guess_table(table: Table, rows: NDArray[np.bool_], weights: NDArray[np.float64], bias: float) -> None:
    """Report each source of ``rows``."""
    ct = 1 / (1 + np.exp(-(table.features @ weights + bias)))
    truth = np.where(table.is_ct, ct, 1 - ct)
    for name in np.unique(table.source[rows]):
        report(name, truth[rows & (table.source == name)])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of cxr.csv and ct.csv")
    parser.add_argument("--write", action="store_true", help="replace the weights of the package")
    arguments = parser.parse_args()

    table = load(arguments.data)
    for held_out in HELD_OUT:
        rows = np.isin(table.source, held_out)
        print("held out:", ", ".join(held_out))
        guess_table(table, rows, *fit(table, ~rows & ~table.is_test))
    weights, bias = fit(table, ~table.is_test)
    print("fitted on all but official test rows, guessed on those:")
    guess_table(table, table.is_test, weights, bias)
    if arguments.write:
        stored = {
            "fitted_by": "benchmarks/fit_modality.py",
            "sources": sorted(set(table.source[~table.is_test].tolist())),
            "images": int((~table.is_test).sum()),
            "bias": round(bias, 6),
            "weights": [round(float(weight), 6) for weight in weights],
        }
        path = Path(guess.__file__).with_name(guess.WEIGHTS_FILE)
        path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
