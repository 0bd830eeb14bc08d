"""Files that nobody here made end as ``standing_files.csv`` states; ``make standing`` writes it anew."""

from __future__ import annotations

import pytest

from duoscan.cases.screening import Screener
from standing import COMMANDS, PACKAGES, Package, Row, of_packages, of_tools, stand_in_screener, stated, tool_of


@pytest.fixture(scope="module")
def screener(tmp_path_factory: pytest.TempPathFactory) -> Screener:
    return stand_in_screener(tmp_path_factory.mktemp("bundles"))


def of(maker: str) -> dict[str, list[Row]]:
    """The stated rows of a maker by file."""
    found: dict[str, list[Row]] = {}
    for row in stated():
        if row.maker.startswith(maker):
            found.setdefault(row.file, []).append(row)
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_files_of_packages(package: Package, screener: Screener) -> None:
    found: dict[str, list[Row]] = {}
    for row in of_packages(package, screener):  # whatever the version, without a traceback
        found.setdefault(row.file, []).append(row)
    expected = of(f"{package.name} ")
    if next(iter(expected.values()))[0].maker != package.maker:
        pytest.skip(f"the table is of another version than {package.maker}")
    assert found == expected


@pytest.mark.parametrize("maker", COMMANDS)
def test_what_tools_make(maker: str, screener: Screener) -> None:
    expected = of(maker)
    missing = {command for command in expected if tool_of(command) is None}
    if missing == set(expected):
        pytest.skip(f"{maker} is not installed")
    found: dict[str, list[Row]] = {}
    for row in of_tools(maker, screener):
        found.setdefault(row.file, []).append(row)
    assert found == {command: rows for command, rows in expected.items() if command not in missing}
