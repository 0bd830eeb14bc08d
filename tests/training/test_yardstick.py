"""Leave-one-source-out on invented hospitals: what is learned from, what is asked, and what is done only once."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn.linear_model import LogisticRegression

from duoscan.audit.ledger import beside, read_uses
from duoscan.errors import InputError
from duoscan.evaluation.yardstick.answers import CONTROLS, Part, tables_of
from duoscan.inference.bundle import read_bundle
from duoscan.interfaces.cli.yardstick import yardstick_command
from duoscan.manifest.records import Manifest
from duoscan.manifest.table import write_manifest
from duoscan.predictions import read_predictions
from duoscan.run_files import BUNDLE_NAME
from duoscan.terms import Finding, Split
from duoscan.training.recipe import Recipe
from duoscan.training.watcher import TrainingWatcher
from duoscan.training.yardstick import run as yardstick
from duoscan.training.yardstick.cleaning import Cleaned, cleaned
from duoscan.training.yardstick.features import FeatureStore
from duoscan.training.yardstick.regression import fit
from duoscan.training.yardstick.run import RUN_NAME, Wish, answer_parts, parts_of, usable
from duoscan.training.yardstick.sides import sides_of
from source_cohorts import picture, plant_copy, write_hospitals

RECIPE = Recipe.model_validate(
    {
        "name": "tiny",
        "modality": "cxr",
        "classes": ["covid", "pneumonia", "normal"],
        "model": {"backbone": "plain:tiny", "pretrained": False},
        "input": {"size": 32, "crop_borders": False},
        "optimise": {"epochs": 1, "batch_size": 8, "amp": "off"},
    }
)
TOML = """
name = "tiny"
modality = "cxr"
classes = ["covid", "pneumonia", "normal"]
model = { backbone = "plain:tiny", pretrained = false }
input = { size = 32, crop_borders = false }
optimise = { epochs = 1, batch_size = 8, amp = "off" }
"""


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Three hospitals; h0 has a re-encoded copy of one of h1's images under another patient."""
    manifest = write_hospitals(tmp_path_factory.mktemp("hospitals"))
    return plant_copy(manifest, "h1/03.png", "h0")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def data(hospitals: Manifest, cache: Path) -> Cleaned:
    return cleaned(hospitals, cache)


def part(source: str, fold: int = 0, folds: int = 0, seed: int = 0) -> Part:
    return Part("tiny", source, fold, folds, seed)


def answer(data: Cleaned, wish: Wish, run: Path) -> dict[Part, str]:
    watcher = TrainingWatcher()
    store = FeatureStore(data.manifest, run / "cache", watcher)
    return answer_parts(wish, parts_of(wish, data.manifest), data, run, store, watcher)


def test_a_copy_at_another_source_is_found_and_leaves_the_training_side(data: Cleaned) -> None:
    copy = "h0/copy-of-h1-03.png.jpg"
    assert [(one.path_a, one.path_b) for one in data.copies.pairs] == [("h1/03.png", copy)]
    sides = sides_of(part("h1"), RECIPE, data)
    assert copy not in {one.path for one in sides.learned}
    assert "h1/03.png" in {one.path for one in sides.left_out}
    assert sides.parted.copies_of_training == 1
    # The other way round the copy is asked, and the original is not learned from.
    sides = sides_of(part("h0"), RECIPE, data)
    assert copy in {one.path for one in sides.left_out}
    assert "h1/03.png" not in {one.path for one in sides.learned}


def test_other_images_of_a_copied_patient_leave_the_training_side(hospitals: Manifest, tmp_path: Path) -> None:
    # Patient h0:0 has an image of its own and the copy of h1's: so it is h1's patient.
    records = [one.model_copy(update={"patient_id": "h0:0"}) if "copy-of" in one.path else one for one in hospitals]
    sides = sides_of(part("h1"), RECIPE, cleaned(hospitals.replace(records), tmp_path))
    assert "h0/00.png" not in {one.path for one in sides.learned}


@pytest.mark.parametrize("asked", [part("h1"), part("h1", 2, 3)])
def test_no_patient_is_on_two_sides_and_validation_is_of_the_training_sources(data: Cleaned, asked: Part) -> None:
    sides = sides_of(asked, RECIPE, data)
    units = [
        {one.unit for one in rows}
        for rows in (sides.left_out, sides.learned.where(split=Split.TRAIN), sides.learned.where(split=Split.VAL))
    ]
    assert all(units)
    assert not units[0] & units[1] | units[0] & units[2] | units[1] & units[2]
    if not asked.fold:
        assert {one.source for one in sides.learned} == {"h0", "h2"}
        assert {one.source for one in sides.left_out} == {"h1"}


def test_over_the_folds_each_image_of_the_source_is_asked_once(data: Cleaned) -> None:
    paths = [one.path for fold in (1, 2, 3) for one in sides_of(part("h1", fold, 3), RECIPE, data).left_out]
    assert sorted(paths) == sorted(one.path for one in data.manifest if one.source == "h1")


def test_a_class_that_a_source_took_from_another_leaves_it(tmp_path: Path) -> None:
    manifest = write_hospitals(tmp_path / "images", 2)
    lent = [one.path for one in manifest if one.source == "h1" and one.label is Finding.COVID][:8]
    own = [one for one in manifest if one.source == "h0" and one.label is Finding.COVID]
    manifest = manifest.replace([one for one in manifest if one not in own])  # h0 has no covid of its own
    for path in lent:
        manifest = plant_copy(manifest, path, "h0", patient_id=f"h0:{path}")
    data = cleaned(manifest, tmp_path / "cache")
    assert data.borrowed == (("h0", Finding.COVID, "h1", 8),)
    assert Finding.COVID not in {one.label for one in data.manifest if one.source == "h0"}


def test_test_rows_are_never_opened(hospitals: Manifest, tmp_path: Path) -> None:
    (hospitals.root / "broken.png").write_bytes(b"no picture")
    closed = hospitals.records[0].model_copy(update={"path": "broken.png", "split": Split.TEST})
    assert cleaned(hospitals.replace([*hospitals.records[:30], closed]), tmp_path).test_rows == 1


def test_what_is_learned_does_not_depend_on_what_is_left_out(
    hospitals: Manifest, data: Cleaned, tmp_path: Path
) -> None:
    wish = Wish({"tiny": RECIPE}, sources=("h1",), controls=False)
    answer(data, wish, tmp_path / "first")
    # The left-out hospital again with other pictures, in which the labels are turned round.
    turned = {Finding.COVID: Finding.NORMAL, Finding.NORMAL: Finding.COVID, Finding.PNEUMONIA: Finding.PNEUMONIA}
    records = []
    for number, one in enumerate(hospitals):
        if one.source == "h1" and one.path != "h1/03.png":
            other = tmp_path / "images" / f"{number}.png"
            other.parent.mkdir(exist_ok=True)
            picture(number + 500, Finding.NORMAL, 1).save(other)
            path = Path(os.path.relpath(other, hospitals.root)).as_posix()
            records.append(one.model_copy(update={"path": path, "label": turned[one.label or Finding.COVID]}))
        else:
            records.append(one)
    changed = cleaned(hospitals.replace(records), tmp_path / "cache")
    answer(changed, wish, tmp_path / "second")
    bundles = [read_bundle(part("h1").folder(tmp_path / name) / RUN_NAME / BUNDLE_NAME) for name in ("first", "second")]
    assert bundles[0].graph == bundles[1].graph
    assert bundles[0].info.operating_points == bundles[1].info.operating_points
    assert bundles[0].info.provenance.data_fingerprint == bundles[1].info.provenance.data_fingerprint


def command(run: Path, manifest: Manifest, cache: Path, *more: str) -> Result:
    write_manifest(manifest, manifest.root / "manifest.csv")
    recipe = run.parent / "tiny.toml"
    recipe.write_text(TOML)
    arguments = [str(manifest.root / "manifest.csv"), "--recipe", str(recipe), "--run", str(run), "--cache", str(cache)]
    return CliRunner().invoke(yardstick_command, [*arguments, *more], catch_exceptions=False)


def test_a_finished_yardstick_is_not_made_again(
    hospitals: Manifest, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    result = command(run, hospitals, cache, "--frozen", "--seeds", "0,1", "--no-controls")
    assert result.exit_code == 0, result.output
    before = (run / "yardstick.json").read_bytes()
    uses = read_uses(beside(hospitals.root / "manifest.csv"))
    assert sorted(use.kind for use in uses) == [f"yardstick, cxr, h{n}, not split" for n in range(3)]

    def never(*_arguments: object, **_options: object) -> None:
        pytest.fail("something was learned again")

    monkeypatch.setattr(yardstick, "learn", never)
    assert command(run, hospitals, cache, "--frozen", "--seeds", "0,1", "--no-controls").exit_code == 0
    assert json.loads((run / "yardstick.json").read_bytes())["figures"] == json.loads(before)["figures"]
    assert len(read_uses(beside(hospitals.root / "manifest.csv"))) == 3  # nothing new was looked at
    (beside(hospitals.root / "manifest.csv")).unlink()


def test_the_table_has_every_question_and_control_and_the_disease_is_found(
    hospitals: Manifest, cache: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command(run, hospitals, cache, "--frozen", "--ledger", str(tmp_path / "uses.jsonl"))
    document = json.loads((run / "yardstick.json").read_text())
    figures = {(one["left_out"], one["question"], one["control"]): one for one in document["figures"]}
    questions = ("covid-normal", "covid-pneumonia", "any-none")
    assert set(figures) == {
        (f"h{n}", question, control) for n in range(3) for question in questions for control in (None, *CONTROLS)
    }
    for n in range(3):
        assert figures[f"h{n}", "covid-normal", None]["auroc"]["value"] > 0.9
        assert figures[f"h{n}", "covid-normal", "file-facts"]["sensitivity"] is None
        low, high = (figures[f"h{n}", "covid-normal", "borders"]["auroc"][end] for end in ("low", "high"))
        assert low < 0.5 < high  # the disease is in the middle
    assert document["data"]["groups_of_copies_across_sources"] == 1
    assert document["uses"]["h0"]["tiny"].startswith("Use 1 of this test set")
    assert len((run / "yardstick.csv").read_text().splitlines()) == len(document["figures"]) + 1


def test_a_training_that_was_cut_off_is_taken_up_and_what_is_there_is_measured(
    hospitals: Manifest, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    trained: list[Path] = []
    real = yardstick.train

    def second_fails(manifest: Manifest, recipe: Recipe, folder: Path, watcher: TrainingWatcher) -> object:
        trained.append(folder)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(manifest, recipe, folder, watcher)

    monkeypatch.setattr(yardstick, "train", second_fails)
    options = ("--leave-out", "h0", "--leave-out", "h1", "--no-controls", "--ledger", str(tmp_path / "uses.jsonl"))
    command(run, hospitals, cache, *options)
    assert not (run / "yardstick.json").exists()
    result = command(run, hospitals, cache, *options, "--only-figures")
    assert "1 trainings are not finished" in result.output
    document = json.loads((run / "yardstick.json").read_text())
    assert {one["left_out"] for one in document["figures"]} == {"h0"}
    assert document["missing"] == ["tiny without h1, seed 0"]
    assert command(run, hospitals, cache, *options).exit_code == 0
    assert trained[2:] == [part("h1").folder(run) / RUN_NAME]  # that of h0 was finished
    document = json.loads((run / "yardstick.json").read_text())
    assert {one["left_out"] for one in document["figures"]} == {"h0", "h1"}
    assert document["missing"] == []


def test_another_recipe_in_the_same_folder_is_refused(data: Cleaned, tmp_path: Path) -> None:
    wish = Wish({"tiny": RECIPE}, sources=("h1",), frozen=True, controls=False)
    answer(data, wish, tmp_path)
    other = RECIPE.model_copy(update={"classes": (Finding.COVID, Finding.NORMAL)})
    with pytest.raises(InputError, match="other settings or data"):
        answer(data, Wish({"tiny": other}, sources=("h1",), frozen=True, controls=False), tmp_path)


def test_a_part_without_a_class_is_told_and_the_others_are_made(data: Cleaned, tmp_path: Path) -> None:
    kept = [one for one in data.manifest if one.source == "h0" or one.label is not Finding.PNEUMONIA]
    alone = Cleaned(data.manifest.replace(kept), data.copies, 0, ())
    failed = answer(alone, Wish({"tiny": RECIPE}, frozen=True, controls=False), tmp_path)
    assert [one.source for one in failed] == ["h0"]
    assert "no cxr image of class pneumonia" in failed[part("h0")]
    assert all(path.exists() for path in tables_of(part("h1").folder(tmp_path)))


def test_lungs_are_erased_from_the_pictures_and_not_from_the_model(data: Cleaned, tmp_path: Path) -> None:
    answer(data, Wish({"tiny": RECIPE}, sources=("h1",)), tmp_path)
    folder = part("h1").folder(tmp_path)
    whole, erased = (read_predictions(tables_of(folder, name)[1]) for name in ("", "lungs-erased"))
    assert [row.path for row in whole] == [row.path for row in erased]
    assert any(one.probability != other.probability for one, other in zip(whole, erased, strict=True))


def test_the_regression_is_scikit_learns_where_all_classes_are_compared() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=300)
    inputs = (rng.normal(size=(300, 12)) + rng.normal(size=(3, 12))[targets]).astype(np.float32)
    drawn = rng.random(300) * 2
    found = fit(inputs, targets, np.ones((300, 3), np.bool_), drawn, 0.05, RECIPE)
    other = LogisticRegression(C=0.05, tol=1e-9, max_iter=5000)
    other.fit((inputs - inputs.mean(axis=0)) / inputs.std(axis=0), targets, sample_weight=drawn)
    assert found.weights == pytest.approx(other.coef_, abs=1e-4)


def test_within_a_site_what_tells_sites_apart_is_not_learned() -> None:
    # Site a has covid and normal, site b pneumonia and normal; column 0 is the site, column 1 the disease.
    rng = np.random.default_rng(0)
    sick, site = np.arange(400) % 2 == 0, np.arange(400) // 200
    targets = np.where(sick, np.where(site == 0, 0, 1), 2)
    inputs = np.stack([site * 4.0, sick * 2.0], axis=1) + rng.normal(size=(400, 2))
    compared = np.ones((400, 3), np.bool_)
    compared[np.arange(400), 1 - site] = False
    within, over = (
        fit(inputs.astype(np.float32), targets, which, np.ones(400), 10.0, RECIPE)
        for which in (compared, np.ones_like(compared))
    )
    by_site = [abs(one.weights[0, 0] - one.weights[1, 0]) for one in (within, over)]
    assert by_site[0] < 0.1
    assert by_site[1] > 1
    assert min(one.weights[0, 1] - one.weights[2, 1] for one in (within, over)) > 1


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish({"tiny": RECIPE}, sources=("elsewhere",)), "no question can be asked of elsewhere"),
        (Wish({"tiny": RECIPE}, folds={"elsewhere": 3}), "no question can be asked of elsewhere"),
    ],
)
def test_sources_that_cannot_be_asked_are_refused(data: Cleaned, wish: Wish, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parts_of(wish, data.manifest)


def test_rows_of_one_modality_are_measured_at_a_time(data: Cleaned) -> None:
    ct = Recipe.model_validate({"name": "ct", "modality": "ct", "classes": ["covid", "other"]})
    with pytest.raises(InputError, match="one modality at a time"):
        usable(data.manifest, [RECIPE, ct])


def test_a_look_that_a_kill_kept_from_being_counted_is_counted_later(
    hospitals: Manifest, cache: Path, tmp_path: Path
) -> None:
    run, ledger = tmp_path / "run", tmp_path / "uses.jsonl"
    options = ("--frozen", "--no-controls", "--leave-out", "h1", "--ledger", str(ledger))
    command(run, hospitals, cache, *options)
    ledger.unlink()
    (run / "uses.json").unlink()
    command(run, hospitals, cache, *options)
    assert [use.kind for use in read_uses(ledger)] == ["yardstick, cxr, h1, not split"]


def test_figures_alone_need_no_features(
    hospitals: Manifest, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, ledger = tmp_path / "run", str(tmp_path / "uses.jsonl")
    command(run, hospitals, cache, "--frozen", "--no-controls", "--leave-out", "h1", "--ledger", ledger)
    monkeypatch.setattr(FeatureStore, "of", lambda *_arguments: pytest.fail("features were computed"))
    views = [one.model_copy(update={"view": "AP" if place % 2 else "PA"}) for place, one in enumerate(hospitals)]
    assert command(run, hospitals.replace(views), cache, "--frozen", "--no-controls", "--only-figures").exit_code == 0
    document = json.loads((run / "yardstick.json").read_text())
    assert {one["view"] for one in document["figures"]} == {"all", "AP", "PA"}
    assert (document["views"]["stated"], document["views"]["told"]) == (len(hospitals), 0)
