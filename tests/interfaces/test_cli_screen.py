"""The two commands a person types most, end to end."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from duoscan.audit.ledger import beside, read_uses
from duoscan.cases.stored import read_screening
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.interfaces.cli import COMMANDS, cli, main
from duoscan.predictions import read_predictions
from duoscan.reasons import Reason, ReasonCode
from duoscan.terms import Modality
from stand_ins import write_png


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def bundles(brightness_bundles: dict[Modality, Path]) -> list[object]:
    return ["--xray-bundle", brightness_bundles[Modality.CXR], "--ct-bundle", brightness_bundles[Modality.CT]]


def test_predict_writes_one_row_per_image(
    tmp_path: Path, brightness_bundles: dict[Modality, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "in" / "anna" / "1.png", 0.9)
    write_png(tmp_path / "in" / "bert.png", 0.1)
    (tmp_path / "in" / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / "in" / "broken.png").write_text("not an image", encoding="utf-8")
    out = tmp_path / "out.csv"
    bundle = brightness_bundles[Modality.CT]
    code = run(
        *("predict", "--no-quality-check", "--modality", "ct", tmp_path / "in"),
        *("--csv", out, "--bundle", bundle, "--heatmaps", tmp_path / "h"),
    )
    assert code == 1  # what is called an image and is none is a row with a reason, and the exit code tells
    with out.open(encoding="utf-8") as stream:
        rows = {Path(row["path"]).name: row for row in csv.DictReader(stream)}
    assert {"path", "patient_id", "modality", "probability", "decision", "reason"} <= set(rows["1.png"])
    assert (rows["1.png"]["patient_id"], rows["1.png"]["decision"]) == ("1", "positive")
    assert rows["bert.png"]["decision"] == "negative"
    assert rows["broken.png"]["decision"] == "unreadable"
    assert rows["broken.png"]["reason"]
    assert len(read_predictions(out)) == 3
    overlays = sorted((tmp_path / "h").iterdir())
    assert [path.name for path in overlays] == ["0001-1-1.png", "0002-bert-bert.png"]
    with Image.open(overlays[0]) as picture:
        # Enlarged five times, so that the words below it have room: a strip of six lines of 12 pixels.
        assert picture.size == (320, 320 + 6 * 12)
    shown = capsys.readouterr()
    assert "not a medical device" in shown.out
    assert "Each image is positive at or above 0.500, the operating point" in shown.out
    assert "duoscan screen" not in shown.out
    assert f"not images: 1 file: {tmp_path / 'in' / 'notes.txt'}" in shown.err


def test_predict_tells_where_screen_decides_otherwise(
    tmp_path: Path, brightness_bundles: dict[Modality, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(brightness_bundles[Modality.CXR])
    points = {"image": 0.2, "study": 0.7}
    info = bundle.info.model_copy(
        update={"operating_points": points, "default_point": "image", "study_point": "study", "policy": None}
    )
    model = write_bundle(tmp_path / "two.duoscan", info, bundle.graph).path
    for name, mean in (("a", 0.1), ("b", 0.5), ("c", 0.9)):
        write_png(tmp_path / "in" / f"{name}.png", mean)
    words = [tmp_path / "in", "--modality", "cxr", "--no-quality-check"]
    assert run("predict", *words, "--bundle", model, "--csv", tmp_path / "p.csv") == 0
    told = capsys.readouterr().out
    images = [row.decision for row in read_predictions(tmp_path / "p.csv")]
    json_out = tmp_path / "s.json"
    assert run("screen", *words, "--xray-bundle", model, "--json", json_out, "--quiet") == 0
    studies = [case.xray.studies[0].images[0].decision for case in read_screening(json_out)]
    differ = sum(image != study for image, study in zip(images, studies, strict=True))
    assert differ > 0
    assert "at or above 0.200, the operating point image for single images" in told
    assert f"at 0.700, the operating point study: {differ} of 3 images lie between" in told


def test_predict_says_of_what_was_refused_before_it_was_read_why(
    tmp_path: Path, brightness_bundles: dict[Modality, Path]
) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("inner.zip", b"PK")
    out = tmp_path / "out.csv"
    arguments = ("--modality", "ct", "--csv", out, "--bundle", brightness_bundles[Modality.CT])
    assert run("predict", tmp_path / "all.zip", *arguments) == 1
    (row,) = read_predictions(out)
    assert row.reason == Reason(ReasonCode.NOT_OPENED, "a zip inside a zip; unpack it first")


def test_screen_writes_csv_and_json(tmp_path: Path, bundles: list[object]) -> None:
    write_png(tmp_path / "in" / "anna.png", 0.9)
    need = tmp_path / "need.csv"
    need.write_text("patient_id,need_ct\nanna,yes\n", encoding="utf-8")
    common = ["screen", "--no-quality-check", tmp_path / "in", "--modality", "cxr", "--need-ct", need, *bundles]
    assert run(*common, "--csv", tmp_path / "a.csv", "--json", tmp_path / "a.json", "--quiet") == 0
    answers = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["patient_id"], row["answer"], row["need_ct"]) for row in answers] == [("anna", "CT needed", "yes")]
    assert (
        json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["cases"][0]["studies"][0]["state"] == "positive"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such file or folder: nowhere; check the spelling"),
        ([".", "--patient-pattern", "("], "is not a regular expression"),
        ([".", "--patient-pattern", "a"], "has 0 groups; give exactly one"),
        ([".", "--ct-bundle", "nothing.duoscan"], "nothing.duoscan: cannot be read"),
    ],
)
def test_a_wrong_command_is_one_clear_line(
    arguments: list[str],
    message: str,
    bundles: list[object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("screen", *bundles, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name, "--help") == 0
    assert "Usage:" in capsys.readouterr().out
    assert name in cli.list_commands(None)  # type: ignore[arg-type]


def loaded_by(code: str) -> set[str]:
    """Top-level packages in memory after some code, in a fresh interpreter."""
    tail = "; import sys; print(' '.join({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + tail], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


HEAVY = {"torch", "transformers", "monai", "timm", "matplotlib", "scipy", "sklearn", "pandas", "pyarrow"}


def test_import_and_help_are_light() -> None:
    assert not loaded_by("import duoscan") & (HEAVY | {"numpy", "pydantic", "onnxruntime"})
    code = "from duoscan.interfaces.cli import cli; cli.main(['--help'], standalone_mode=False)"
    assert not loaded_by(code) & (HEAVY | {"numpy", "onnxruntime"})


def test_screening_loads_nothing_heavy(tmp_path: Path, bundles: list[object]) -> None:
    write_png(tmp_path / "x.png", 0.9)
    arguments = ["screen", tmp_path / "x.png", "--modality", "cxr", *bundles, "--quiet"]
    code = (
        "from duoscan.interfaces.cli import cli\n"
        f"try: cli.main({[str(argument) for argument in arguments]!r}, standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "pass"
    )
    assert not loaded_by(code) & HEAVY


def test_a_manifest_can_be_screened_and_tells_how_it_went(
    tmp_path: Path, bundles: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["path,modality,label,patient_id,split"]
    for name, mean, label, split in (
        ("a", 0.9, "covid", "test"),
        ("b", 0.1, "normal", "test"),
        ("c", 0.9, "covid", "val"),
    ):
        for modality in ("cxr", "ct"):
            write_png(tmp_path / f"{name}-{modality}.png", mean)
            lines.append(f"{name}-{modality}.png,{modality},{label},{name},{split}")
    table = tmp_path / "manifest.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    common = ["screen", "--manifest", table, "--split", "test", *bundles]
    assert run(*common, "--no-quality-check", "--csv", tmp_path / "out.csv") == 0
    # Noise is no image of a chest, and without the flag it is refused.
    assert run(*common, "--csv", tmp_path / "refused.csv") == 1
    answers = list(csv.DictReader((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["patient_id"], row["answer"]) for row in answers] == [("a", "positive"), ("b", "negative")]
    out = capsys.readouterr().out
    assert "sensitivity (covid answered positive): 1.000" in out
    assert "sent to CT: 0.500" in out
    for kind in Modality:
        assert f"{kind.spoken}: Use 2 of this test set, by 1 model so far." in out
    assert {use.kind for use in read_uses(beside(table))} == {"cxr", "ct"}
    assert run(*common[:3], "--split", "val", *bundles, "--no-quality-check") == 0
    assert "of this test set" not in capsys.readouterr().out


def test_paths_and_manifest_exclude_each_other(
    bundles: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "m.csv"
    table.write_text("path\n", encoding="utf-8")
    assert run("screen", tmp_path, "--manifest", table, *bundles) == 2
    assert run("screen", "--manifest", table, "--patient-by", "folder", *bundles) == 2
    assert "a manifest states its patients" in capsys.readouterr().err
    assert run("screen", *bundles) == 2


def test_what_was_typed_and_matches_nobody_is_named(
    tmp_path: Path, brightness_bundles: dict[Modality, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_png(tmp_path / "in" / "00734.png", 0.1)
    (tmp_path / "need.csv").write_text("patient_id,need_ct\n734,yes\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text("path,patient_id\nin/2.png,P2\n", encoding="utf-8")
    bundles = ["--xray-bundle", brightness_bundles[Modality.CXR], "--ct-bundle", brightness_bundles[Modality.CT]]
    words = ["screen", tmp_path / "in", "--modality", "cxr", "--no-quality-check", "--quiet", *bundles]
    assert run(*words) == 0
    assert run(*words, "--need-ct", tmp_path / "need.csv") == 1
    assert "no patient '734'; '00734' is there" in capsys.readouterr().err
    assert run(*words, "--patients", tmp_path / "p.csv") == 1
    assert "p.csv, row 2: 'in/2.png' is the path of no image" in capsys.readouterr().err
    assert run(*words, "--patient-pattern", r"(P\d+)") == 2
    assert "matches none of 1 paths" in capsys.readouterr().err
