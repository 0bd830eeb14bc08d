"""Who certifies, and that the certified miss rate holds where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from duoscan.adaptation.cases import SiteWish
from duoscan.adaptation.learning import ALL_CERTIFY, calibrated, certified_threshold, cross_fitted, plan_of, with_change
from duoscan.adaptation.refit import Images, fit_change
from duoscan.inference.calibrator import expit, logit
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality

WISH = SiteWish("St. Anna", 0.1)
WIDTH, SITES = 60, 100


def _sick(sick: int, well: int) -> dict[str, bool]:
    return {f"p{number}": number < sick for number in range(sick + well)}


def test_patients_are_divided_by_their_numbers() -> None:
    assert plan_of(_sick(48, 60), WISH) == ALL_CERTIFY  # 29 certify, 19 are left
    assert plan_of(_sick(60, 39), WISH) == ALL_CERTIFY
    divided = plan_of(_sick(49, 60), WISH)
    certifying = divided.certifying(_sick(49, 60), seed=0)
    assert sum(int(name[1:]) < 49 for name in certifying) == 29
    assert len(certifying) == 29 + 30
    assert certifying != divided.certifying(_sick(49, 60), seed=1)
    assert plan_of(_sick(49, 60), SiteWish("x", 0.1, refits=False)) == ALL_CERTIFY
    assert len(ALL_CERTIFY.certifying(_sick(49, 60), seed=0)) == 109


def _site(rng: np.random.Generator, patients: int) -> tuple[Images, list[Prediction]]:
    """Features that are noise, and a present model that ranks well."""
    reference = rng.random(patients) < 0.5
    known = rng.normal(2.0 * reference - 1.0, 1.0)
    images = Images(
        reference,
        tuple(f"p{number}" for number in range(patients)),
        known,
        np.zeros((patients, 1)),
        rng.normal(0, 1 / np.sqrt(WIDTH), (patients, WIDTH)),
    )
    rows = [
        Prediction(
            path=f"{unit}.png",
            patient_id=unit,
            modality=Modality.CXR,
            probability=float(p),
            decision=None,
            label=Finding.COVID if of else Finding.NORMAL,
        )
        for unit, p, of in zip(images.units, expit(images.log_odds()), reference, strict=True)
    ]
    return images, rows


def _broken(*, cheats: bool) -> float:
    """Share of sites whose threshold lets more of the sick pass than promised, after an overfitted last layer."""
    broken = 0
    for seed in range(SITES):
        rng = np.random.default_rng(seed)
        images, rows = _site(rng, 130)
        sick = dict(zip(images.units, images.reference.tolist(), strict=True))
        certifying = plan_of(sick, WISH).certifying(sick, seed)
        own = np.array([unit in certifying for unit in images.units])
        change = fit_change(images.where(own if cheats else ~own), strength=30.0)
        made = calibrated(with_change(rows, images, change), Modality.CXR, certifying, is_refit=True)
        threshold = logit(np.array(certified_threshold(made.scores, WISH)))
        # Of new sick patients the log odds are normal: scale · N(1, 1) + shift + features · weight.
        mean = change.scale + change.shift
        spread = np.hypot(change.scale, np.linalg.norm(change.weight) / np.sqrt(WIDTH))
        broken += bool(norm.cdf(threshold, mean, spread) > WISH.alpha)
    return broken / SITES


def test_the_promise_holds_after_a_refit_on_others() -> None:
    assert _broken(cheats=False) <= WISH.delta + 3 * np.sqrt(WISH.delta * (1 - WISH.delta) / SITES)


def test_certifying_on_those_fitted_would_break_it() -> None:
    assert _broken(cheats=True) > 0.3


@pytest.mark.parametrize("refits", [True, False])
def test_patients_are_answered_by_what_was_learned_of_others(refits: bool) -> None:
    images, rows = _site(np.random.default_rng(0), 110)
    wish = SiteWish("St. Anna", 0.1, refits=refits)
    sick = dict(zip(images.units, images.reference.tolist(), strict=True))
    found = cross_fitted(rows, images if refits else None, Modality.CXR, plan_of(sick, wish), wish)
    assert found.raw.shape == found.shown.shape == (110,)
    sensitivity = found.called[images.reference].mean()
    assert sensitivity >= 0.85
    if not refits:
        np.testing.assert_allclose(found.raw, [row.probability for row in rows])
