"""What a stranger installs: built from the source that is released, in an environment that holds nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.rows import csv_rows
from duoscan.version import __version__

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "scipy", "matplotlib", "pandas", "sklearn", "cleanlab", "huggingface_hub"}

pytestmark = pytest.mark.slow


def run(*words: object, folder: Path) -> str:
    """Run a command that sees nothing of this environment; what it printed."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env=bare | {"DUOSCAN_USES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(folder: Path) -> Path:
    """The interpreter of a new environment."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The source archive, and the wheel made of it."""
    folder = tmp_path_factory.mktemp("built")
    python = environment(folder / "tools")
    install = [python, "-m", "pip", "install", "--quiet", "hatchling"]
    try:
        run(*install, folder=folder)
    except AssertionError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no packages can be installed here: {error}")
    run(python, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, folder=ROOT)
    (sdist,) = folder.glob("*.tar.gz")
    wheel = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sdist]
    run(python, "-m", "pip", *wheel, folder=folder)
    return {"sdist": sdist, "wheel": next(folder.glob("*.whl"))}


def test_the_archives_hold_what_is_ours_and_no_more(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        in_wheel = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(built["sdist"]) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    package = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "duoscan").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert in_wheel == package
    assert {f"src/{name}" for name in package} <= in_source
    assert {"README.md", "LICENSE", "pyproject.toml", "Makefile", "tests/test_release.py"} <= in_source
    assert not [name for name in in_source if name.startswith((".venv", "runs/", "demo/", "dist/")) or ".cache" in name]


def test_it_screens_in_an_empty_environment(built: dict[str, Path], tmp_path: Path) -> None:
    python = environment(tmp_path / "empty")
    pinned = ["-c", ROOT / "constraints" / "tested.txt"]
    run(python, "-m", "pip", "install", "--quiet", *pinned, built["wheel"], folder=tmp_path)
    assert __version__ in run(python, "-m", "duoscan", "--version", folder=tmp_path)
    assert run(python, "-m", "duoscan", "bundle", folder=tmp_path).count("sound") == 2
    options = PhantomOptions(patients=2, seed=5, slices=4, ct_size=96, xray_size=96)
    write_cohort(options, tmp_path / "incoming", workers=1)
    words = ["--no-quality-check", "--csv", tmp_path / "answers.csv"]
    table = ["screen", "--manifest", tmp_path / "incoming" / "manifest.csv", *words]
    assert "2 patients:" in run(python, "-m", "duoscan", *table, folder=tmp_path)
    header, *rows = csv_rows((tmp_path / "answers.csv").read_text(encoding="utf-8"), ",")
    assert [dict(zip(header, row, strict=True))["xray_state"] for row in rows] != ["", ""]
    names = run(
        python, "-c", "import importlib.metadata as m; print(*m.packages_distributions())", folder=tmp_path
    ).split()
    assert not HEAVY & set(names)
