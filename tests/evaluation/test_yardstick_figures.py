"""Figures of a yardstick against other implementations and against what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from duoscan.evaluation.delong import delong_auroc, delong_test
from duoscan.evaluation.yardstick.answers import BORDERS, WHOLE, Part, PartAnswers
from duoscan.evaluation.yardstick.differences import differences
from duoscan.evaluation.yardstick.document import Table
from duoscan.evaluation.yardstick.figures import ALL_VIEWS, Figure, measure
from duoscan.evaluation.yardstick.questions import Question, asked, questions_of
from yardstick_answers import CLASSES, COVID, NORMAL, PNEUMONIA, STATED, answers, made, row


def figure(figures: list[Figure], question: Question, control: str = WHOLE, view: str = ALL_VIEWS) -> Figure:
    return next(one for one in figures if (one.question, one.control, one.view) == (question, control, view))


def test_a_score_is_the_share_among_the_classes_asked_for() -> None:
    rows = [row("a", COVID, (0.2, 0.5, 0.3)), row("b", PNEUMONIA, (0.1, 0.6, 0.3)), row("c", NORMAL, (0.0, 1.0, 0.0))]
    scores = {one: [answer.probability for answer in asked(one, rows)] for one in questions_of(CLASSES)}
    assert scores[Question.COVID_NORMAL] == pytest.approx([0.4, 0.5])  # 0.2 / 0.5; neither class is possible
    assert scores[Question.COVID_PNEUMONIA] == pytest.approx([2 / 7, 1 / 7])
    assert scores[Question.ANY_NONE] == pytest.approx([0.7, 0.7, 1.0])


def test_auroc_over_seeds_is_the_mean_of_scikit_learns() -> None:
    parts = [made("first", seed, 1.0) for seed in (0, 1, 2)]
    found = figure(measure(parts, {"first": STATED}, {}), Question.ANY_NONE)
    by_seed = [
        roc_auc_score(
            [one.label is not NORMAL for one in part.left_out], [1 - one.probabilities[NORMAL] for one in part.left_out]
        )
        for part in parts
    ]
    assert found.by_seed == pytest.approx(by_seed)
    assert found.auroc.value == pytest.approx(np.mean(by_seed))
    assert found.spread == pytest.approx(np.std(by_seed, ddof=1))
    assert (found.positive, found.negative) == (60, 30)


def test_the_interval_of_a_mean_over_seeds_is_as_wide_as_resampled_patients_say() -> None:
    rng = np.random.default_rng(0)
    reference = np.arange(300) % 2 == 0
    scores = rng.normal(size=(3, 300)) + reference + rng.normal(size=300)  # alike in part, as seeds are
    units = [str(n // 3) for n in range(300)]
    found = delong_auroc(reference, scores, units)
    patients = np.arange(300).reshape(100, 3)
    drawn = []
    for _ in range(400):
        rows = patients[rng.integers(100, size=100)].ravel()
        drawn.append(np.mean([roc_auc_score(reference[rows], score[rows]) for score in scores]))
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.98 * np.std(drawn), rel=0.12)


def test_one_model_given_as_several_is_the_one() -> None:
    rng = np.random.default_rng(1)
    reference, units = rng.random(60) < 0.5, [str(n // 2) for n in range(60)]
    score, other = rng.normal(size=60) + reference, rng.normal(size=60)
    assert delong_auroc(reference, np.stack([score] * 3), units) == delong_auroc(reference, score, units)
    several = delong_test(reference, np.stack([score] * 2), np.stack([other] * 3), units)
    assert several.p_value == pytest.approx(delong_test(reference, score, other, units).p_value)


def test_folds_are_one_figure_and_a_seed_without_a_fold_is_none() -> None:
    parts = [made("first", 0, 1.0, fold=fold, folds=3) for fold in (1, 2, 3)]
    parts += [made("first", 1, 1.0, fold=fold, folds=3) for fold in (1, 2)]
    found = figure(measure(parts, {"first": STATED}, {}), Question.COVID_NORMAL)
    assert (found.left_out, found.seeds, found.positive + found.negative) == ("far (3 folds)", (0,), 180)


def test_the_threshold_is_validations_and_moves_with_it() -> None:
    part = made("first", 0, 2.0)
    rows = asked(Question.COVID_NORMAL, part.left_out)
    threshold = STATED.threshold(asked(Question.COVID_NORMAL, part.validation))
    sick = [one.probability >= threshold for one in rows if one.label is COVID and one.probability is not None]
    found = figure(measure([part], {"first": STATED}, {}), Question.COVID_NORMAL)
    assert found.sensitivity is not None
    assert found.sensitivity.value == pytest.approx(np.mean(sick))
    # Answers at the left-out source as they are, but validation that finds all at a far lower threshold.
    low = [
        row(one.path, one.label or COVID, (1e-6, 0.5, 0.5) if one.label is COVID else (1e-9, 0.5, 0.5), one.patient_id)
        for one in part.validation
    ]
    moved = PartAnswers(part.part, WHOLE, low, part.left_out)
    found = figure(measure([moved], {"first": STATED}, {}), Question.COVID_NORMAL)
    assert found.sensitivity is not None
    assert found.sensitivity.value == 1.0


def test_a_control_is_measured_against_the_recipe_of_its_seed() -> None:
    whole, other = made("first", 0, 2.0), made("first", 1, 2.0)
    same = PartAnswers(whole.part, BORDERS, whole.validation, whole.left_out)
    found = figure(measure([whole, other, same], {"first": STATED}, {}), Question.ANY_NONE, BORDERS)
    assert found.retained is not None
    assert found.retained.value == pytest.approx(1.0)  # the control has the recipe's own answers
    assert found.seeds == (0,)
    assert found.sensitivity is None


def test_within_a_view_only_its_images_count() -> None:
    part = made("first", 0, 1.0)
    views = {one.path: "AP" for one in part.left_out[:45]}
    found = figure(measure([part], {"first": STATED}, views), Question.COVID_NORMAL, view="AP")
    kept = [one for one in part.left_out[:45] if one.label is not PNEUMONIA]
    scores = [one.probabilities[COVID] / (one.probabilities[COVID] + one.probabilities[NORMAL]) for one in kept]
    assert found.auroc.value == pytest.approx(roc_auc_score([one.label is COVID for one in kept], scores))
    assert not [one for one in measure([part], {"first": STATED}, views) if one.view == "PA"]


def test_differences_are_paired_and_adjusted_as_statsmodels_does() -> None:
    names = ("first", "second", "third", "fourth")
    parts = [made(name, seed, 0.4 + 0.4 * place) for place, name in enumerate(names) for seed in (0, 1)]
    found = [one for one in differences(parts, dict.fromkeys(names, STATED)) if one.question is Question.ANY_NONE]
    assert [one.recipe for one in found] == ["second", "third", "fourth"]
    adjusted = multipletests([one.p_value for one in found], method="holm")[1]
    assert [one.adjusted for one in found] == pytest.approx(adjusted)
    figures = {
        one.recipe: one for one in measure(parts, dict.fromkeys(names, STATED), {}) if one.question is Question.ANY_NONE
    }
    assert found[2].auroc.value == pytest.approx(figures["fourth"].auroc.value - figures["first"].auroc.value)


def test_the_worst_source_is_named() -> None:
    near = [PartAnswers(Part("first", "near", 0, 0, 0), WHOLE, answers(1, 3.0), answers(2, 3.0))]
    table = Table(measure([*near, made("first", 0, 0.0)], {"first": STATED}, {}), ())
    assert {one.worst for one in table.summaries} == {"far"}
    values = [one.auroc.value for one in table.figures if one.question is Question.ANY_NONE]
    assert next(one.mean for one in table.summaries if one.question is Question.ANY_NONE) == pytest.approx(
        np.mean(values)
    )


def test_a_control_is_at_chance_where_its_interval_covers_it_or_it_keeps_little() -> None:
    whole = made("first", 0, 3.0)
    chance = PartAnswers(whole.part, BORDERS, whole.validation, answers(7, 0.0, prefix="f0-"))
    figures = measure([whole, chance], {"first": STATED}, {})
    assert figure(figures, Question.COVID_NORMAL, BORDERS).is_at_chance
    above = PartAnswers(whole.part, BORDERS, whole.validation, answers(7, 2.0, prefix="f0-"))
    assert not figure(measure([whole, above], {"first": STATED}, {}), Question.COVID_NORMAL, BORDERS).is_at_chance


def test_images_without_an_answer_are_counted_and_not_measured() -> None:
    part = made("first", 0, 1.0)
    refused = [replace(one, probability=None, probabilities={}) for one in part.left_out[:6]]
    without = PartAnswers(part.part, WHOLE, part.validation, [*refused, *part.left_out[6:]])
    found = figure(measure([without], {"first": STATED}, {}), Question.COVID_NORMAL)
    assert (found.positive + found.negative, found.unanswered) == (56, 4)
