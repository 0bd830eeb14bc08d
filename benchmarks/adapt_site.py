"""What ``duoscan adapt`` does to a bundle at a site: calibration, AUROC and miss rate on the patients it did not see.

    python benchmarks/adapt_site.py BUNDLE MANIFEST --source siim --labels covid,normal --cases 100

The model answers every image once. Then so many cases are drawn, again and again, the bundle is adapted to them as the
command does it, and the remaining patients of the site are measured before and after.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.adaptation.adapt import images_of
from duoscan.adaptation.cases import SiteWish, answer
from duoscan.adaptation.learning import calibrated, certified_threshold, plan_of, refit, with_change
from duoscan.adaptation.refit import Images, Reduced
from duoscan.errors import InputError
from duoscan.evaluation.calibration import CalibrationMetrics
from duoscan.evaluation.delong import delong_auroc
from duoscan.evaluation.metrics import point
from duoscan.evaluation.sample import Sample, sample_of
from duoscan.inference.aggregate import per_patient
from duoscan.inference.bundle import Bundle, read_bundle
from duoscan.manifest.blocks import assign_blocks
from duoscan.manifest.readers import Wishes, read_anything

if TYPE_CHECKING:
    from duoscan.predictions import Prediction


@dataclass(frozen=True)
class Site:
    """Every image of a site as the bundle answers it."""

    bundle: Bundle
    rows: list[Prediction]
    images: Images | None
    features: np.ndarray


def read_site(asked: argparse.Namespace) -> Site:
    """Answer the images that were asked for."""
    bundle = read_bundle(asked.bundle)
    manifest = read_anything(asked.manifest, Wishes(modality=bundle.info.modality)).manifest
    manifest = manifest.replace(
        [
            one
            for one in manifest.where(
                modality=bundle.info.modality, sources=asked.source.split(",") if asked.source else None
            )
            if one.label is not None and (not asked.labels or one.label in asked.labels.split(","))
        ]
    )
    manifest = assign_blocks(manifest, asked.block_size) if asked.block_size else manifest
    answers = answer(bundle, manifest, refits=True, on_image=lambda: None)
    images, _ = images_of(bundle, answers)
    return Site(bundle, list(answers.rows), images, answers.features.astype(np.float64))


def ece(sample: Sample) -> float:
    """Expected calibration error."""
    return point(CalibrationMetrics(sample), len(sample))["ece"]


def measured(rows: list[Prediction], prefix: str, shown: np.ndarray) -> dict[str, float]:
    """Figures of one row a patient."""
    sample = sample_of(rows, threshold=None)
    return {
        f"AUROC {prefix}": delong_auroc(sample.reference, sample.probability, sample.units).value,
        f"ECE {prefix}": ece(replace(sample, probability=shown)),
        f"Brier score {prefix}": float(np.mean((sample.reference - shown) ** 2)),
    }


def one_draw(site: Site, wish: SiteWish, cases: int) -> dict[str, float]:
    """Adapt to so many cases, and measure on all others."""
    modality = site.bundle.info.modality
    units = np.array([row.unit for row in site.rows])
    names = np.unique(units)
    drawn = set(np.random.default_rng(wish.seed).permutation(names)[:cases].tolist())
    inside = np.array([unit in drawn for unit in units])
    own, rest = ([row for row, is_in in zip(site.rows, inside, strict=True) if is_in == of] for of in (True, False))
    sick = {row.unit: row.label == "covid" for row in per_patient(own, modality)}
    plan = plan_of(sick, wish)
    certifying = plan.certifying(sick, wish.seed)
    change = None
    before = per_patient(rest, modality)
    if site.images is not None:
        space = Reduced.of(site.features[inside])
        here, there = (
            replace(site.images.where(rows), features=(site.features[rows] - space.mean) @ space.axes)
            for rows in (inside, ~inside)
        )
        change = refit(here, certifying, plan, wish.seed).change
        if change is not None:
            own, rest = with_change(own, here, change), with_change(rest, there, change)
    made = calibrated(own, modality, certifying, is_refit=change is not None)
    after = per_patient(rest, modality)
    raw_before, raw = (np.array([row.probability for row in rows]) for rows in (before, after))
    stored = site.bundle.info.study_calibration
    found = measured(before, "before", raw_before if stored is None else stored.apply(raw_before))
    found |= measured(after, "after", made.studies.apply(raw))
    found |= {"new last layer": float(change is not None), "recalibrated": float(made.studies.calibration is not None)}
    truth = np.array([row.label == "covid" for row in after])
    try:
        threshold = certified_threshold(made.scores, wish)
    except InputError:
        return found
    return found | {"miss rate": np.mean(raw[truth] < threshold), "specificity": np.mean(raw[~truth] < threshold)}


def main() -> None:
    """Answer, draw, adapt, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--source", default="", help="only these, separated by commas")
    parser.add_argument("--labels", default="", help="only these, separated by commas")
    parser.add_argument("--block-size", type=int, default=0, help="images in a block, where patients are unknown")
    parser.add_argument("--cases", type=int, nargs="+", default=[100], help="patients to adapt on")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--miss-rate", type=float, default=SiteWish("x").alpha)
    asked = parser.parse_args()
    site = read_site(asked)
    for cases in asked.cases:
        found = [one_draw(site, SiteWish("site", asked.miss_rate, seed=seed), cases) for seed in range(asked.draws)]
        print(f"{cases} cases, {asked.draws} draws: mean, and the middle 95 of 100 draws")
        for name in dict.fromkeys(key for each in found for key in each):
            values = np.array([each[name] for each in found if name in each])
            low, high = np.quantile(values, [0.025, 0.975])
            note = f" ({len(values)} draws certified)" if len(values) < len(found) else ""
            print(f"  {name:18} {values.mean():.3f} [{low:.3f}, {high:.3f}]{note}")
        broken = [each["miss rate"] > asked.miss_rate for each in found if "miss rate" in each]
        print(f"  promise broken in {sum(broken)} of {len(broken)} draws")


if __name__ == "__main__":
    main()
