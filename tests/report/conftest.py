"""Pages for the tests of the report, of the runs in ``written_runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cases_by_state import screening_of
from duoscan.cases.stored import write_screening
from duoscan.policies.policy import Policy
from duoscan.report.page import Request, build_report
from duoscan.terms import Modality
from duoscan.training.recipe import Recipe
from written_runs import cohort, recipe

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="session")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``duoscan screen --json`` writes, for test patients of the cohort and one stranger."""
    phases = {
        "p27": (0.9, 0.8, False),
        "p28": (0.1, None, False),
        "p29": (0.2, 0.3, True),
        "p30": (0.7, None, False),
        "p31": (-1.0, 0.9, False),
        "stranger": (None, -1.0, False),
    }
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    write_screening(screening_of(phases, Policy(kind="confirm-positives", xray_threshold=0.5, ct_threshold=0.5)), path)
    return path


@pytest.fixture(scope="session")
def page_of() -> Callable[..., str]:
    """The page for some targets."""

    def make(*targets: Path, **wanted: object) -> str:
        return build_report(Request(targets, **wanted))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def full_page(runs: dict[Modality, Path], answers: Path, page_of: Callable[..., str]) -> str:
    """Both phantom runs, compared, with screening answers: everything a page can hold."""
    return page_of(runs[Modality.CXR], runs[Modality.CT], screening=answers)


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was really trained, for two epochs."""
    from duoscan.training.run import train

    root = tmp_path_factory.mktemp("trained")
    quick = recipe(Modality.CXR).model_dump(mode="json") | {
        "input": {"size": 32, "crop_borders": False},
        "optimise": {"epochs": 2, "batch_size": 8, "warmup_epochs": 0, "amp": "off"},
    }
    train(cohort(root / "images", "phantom", Modality.CXR), Recipe.model_validate(quick), root / "run")
    return root / "run"
