from __future__ import annotations

from pathlib import Path

import pytest

from duoscan.errors import RecipeError
from duoscan.terms import Finding, Modality
from duoscan.training.recipe import builtin_recipes, read_recipe

MINIMAL = 'name = "r"\nmodality = "ct"\nclasses = ["covid", "other"]\n'


def write(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", list(builtin_recipes()))
def test_builtin_recipes_are_sound(name: str) -> None:
    assert read_recipe(name).name == name


def test_overrides_are_toml_or_words(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, MINIMAL), ["optimise.epochs=3", "model.backbone=plain:tiny", "seed=7"])
    assert (recipe.optimise.epochs, recipe.model.backbone, recipe.seed) == (3, "plain:tiny", 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MINIMAL + "[optimise]\nepoch = 3\n", r"optimise\.epoch: unknown key; did you mean 'epochs'\?"),
        (MINIMAL + "[optimize]\nepochs = 3\n", r"optimize: unknown key; did you mean 'optimise'\?"),
        (MINIMAL + "[optimise]\nepochs = 0\n", r"optimise\.epochs: .*greater than or equal to 1 \(found 0\)"),
        (MINIMAL.replace('"covid", ', ""), "classes need 'covid'"),
        (MINIMAL.replace("ct", "mri"), r"modality: .*'cxr' or 'ct'"),
        ("name = ", "not a TOML file"),
    ],
)
def test_a_typo_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        read_recipe(write(tmp_path, text))


def test_every_wrong_entry_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="2 wrong entries") as caught:
        read_recipe(write(tmp_path, MINIMAL + "[optimise]\nepoch = 3\npatients = 2\n"))
    assert "optimise.epoch:" in str(caught.value)
    assert "optimise.patients:" in str(caught.value)


@pytest.mark.parametrize("override", ["epochs", "=3", "name.x=3"])
def test_bad_overrides(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError):
        read_recipe(write(tmp_path, MINIMAL), [override])


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="compact-ct"):
        read_recipe("no-such-recipe")


def test_merge_and_contract(tmp_path: Path) -> None:
    recipe = read_recipe(
        write(tmp_path, MINIMAL + '[data]\nmerge = { normal = "other" }\n[input]\nsize = 96\naspect = "pad"\n')
    )
    assert recipe.class_of(Finding.NORMAL) is Finding.OTHER
    assert recipe.class_of(Finding.PNEUMONIA) is None
    assert recipe.class_of(None) is None
    contract = recipe.contract()
    assert (contract.modality, contract.height, contract.width, contract.aspect) == (Modality.CT, 96, 96, "pad")
