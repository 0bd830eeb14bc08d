"""Choosing how images are joined: on validation, by what the calibrated study says of left-out patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from duoscan.errors import InputError
from duoscan.evaluation.aggregation import AggregationCandidate, _best, choose_aggregation, joined_as
from duoscan.evaluation.calibrators import STUDY_FITS, choose_calibrator, fit_platt, log_loss
from duoscan.evaluation.intervals import Estimate
from duoscan.evaluation.sample import sample_of
from duoscan.inference.aggregate import per_patient
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.calibrator import expit
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Modality, Split

SLICES = 12


def few_diseased(
    patients: int, seed: int, *, diseased: int = 2, gap: float = 1.5, attention: str = ""
) -> list[Prediction]:
    """Half of the patients are sick, and that shows in few of their slices: log odds around ``gap`` and −``gap``."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(patients):
        shows = np.arange(SLICES) < (diseased if patient % 2 else 0)
        log_odds = np.where(shows, gap, -gap) + 0.9 * rng.normal(size=SLICES)
        score = {"knows": 4.0 * shows, "guesses": rng.normal(size=SLICES)}.get(attention)
        rows += [
            Prediction(
                f"{patient}/{place}.png", f"p{patient}", Modality.CT, float(value), "", split=Split.VAL,
                label=Finding.COVID if patient % 2 else Finding.NORMAL,
                attention=None if score is None else float(score[place]),
            )
            for place, value in enumerate(expit(log_odds))
        ]  # fmt: skip
    return rows


def test_where_few_slices_are_diseased_the_mean_of_few_is_chosen() -> None:
    choice = choose_aggregation(few_diseased(160, 1), Modality.CT, resamples=200)
    assert [one.aggregation.name for one in choice.candidates] == [
        "max", "mean", "top-2", "top-3", "top-5", "top-10", "noisy-or",
    ]  # fmt: skip
    found = {one.aggregation.name: one for one in choice.candidates}
    assert choice.aggregation == Aggregation.named("top-2")
    # The mean of all is worse beyond noise.
    low = found["mean"].added_loss.low
    assert low is not None
    assert low > 0.0
    assert found["top-2"].auroc.value > found["mean"].auroc.value
    assert "lowest log loss" in choice.reason


def test_where_every_slice_is_diseased_a_way_that_hears_all_is_chosen() -> None:
    choice = choose_aggregation(few_diseased(200, 2, diseased=SLICES, gap=0.3), Modality.CT, resamples=200)
    assert choice.aggregation is not None
    assert choice.aggregation.name in {"mean", "top-10", "noisy-or"}
    highest = choice.candidates[0].added_loss
    assert choice.candidates[0].aggregation.name == "max"
    assert highest.low is not None
    assert highest.low > 0.0


def test_attention_is_taken_only_if_it_wins_beyond_noise() -> None:
    knows = choose_aggregation(few_diseased(160, 3, attention="knows"), Modality.CT, resamples=200)
    guesses = choose_aggregation(few_diseased(160, 3, attention="guesses"), Modality.CT, resamples=200)
    assert knows.aggregation == Aggregation.named("attention")
    assert guesses.aggregation == Aggregation.named("top-2")
    assert "does not win beyond noise" in guesses.reason


@pytest.mark.parametrize(
    ("attention", "high", "chosen"),
    [
        (0.30, -0.01, "attention"),
        (0.30, 0.01, "max"),  # lower, and not beyond noise
        (0.30, None, "max"),
    ],
)
def test_the_rule_by_hand(attention: float, high: float | None, chosen: str) -> None:
    def candidate(name: str, loss: float, added: Estimate) -> AggregationCandidate:
        estimate = Estimate(loss, None, None, 40, 40)
        return AggregationCandidate(Aggregation.named(name), estimate, estimate, estimate, added)

    same = Estimate(0.0, 0.0, 0.0, 40, 40)
    offered = [
        candidate("max", 0.4005, same),  # within a thousandth of the lowest, and simpler
        candidate("mean", 0.5, same),
        candidate("top-3", 0.4, same),
        candidate("attention", attention, Estimate(attention - 0.4, -0.2, high, 40, 40)),
    ]
    assert _best(offered)[0].aggregation.name == chosen


def test_no_row_but_validation_is_taken() -> None:
    rows = few_diseased(40, 4)
    for part in (Split.TEST, Split.TRAIN):
        with pytest.raises(InputError, match=f"is of the {part} part"):
            choose_aggregation([*rows, replace(rows[0], split=part)], Modality.CT)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (few_diseased(38, 5), "19 patients with covid and 19 without"),
        ([row for row in few_diseased(80, 5) if row.path.endswith("/0.png")], "every study has one image"),
    ],
)
def test_with_too_little_the_default_stays(rows: list[Prediction], reason: str) -> None:
    choice = choose_aggregation(rows, Modality.CT)
    assert (choice.aggregation, choice.candidates) == (None, ())
    assert reason in choice.reason
    asked = choose_aggregation(rows, Modality.CT, wanted="mean")
    assert asked.aggregation == Aggregation.named("mean")


def test_what_is_asked_for_is_taken_and_compared_all_the_same() -> None:
    choice = choose_aggregation(few_diseased(40, 6), Modality.CT, wanted="mean", resamples=100)
    assert choice.aggregation == Aggregation.named("mean")
    assert len(choice.candidates) == 7
    document = choice.to_json()
    assert (document["chosen"], document["reason"]) == ("mean", "taken as asked")
    for wanted, message in (("median", "is unknown"), ("attention", "have no score")):
        with pytest.raises(InputError, match=message):
            choose_aggregation(few_diseased(40, 6), Modality.CT, wanted=wanted)


def test_the_study_is_calibrated_after_joining() -> None:
    """Noisy-or of twelve slices is near 1 for everybody; on new patients the stored calibrator puts that right."""
    way = Aggregation.named("noisy-or")
    choice = choose_aggregation(few_diseased(200, 7), Modality.CT, wanted="noisy-or", resamples=100)
    calibration = choice.calibrator.calibration
    assert calibration is not None
    new = sample_of(per_patient(joined_as(few_diseased(400, 8), way), Modality.CT), threshold=None)
    before, after = new.probability, calibration.apply(new.probability)
    assert before.mean() > 0.9  # half are sick
    assert after.mean() == pytest.approx(0.5, abs=0.06)
    assert log_loss(new.reference, after) < 0.6 < log_loss(new.reference, before)


def test_a_line_mends_what_no_temperature_can() -> None:
    rng = np.random.default_rng(9)
    truth = rng.normal(size=600)
    rows = [
        Prediction(
            f"{k}", f"p{k}", None, float(expit(2 * value + 3)), "", label=Finding.COVID if sick else Finding.OTHER
        )
        for k, (value, sick) in enumerate(zip(truth, rng.random(600) < expit(truth), strict=True))
    ]
    choice = choose_calibrator(rows, fits=STUDY_FITS)
    assert choice.name == "platt"
    found = fit_platt(*(getattr(sample_of(rows, None), name) for name in ("reference", "probability", "units")))
    # P was pushed to 2 · log odds + 3; half of it, less 1.5, undoes that.
    assert (found.slope, found.intercept) == (pytest.approx(0.5, abs=0.1), pytest.approx(-1.5, abs=0.3))


def test_platt_is_the_regression_on_smoothed_targets() -> None:
    from sklearn.linear_model import LogisticRegression

    reference = np.array([True] * 3 + [False] * 5)
    values = np.array([0.9, 0.8, 0.7, 0.3, 0.2, 0.1, 0.05, 0.4])  # no overlap: a plain fit has no end
    found = fit_platt(reference, values, list("abcdefgh"))
    log_odds = np.log(values / (1 - values))
    target = np.where(reference, 4 / 5, 1 / 7)
    weighted = LogisticRegression(C=np.inf, tol=1e-10).fit(
        np.tile(log_odds, 2)[:, None], np.repeat([1, 0], 8), sample_weight=np.concatenate([target, 1 - target])
    )
    assert found.slope == pytest.approx(weighted.coef_[0, 0], rel=1e-3)
    assert found.intercept == pytest.approx(weighted.intercept_[0], abs=1e-3)
