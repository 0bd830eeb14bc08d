"""How well further heads do on patients left out, and how far the share of lung involved in CT is off on phantoms.

    python benchmarks/severity.py DATA [--bundle FILE] [--phantoms 72]

DATA holds ``cxr_siim.csv`` (column ``finding``: RSNA categories), ``cxr_severity.csv`` (columns ``geographic_extent``
and ``opacity``, joined by ``path``) and ``cxr.csv`` (their patients), with the images they name. The bundle's network
stays as it is; heads are fitted and judged on its pooled features by cross-validation over patients. Patients whom the
network was trained on are among them: what it learned of them was covid or not, never a category or a score.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from duoscan.evaluation.intervals import spoken_interval
from duoscan.imaging.involvement import measure_involvement
from duoscan.imaging.lung_selection import reduced
from duoscan.inference.bundle import read_bundle
from duoscan.inference.heads import ScoreHead
from duoscan.inference.shipped import load_bundle
from duoscan.manifest.readers.foreign_table import from_table
from duoscan.manifest.records import Manifest
from duoscan.phantom.anatomy import sample_anatomy
from duoscan.phantom.ct import scan
from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.lesions import NO_LESIONS, Lesions, sample_lesions
from duoscan.phantom.volume import build_volume, ct_grid
from duoscan.terms import Finding, Modality, Split
from duoscan.training.further.add import further_heads
from duoscan.training.recipe import CategoryHeadSection, ScoreHeadSection
from duoscan.training.watcher import TrainingWatcher

HEADS = (
    CategoryHeadSection(
        kind="categories",
        name="rsna",
        title="RSNA category of a COVID-19 radiograph",
        column="finding",
        categories=(
            "Negative for Pneumonia", "Atypical Appearance", "Indeterminate Appearance", "Typical Appearance",
        ),
    ),
    ScoreHeadSection(
        kind="score", name="extent", title="Geographic extent of opacities",
        table="cxr_severity.csv", column="geographic_extent", least=0, most=8,
    ),
    ScoreHeadSection(
        kind="score", name="opacity", title="Degree of opacity",
        table="cxr_severity.csv", column="opacity", least=0, most=6,
    ),
)  # fmt: skip
KINDS = ("normal", "ground glass", "consolidated", "lobar")
CONSOLIDATED = 0.95


def radiographs(data: Path) -> Manifest:
    """All that any head may learn from, as one training part."""
    records = [
        record.model_copy(update={"split": Split.TRAIN})
        for name in ("cxr_siim.csv", "cxr.csv")
        for record in from_table(data / name, modality=Modality.CXR).manifest
        if record.source in {"siim", "ieee8023"}
    ]
    return Manifest(data, tuple(records))


def spoken(figure: dict[str, Any], digits: int = 3) -> str:
    """A figure with its interval."""
    return spoken_interval(figure["value"], figure["low"], figure["high"], digits)


def show_heads(data: Path, bundle: Path | None) -> None:
    """Fit on the bundle's features, and print what its heads would state."""
    opened = load_bundle(None, Modality.CXR) if bundle is None else read_bundle(bundle)
    _, heads = further_heads(opened, radiographs(data), HEADS, 0, TrainingWatcher())
    for head in heads:
        figures = head.figures["cross_validated"]
        print(f"{head.title}: {head.images} images of {head.patients} patients")
        for category, figure in figures.get("auroc", {}).items():
            print(f"  {category:26} AUROC {spoken(figure)}")
        for name in ("quadratic_kappa", "linear_kappa", "mean_absolute_error", "of_the_median"):
            if name in figures:
                print(f"  {name:26} {spoken(figures[name])}")
        if isinstance(head, ScoreHead):
            print(f"  {'half width of interval':26} {head.half_width:.2f}, to hold {head.coverage:.0%}")


def disease(kind: str, seed: int, anatomy: Any) -> Lesions:
    """No disease, ground glass, the same foci consolidated, or a consolidated lobe."""
    rng = np.random.default_rng((seed, 1))
    if kind == "normal":
        return NO_LESIONS
    if kind == "lobar":
        return replace(sample_lesions(Finding.PNEUMONIA, anatomy, rng), fill=CONSOLIDATED)
    lesions = sample_lesions(Finding.COVID, anatomy, rng)
    if kind == "ground glass":
        return lesions
    return replace(lesions, blobs=tuple(replace(blob, fill=CONSOLIDATED, paving=0.0) for blob in lesions.blobs))


def show_phantoms(patients: int, first_seed: int) -> None:
    """Errors of the share by kind of disease."""
    errors: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for number in range(patients):
        seed, kind = first_seed + number, KINDS[number % len(KINDS)]
        anatomy = sample_anatomy(np.random.default_rng((seed, 0)))
        volume = build_volume(anatomy, disease(kind, seed, anatomy), ct_grid(anatomy, 32, 256))
        hu = scan(volume, HOSPITALS[number // len(KINDS) % 2].scanner, np.random.default_rng((seed, 2)))
        found = measure_involvement([reduced(one.astype(np.float32)) for one in hu])
        errors[kind].append((volume.severity, found.share - volume.severity if found else np.nan))
    every = np.array([pair for pairs in errors.values() for pair in pairs])
    for kind, pairs in [*errors.items(), ("all", every.tolist())]:
        severity, error = np.array(pairs).T
        print(
            f"{kind:14} {len(pairs):3} patients, truth {severity.min():.2f} to {severity.max():.2f}: mean error "
            f"{np.abs(error).mean():.3f}, on average {error.mean():+.3f}, largest {np.abs(error).max():.3f}"
        )


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of the tables; without it, phantoms alone")
    parser.add_argument("--bundle", type=Path, help="X-ray bundle; the shipped one if left out")
    parser.add_argument("--phantoms", type=int, default=72, help="synthetic CT patients")
    parser.add_argument("--seed", type=int, default=5000, help="of the first of them")
    options = parser.parse_args()
    if options.phantoms:
        show_phantoms(options.phantoms, options.seed)
    if options.data:
        sys.stdout.flush()
        show_heads(options.data, options.bundle)


if __name__ == "__main__":
    main()
