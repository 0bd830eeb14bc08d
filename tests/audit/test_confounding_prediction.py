"""Telling the label from characteristics, out of fold and by patient."""

from __future__ import annotations

import numpy as np

from duoscan.audit.confounding.prediction import Target, predict_each, predict_together


def _target(patients: int, images: int, seed: int = 0) -> Target:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(patients) % 2 == 0)
    units = tuple(f"p{patient}" for patient in range(patients) for _ in range(images))
    return Target(np.repeat(labels, images), units, seed)


def test_what_follows_the_label_is_found_and_ranked_first() -> None:
    target = _target(40, 2)
    rng = np.random.default_rng(1)
    middle = np.where(target.positive, 0.5, rng.choice([0.0, 1.0], len(target.units)))
    features = {"noise": rng.random((len(middle), 1)), "middle range": middle[:, None]}
    best, noise = predict_each(features, target)
    # Neither "larger" nor "smaller" tells it, yet it tells all; the p-value is 1 / C(40, 20), about 7e-12.
    assert (best.title, best.auroc.value) == ("middle range", 1.0)
    assert best.is_above(0.7, 0.01)
    assert not noise.is_above(0.5, 0.01)


def test_knowing_the_patient_is_no_knowledge_of_the_label() -> None:
    # A number of its own for each patient: with images of a patient in training and test the tree would be right
    # in nearly all cases.
    target = _target(60, 6)
    rng = np.random.default_rng(2)
    number = np.repeat(rng.permutation(60), 6).astype(float)[:, None]
    (found,) = predict_each({"patient": number}, target)
    assert found.auroc.value < 0.65
    assert not found.is_above(0.5, 0.01)


def test_together_they_tell_more_than_each() -> None:
    target = _target(120, 1)
    rng = np.random.default_rng(3)
    parts = [(target.positive + rng.normal(0, 1.5, 120))[:, None] for _ in range(6)]
    singles = predict_each({str(number): part for number, part in enumerate(parts)}, target)
    (group,) = predict_together({"all": parts}, target)
    assert group.auroc.value > singles[0].auroc.value
    assert group.is_above(0.55, 0.01)
    assert group.auroc.units == 120


def test_the_same_seed_gives_the_same_scores() -> None:
    target = _target(30, 2)
    features = {"x": np.random.default_rng(4).random((60, 1))}
    one, other = predict_each(features, target)[0], predict_each(features, target)[0]
    assert np.array_equal(one.scores, other.scores)
    assert one.auroc == other.auroc


def test_patients_of_both_classes() -> None:
    target = Target(np.array([True, True, False, False, False]), ("a", "a", "b", "c", "a"))
    # covid: a; rest: a, b, c
    assert target.patients() == (1, 3)
