"""No document that decides holds a number that is none, or has no end: below NaN lies nobody, and nobody above it."""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
import types
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ConfigDict, TypeAdapter, ValidationError

import duoscan
from duoscan.errors import BundleError, InputError
from duoscan.files import parse_json, parse_toml
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.inference.runtimes.runtime import Outputs
from duoscan.interfaces.cli import cli
from duoscan.policies.policy import DEFAULT_POLICY, read_policy
from duoscan.predictions import Prediction
from duoscan.terms import Decision
from fuzz import seeds
from stand_ins import brightness_graph, write_png

NO_NUMBERS = (math.nan, math.inf, -math.inf)


def models() -> list[type[Any]]:
    """Every model of the package and every checked dataclass; each is read from a file or is part of one."""
    found = set()
    for module in pkgutil.walk_packages(duoscan.__path__, "duoscan."):
        if not module.name.endswith("__main__"):
            found |= {one for one in vars(importlib.import_module(module.name)).values() if isinstance(one, type)}
    ours = [one for one in found if one.__module__.startswith("duoscan.")]
    return sorted((one for one in ours if "__pydantic_fields__" in vars(one)), key=lambda one: one.__qualname__)


def places(kind: Any, value: float) -> list[Any]:
    """Values of a type that hold a number, one for each place where a number may be."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        return [value]
    if is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return [{name: one} for name, part in hints.items() for one in places(part, value)]
    if origin is dict:
        return [{"key": one} for one in places(inner[1], value)]
    found = [one for part in (inner[:1] if origin is Annotated else inner) for one in places(part, value)]
    return found if origin in {Annotated, Union, types.UnionType} else [(one,) for one in found]


def refuses_number(model: type[Any], name: str, held: object) -> bool:
    field = model.__pydantic_fields__[name]
    stated = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", {})
    config = ConfigDict(allow_inf_nan=stated.get("allow_inf_nan", True))
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind, config=config).validate_python(held)
    return not BOUNDS.isdisjoint(one["type"] for one in caught.value.errors())


BOUNDS = {"finite_number", "greater_than", "greater_than_equal", "less_than", "less_than_equal"}
FIELDS = [
    (model, name)
    for model in models()
    for name, field in model.__pydantic_fields__.items()
    if places(field.annotation, 0.5)
]


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
@pytest.mark.parametrize("value", NO_NUMBERS)
def test_no_field_takes_what_is_no_number(model: type[Any], name: str, value: float) -> None:
    for held in places(model.__pydantic_fields__[name].annotation, value):
        assert refuses_number(model, name, held)


def test_the_fields_that_decide_are_among_them() -> None:
    found = {f"{model.__name__}.{name}" for model, name in FIELDS}
    assert found >= {
        "BundleInfo.operating_points", "Provenance.parity", "PreprocessingContract.mean", "Policy.xray_threshold",
        "Certificate.alpha", "TemperatureCalibration.temperature", "PlattCalibration.slope",
        "IsotonicCalibration.calibrated", "Assumptions.costs", "Assumptions.department", "CaseSection.memory_days",
        "OptimiseSection.learning_rate", "ModelsSection.ct_threshold",
    }  # fmt: skip


def sealed(folder: Path, **changes: object) -> Path:
    stated = json.loads(seeds.infos()[0]) | changes
    path = folder / "b.duoscan"
    seeds.write_sealed(path, json.dumps(stated).encode(), brightness_graph())
    return path


@pytest.mark.parametrize("point", [*NO_NUMBERS, 1e308, 1.001, -0.001, 10**400])
def test_an_operating_point_is_a_probability(tmp_path: Path, point: float) -> None:
    """Of 1e308 every answer was negative, and ``duoscan bundle`` said that the bundle is sound."""
    path = sealed(tmp_path, operating_points={"argmax": point})
    with pytest.raises(BundleError, match="operating_points|not a number with an end"):
        read_bundle(path)
    shown = CliRunner().invoke(cli, ["bundle", str(path)])
    assert shown.exit_code != 0
    assert "sound" not in shown.output


@pytest.mark.parametrize(
    "calibration",
    [
        {"kind": "temperature", "temperature": 1e999},
        {"kind": "temperature", "temperature": 0},
        {"kind": "platt", "slope": math.nan, "intercept": 0},
        {"kind": "platt", "slope": 1, "intercept": -math.inf},
        {"kind": "isotonic", "probability": [0.5], "calibrated": [1.5]},
        {"kind": "isotonic", "probability": [math.nan], "calibrated": [0.5]},
    ],
)
def test_numbers_of_a_stored_calibrator(tmp_path: Path, calibration: dict[str, object]) -> None:
    for field in ("calibration", "study_calibration"):
        with pytest.raises(BundleError, match=f"{field}|not a number with an end"):
            read_bundle(sealed(tmp_path, **{field: calibration | {"images": 9, "patients": 9}}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("mean", [1e308]), ("std", [1e-300]), ("std", [0]), ("window_width_hu", 1e-300), ("window_centre_hu", 1e308)],
)
def test_numbers_of_a_contract(tmp_path: Path, name: str, value: object) -> None:
    contract = json.loads(seeds.infos()[0])["contract"]
    with pytest.raises(BundleError, match=rf"contract\.{name}"):
        read_bundle(sealed(tmp_path, contract=contract | {name: value}))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_json_and_toml_hold_numbers(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="is not a number with an end"):
        parse_json(f'{{"deep": [{text}]}}')
    toml = text.replace("NaN", "nan").replace("Infinity", "inf")
    with pytest.raises(ValueError, match="is not a number with an end"):
        parse_toml(f"deep = [{toml}]".encode())
    path = tmp_path / "p.toml"
    path.write_text(f'kind = "rule-out"\nxray_threshold = {toml}\n', encoding="utf-8")
    with pytest.raises(InputError, match="is not a number with an end"):
        read_policy(path)
    assert parse_json("[1.5, -2e3, 7]") == parse_toml(b"a = [1.5, -2e3, 7]")["a"] == [1.5, -2000.0, 7]


@pytest.mark.parametrize("threshold", [*NO_NUMBERS, 1.5, -0.5])
def test_a_threshold_that_is_no_probability(tmp_path: Path, threshold: float) -> None:
    """A person may type it."""
    bundle = write_bundle(tmp_path / "b.duoscan", seeds.info(), brightness_graph())
    with pytest.raises(InputError, match="is no probability"):
        Predictor(bundle, threshold=threshold)
    with pytest.raises(InputError, match="xray_threshold"):
        DEFAULT_POLICY.with_thresholds(threshold, None)


class Inattentive:
    """A model whose attention for dark images is no number."""

    def run(self, images: np.ndarray) -> Outputs:
        bright = images.mean(axis=(1, 2, 3))
        attention = np.where(bright < 0, np.inf, bright)
        return Outputs(np.stack([bright, 0 * bright], axis=1), np.zeros((len(images), 2, 4, 4), np.float32), attention)


def test_attention_that_is_no_number_decides_nothing(tmp_path: Path) -> None:
    """It made P(covid) of the whole study NaN, which no threshold lies below."""
    bundle = write_bundle(tmp_path / "b.duoscan", seeds.info(), brightness_graph())
    files = []
    for mean in (0.1, 0.9):
        path = write_png(tmp_path / f"{mean}.png", mean)
        files.append(ImageFile(path, Prediction(str(path), None, None, None, Decision.UNREADABLE)))
    found = list(Predictor(bundle, runtime=Inattentive(), check_quality=False).predict(files))
    assert [file.row.decision for file in found] == [Decision.UNREADABLE, Decision.POSITIVE]
    for score in NO_NUMBERS:
        with pytest.raises(ValueError, match="not a number"):
            Aggregation.named("attention").apply([0.5, 0.9], [0.0, score])
