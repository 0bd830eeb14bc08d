"""Whether the phantom teaches the disease: AUROC of simple models on patients of a seed they have not seen.

    python benchmarks/phantom_learnable.py [--train 360] [--test 240] [--workers 2]

No network is trained: the X-ray is reduced to 16 x 16 means over the lungs' box, their mirror differences and a support
vector machine; the CT to histograms of the lungs. A network should do better. Three controls must stay near 0.5: labels
shuffled, everything but the lungs, and the sizes of things. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from duoscan.phantom.hospitals import HOSPITALS
from duoscan.phantom.patient import Patient, simulate_patient
from duoscan.terms import Finding

Features = NDArray[np.float64]
_FINDINGS = (Finding.NORMAL, Finding.COVID, Finding.PNEUMONIA)
_HISTOGRAM_HU = (-1100, -900, -850, -800, -750, -700, -600, -450, -250, 150)


@dataclass(frozen=True)
class Case:
    """What is kept of a patient."""

    finding: Finding
    severity: float
    xray: Features
    ct: Features
    outside: Features


def _xray_features(patient: Patient) -> Features:
    rows, columns = np.nonzero(patient.xray_lung)
    box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
    lung = patient.xray_lung
    grey = (patient.xray - patient.xray[lung].mean()) / patient.xray[lung].std() * lung
    small = np.asarray(Image.fromarray(grey.astype(np.float32)).resize((16, 16), Image.Resampling.BOX, box=box))
    mirror = (small - small[:, ::-1])[:, :8]
    return np.concatenate([small.ravel(), mirror.ravel(), np.abs(mirror).ravel()]).astype(float)


def _ct_features(patient: Patient) -> Features:
    middle = patient.ct_hu.shape[2] // 2
    parts = []
    for side in (slice(0, middle), slice(middle, None)):
        hu = patient.ct_hu[:, :, side][patient.ct.lung_mask[:, :, side]]
        parts.append(np.histogram(hu, bins=_HISTOGRAM_HU)[0] / hu.size)
    return np.concatenate([np.minimum(*parts), np.maximum(*parts)])


def _outside_features(patient: Patient) -> Features:
    film, lung = patient.xray, patient.xray_lung
    return np.array(
        [
            film[~lung].mean(),
            film[:20].mean(),
            film[-20:].mean(),
            lung.mean(),
            patient.ct_hu[~patient.ct.lung_mask].mean(),
            patient.ct_hu[:, :4].std(),
            *patient.ct.spacing_mm,
        ]
    )


def _case(number: int, seed: int) -> Case:
    finding = _FINDINGS[number % 3]
    hospital = HOSPITALS[number // 3 % len(HOSPITALS)]
    patient = simulate_patient(finding, hospital, (seed, number), slices=16, ct_size=128, xray_size=256)
    return Case(finding, patient.severity, _xray_features(patient), _ct_features(patient), _outside_features(patient))


def _model(components: int | None) -> Pipeline:
    steps = [StandardScaler(), *([PCA(components, random_state=0)] if components else []), SVC(C=3.0)]
    return make_pipeline(*steps)


def _report(name: str, kind: str, train: list[Case], test: list[Case], components: int | None = None) -> None:
    """AUROC of COVID-like against the rest, with the percentile interval of 1,000 resamples of the patients."""
    known, unseen = (np.array([getattr(case, kind) for case in cases]) for cases in (train, test))
    labels = np.array([case.finding is Finding.COVID for case in train])
    truth = np.array([case.finding is Finding.COVID for case in test])
    scores = _model(components).fit(known, labels).decision_function(unseen)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(1000)]
    low, high = np.quantile([roc_auc_score(truth[d], scores[d]) for d in draws], (0.025, 0.975))
    chance = _model(components).fit(known, rng.permutation(labels)).decision_function(unseen)
    shuffled = roc_auc_score(rng.permutation(truth), chance)
    severity = np.array([case.severity for case in test])
    mild = ~truth | (severity <= np.median(severity[truth]))
    print(
        f"{name}: AUROC {roc_auc_score(truth, scores):.3f} ({low:.3f} to {high:.3f}), "
        f"milder half {roc_auc_score(truth[mild], scores[mild]):.3f}, all labels shuffled {shuffled:.3f}"
    )


def main() -> None:
    """Simulate two cohorts and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=360)
    parser.add_argument("--test", type=int, default=240)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.workers) as pool:
        train = list(pool.map(partial(_case, seed=101), range(1, given.train + 1), chunksize=8))
        test = list(pool.map(partial(_case, seed=202), range(1, given.test + 1), chunksize=8))
    print(f"{given.train} patients of one seed, {given.test} of another; a third each healthy, COVID-like, pneumonia")
    _report("X-ray", "xray", train, test, 60)
    _report("CT", "ct", train, test)
    _report("outside the lungs, sizes", "outside", train, test)


if __name__ == "__main__":
    main()
