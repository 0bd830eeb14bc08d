"""Heads fitted after training: on patients left out, with intervals that hold what they promise, in the same graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from duoscan.errors import ManifestError, RecipeError, TrainingError
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.inference.heads import CategoryHead, ScoreHead
from duoscan.inference.predictor import Predictor, predict_manifest
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split
from duoscan.training.further.add import further_heads
from duoscan.training.further.figures import WeightedKappa, half_width
from duoscan.training.further.fits import FOLDS, Categories, Score, deal_folds, fit, left_out
from duoscan.training.recipe import CategoryHeadSection, ScoreHeadSection, read_recipe
from duoscan.training.watcher import TrainingWatcher
from stand_ins import brightness_graph, brightness_info, write_png

KINDS = CategoryHeadSection(
    kind="categories", name="kind", title="Kind", column="finding", categories=("Dark", "Grey", "Bright")
)
SCORE = ScoreHeadSection(kind="score", name="light", title="Light", table="light.csv", column="light", least=0, most=10)


def test_no_patient_is_in_two_folds_and_every_fold_has_each_stratum() -> None:
    rng = np.random.default_rng(0)
    units = [f"p{number}" for number in rng.integers(60, size=300)]
    strata = rng.integers(3, size=300).astype(float)
    folds = deal_folds(strata, units, seed=1)
    assert all(len({fold for fold, unit in zip(folds, units, strict=True) if unit == one}) == 1 for one in set(units))
    assert {(fold, stratum) for fold, stratum in zip(folds, strata, strict=True)} == {
        (fold, stratum) for fold in range(FOLDS) for stratum in range(3)
    }


@pytest.mark.parametrize("count", [2, 4])
def test_a_planted_map_is_found(count: int) -> None:
    rng = np.random.default_rng(count)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    units = [str(number) for number in range(400)]
    score = 3 * features[:, 0] - features[:, 1] + 5
    head = fit(Score(), features, score.astype(float), units, seed=0)
    np.testing.assert_allclose(head.weight[0], [3, -1, 0, 0, 0, 0], atol=0.05)
    places = np.digitize(features[:, 0], np.quantile(features[:, 0], np.arange(1, count) / count)).astype(float)
    outputs = left_out(Categories(count), features, places, units, seed=0)
    assert outputs.shape == (400, count)
    assert np.mean(outputs.argmax(1) == places) > 0.85


def test_what_is_known_of_a_patient_does_not_help_to_tell_the_patient() -> None:
    """Every patient has a feature vector and a score of his own, four images each: only a leak could tell the score."""
    rng = np.random.default_rng(3)
    features = np.repeat(rng.normal(size=(40, 60)), 4, axis=0).astype(np.float32)
    score = np.repeat(rng.normal(size=40), 4)
    units = [f"p{number // 4}" for number in range(160)]
    said = left_out(Score(), features, score, units, seed=0)[:, 0]
    assert np.mean((said - score) ** 2) > 0.8 * score.var()


def test_weighted_kappa_is_that_of_another_library_with_whole_weights() -> None:
    rng = np.random.default_rng(4)
    reference, answer = rng.integers(4, size=50), rng.integers(4, size=50)
    times = rng.integers(0, 3, size=50)
    found = WeightedKappa(reference, answer, 4)(times[None].astype(float))
    for name, weights in (("quadratic_kappa", "quadratic"), ("linear_kappa", "linear")):
        expected = cohen_kappa_score(np.repeat(reference, times), np.repeat(answer, times), weights=weights)
        assert found[name][0] == pytest.approx(expected)


def test_the_interval_holds_the_score_of_a_new_patient_as_often_as_it_says() -> None:
    """Patients differ in how many images they have and in how far off their scores are."""
    rng = np.random.default_rng(5)
    held = []
    for _ in range(600):
        images = rng.integers(1, 6, size=31)
        spread = rng.exponential(size=31) / images  # those with many images are the easy ones
        units = [f"p{place}" for place, count in enumerate(images) for _ in range(count)]
        errors = np.abs(rng.normal(size=len(units)) * np.repeat(spread, images))
        is_new = np.array(units) == "p30"
        width = half_width(errors[~is_new], [unit for unit in units if unit != "p30"])
        held.append(errors[is_new][0] <= width)
    # 600 draws: the standard error is 0.012.
    assert np.mean(held) > 0.9 - 3 * 0.012


def test_too_few_patients_for_an_interval() -> None:
    with pytest.raises(ValueError, match="8 patients are too few for intervals that hold 90%"):
        half_width(np.ones(8), list("abcdefgh"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """90 patients whose pictures are as bright as their score; a third are test, and their cells cannot be read."""
    root = tmp_path_factory.mktemp("cohort")
    records, lines = [], ["path,light"]
    for number in range(90):
        split = (Split.TRAIN, Split.VAL, Split.TEST)[number % 3]
        level = (number * 7 % 90) / 90
        path = f"{number:02d}.png"
        write_png(root / path, 0.2 + 0.6 * level, size=40)
        records.append(
            ImageRecord(
                path=path, modality=Modality.CXR, patient_id=f"p{number}", split=split, source="made",
                label=Finding.COVID, finding=KINDS.categories[int(3 * level)].upper(),
            )
        )  # fmt: skip
        lines.append(f"{path},{'no score' if split is Split.TEST else round(10 * level, 2)}")
    (root / "light.csv").write_text("\n".join(lines), encoding="utf-8")
    return Manifest(root, tuple(records))


def made(folder: Path) -> Bundle:
    return write_bundle(folder / "plain.duoscan", brightness_info(Modality.CXR), brightness_graph(slope=4.0))


def test_heads_learn_from_training_and_validation_alone_and_leave_the_answer_as_it_was(
    cohort: Manifest, tmp_path: Path
) -> None:
    plain = made(tmp_path)
    graph, heads = further_heads(plain, cohort, (KINDS, SCORE), 0, TrainingWatcher())
    kinds, score = heads
    assert isinstance(kinds, CategoryHead)
    assert isinstance(score, ScoreHead)
    assert (kinds.images, kinds.patients, kinds.sources) == (60, 60, ("made",))
    assert kinds.figures["cross_validated"]["quadratic_kappa"]["value"] > 0.8
    assert score.figures["validation_part"]["mean_absolute_error"]["n"] == 30
    assert (
        score.figures["cross_validated"]["mean_absolute_error"]["value"]
        < 0.5
        < score.figures["cross_validated"]["of_the_median"]["value"]
    )
    bundle = write_bundle(tmp_path / "heads.duoscan", plain.info.model_copy(update={"heads": heads}), graph)
    tested = cohort.where(split=Split.TEST)
    before, after = predict_manifest(plain, tested), predict_manifest(bundle, tested)
    assert [row.probability for row in after] == pytest.approx([row.probability for row in before], abs=1e-6)
    truth = np.array([10 * (int(row.path[:2]) * 7 % 90) / 90 for row in after])
    told = np.array([[row.heads[key] for key in score.keys] for row in after])
    assert np.abs(told[:, 0] - truth).mean() < 0.5
    assert np.mean((told[:, 1] <= truth) & (truth <= told[:, 2])) > 0.75  # of 30; nine tenths are promised
    with pytest.raises(TrainingError, match="the graph gives kind, light already"):
        further_heads(bundle, cohort, (KINDS, SCORE), 0, TrainingWatcher())


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (KINDS.model_copy(update={"categories": ("Dark", "Pink")}), "too few patients"),
        (KINDS.model_copy(update={"column": "shade"}), "a manifest has no column 'shade'; name the table"),
        (SCORE.model_copy(update={"column": "shade"}), "no column shade; heads.light needs it"),
        (SCORE.model_copy(update={"table": "none.csv"}), "no such file"),
        (SCORE.model_copy(update={"most": 2.0}), "cells of column 'light' that are no score"),
    ],
)
def test_a_reference_that_cannot_be_learned_from_is_refused(
    cohort: Manifest, tmp_path: Path, section: CategoryHeadSection | ScoreHeadSection, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        further_heads(made(tmp_path), cohort, (section,), 0, TrainingWatcher())


def test_a_recipe_names_them(tmp_path: Path) -> None:
    text = 'name = "x"\nmodality = "cxr"\nclasses = ["covid", "normal"]\n[[heads]]\nkind = "score"\nname = "extent"\n'
    text += 'title = "Extent"\ncolumn = "extent"\ntable = "severity.csv"\nleast = 0\nmost = 8\n'
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    (head,) = read_recipe(str(tmp_path / "x.toml")).heads
    assert isinstance(head, ScoreHeadSection)
    (tmp_path / "x.toml").write_text(text.replace("most = 8", "most = 0"), encoding="utf-8")
    with pytest.raises(RecipeError, match="the scale goes from 0 to 0"):
        read_recipe(str(tmp_path / "x.toml"))


def test_what_is_fitted_is_what_the_bundle_says(cohort: Manifest, tmp_path: Path) -> None:
    """Batches of other sizes and single images give the same numbers."""
    plain = made(tmp_path)
    graph, heads = further_heads(plain, cohort, (SCORE,), 0, TrainingWatcher())
    bundle = write_bundle(tmp_path / "heads.duoscan", plain.info.model_copy(update={"heads": heads}), graph)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 1, 32, 32)).astype(np.float32)
    together = [answer.heads["light"] for answer in Predictor(bundle).answer(images)]
    alone = [Predictor(bundle).answer(image[None])[0].heads["light"] for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
