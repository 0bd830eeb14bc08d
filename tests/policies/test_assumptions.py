"""What the user states in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from duoscan.errors import InputError
from duoscan.policies.assumptions import Assumptions, read_assumptions
from duoscan.policies.queueing import Department
from duoscan.policies.worth import Costs

TEXT = """
ct_harm = 0.005
target_sensitivity = 0.9
[costs]
miss = 100
false_positive = 10
xray = 1
ct = 6
[department]
arrivals_per_hour = 6
readers = 1
read_minutes = 5
scanners = 2
scan_minutes = 15
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "assumptions.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    found = read_assumptions(written(tmp_path, TEXT))
    assert found.costs == Costs(100, 10, 1, 6)
    assert found.department == Department(6, 1, 5, 2, 15)
    assert (found.ct_harm, found.target_sensitivity) == (0.005, 0.9)
    assert read_assumptions(written(tmp_path, TEXT), ct_harm=0.1).ct_harm == 0.1


def test_nothing_is_assumed() -> None:
    assert read_assumptions(None) == Assumptions()
    assert (Assumptions().costs, Assumptions().department, Assumptions().ct_harm) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ct = 6", ""), "costs.ct: Field required"),
        (("miss = 100", "miss = -1"), "cost of miss -1.0 is out of range"),
        (("readers = 1", "readers = 0"), "readers 0 is out of range"),
        (("ct_harm = 0.005", "ct_harms = 0.005"), "ct_harms: unknown key; did you mean 'ct_harm'?"),
        (("[costs]", "[costs"), "not a TOML file"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_assumptions(written(tmp_path, TEXT.replace(*change)))
    assert said in str(refused.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_assumptions(tmp_path / "none.toml")
