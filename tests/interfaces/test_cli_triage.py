"""``duoscan triage``: from predictions or models to a stored policy that screening obeys."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from duoscan.errors import InputError
from duoscan.inference.bundle import read_bundle, write_bundle
from duoscan.interfaces.cli import cli
from duoscan.policies.policy import policy_toml, read_policy
from duoscan.policies.rule import PolicyKind
from duoscan.predictions import Prediction, write_predictions
from duoscan.terms import Finding, Modality, Split
from stand_ins import brightness_graph, brightness_info, write_png

QUICK = ["--resamples", "100"]
KINDS = [kind.value for kind in PolicyKind]


def tables(folder: Path, patients: int = 240, *, paired: bool = True) -> list[str]:
    """Predictions of both phases; a third is sick, half calibrates, and CT tells better than X-ray."""
    rng = np.random.default_rng(0)
    paths = []
    for modality, strength in ((Modality.CXR, 3), (Modality.CT, 8)):
        rows = []
        for index in range(patients):
            sick = index % 3 == 0
            name = f"p{index}" if paired else f"{modality}{index}"
            score = float(rng.beta(strength, 1.5) if sick else rng.beta(1.5, strength))
            split = Split.VAL if index < patients / 2 else Split.TEST
            label = Finding.COVID if sick else Finding.NORMAL
            rows.append(Prediction(f"{name}.png", name, modality, score, "", label=label, split=split))
        paths.append(folder / f"{modality}.csv")
        write_predictions(rows, paths[-1])
    return [str(path) for path in paths]


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, ["triage", *map(str, arguments), *QUICK])
    if result.exception:
        raise result.exception
    return result.output


def document(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "triage.json").read_text(encoding="utf-8"))
    return content


def test_the_operating_table(tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = run(*tables(tmp_path), "--miss-rate", "0.1", "--prevalence", "0.05", "--out", out)
    for kind in KINDS:
        assert kind in printed
    found = document(out)
    assert [entry["kind"] for entry in found["policies"]] == KINDS
    assert (found["prevalence"], found["prevalence_origin"]) == (0.05, "given")
    assert found["test"] == {"patients": 120, "units": "patients", "sick": 40, "paired": 120}
    assert found["promise"] == {
        "alpha": 0.1,
        "delta": 0.05,
        "method": "exact",
        "scope": "auto",
        "ct_chosen_here": True,
    }
    for entry in found["policies"]:
        assert entry["test"]["basis"] == "measured on paired patients"
        for name, estimate in entry["test"]["figures"].items():
            assert estimate["low"] <= estimate["value"] <= estimate["high"], name
    # n = 40: 0.9⁴⁰ = 0.0148 and 40 · 0.1 · 0.9³⁹ = 0.0657: certified with no miss at all.
    certified = next(entry for entry in found["policies"] if entry["kind"] == "rule-out")["policy"]
    scores = found["scores"]["calibration"]
    sick = [x for x, is_sick in zip(scores["xray"], scores["sick"], strict=True) if is_sick]
    assert certified["xray_threshold"] == pytest.approx(min(sick), abs=1e-6)
    assert certified["certificate"]["positives"] == 40
    # Too few for both phases: 29 would do for a CT threshold that was given, but it was chosen on these patients.
    assert certified["certificate"]["covers"] == "leaving at X-ray"
    assert "rule-out, X-ray exit certified: X-ray and CT together miss at most" in printed
    # Two certified rivals at 0.05 in all: 0.95⁷² = 0.0249, so 72 of either class; 40 sick and 80 well calibrate.
    assert found["chosen"]["kind"] == "ct-for-all"
    assert "if it goes on as so far, missing are 32 more sick (there are 40)" in printed
    assert found["comparison"]["paired"]
    figure = (out / "policies.svg").read_bytes()
    assert b"<svg" in figure
    assert (out / "policies.png").read_bytes().startswith(b"\x89PNG")


ASSUMPTIONS = """
ct_harm = 0.01
[costs]
miss = 100
false_positive = 10
xray = 1
ct = 6
[department]
arrivals_per_hour = 4
readers = 1
read_minutes = 5
scanners = 1
scan_minutes = 12
"""


def test_worth_waiting_and_who_is_referred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("duoscan.evaluation.policies.worth.REPLICATIONS", 4)
    out, stated = tmp_path / "out", tmp_path / "stated.toml"
    stated.write_text(ASSUMPTIONS)
    paths = tables(tmp_path)
    wish = ["--miss-rate", "0.1", "--prevalence", "0.1", "--assumptions", stated, "--dose-msv", "0.02", "7"]
    printed = run(*paths, *wish, "--ct-harm", "0.02", "--out", out)
    found = document(out)
    assert found["worth"]["ct_harm"] == 0.02, "the option goes before the file"
    place = next(place for place, entry in enumerate(found["policies"]) if entry["kind"] == "ct-for-all")
    figures = found["policies"][place]["test"]["figures"]
    sensitivity, specificity = figures["sensitivity"]["value"], figures["specificity"]["value"]
    # Treat from 0.1: odds 1/9. Costs: misses, false alarms and a CT for everyone, no X-ray.
    net = 0.1 * sensitivity - 0.9 * (1 - specificity) / 9 - 0.02
    spent = 0.1 * (1 - sensitivity) * 100 + 0.9 * (1 - specificity) * 10 + 6
    assert found["worth"]["net_benefit"]["at"][place][0] == pytest.approx(net)
    assert found["worth"]["cost"]["at"][place][0] == pytest.approx(spent)
    cheapest = found["worth"]["cost"]["cheapest"]
    calibrated = [entry["calibration"]["figures"]["sensitivity"]["value"] for entry in found["policies"]]
    assert calibrated[cheapest] >= 0.95, "chosen on the calibration patients"
    assert "Cheapest with a sensitivity of at least 0.95 on the calibration patients" in printed
    for row in found["waiting"]["policies"]:
        for order in ("first_come", "sick_first"):
            value, low, high = row[order]["sick p95"]
            assert low <= value <= high
    assert "Minutes until X-ray and CT are read" in printed
    assert "Radiation dose of one examination, as given: X-ray 0.02 mSv, CT 7 mSv" in printed
    referred = list(csv.DictReader((out / "referred.csv").read_text(encoding="utf-8").splitlines()))
    for phase in ("xray", "ct"):
        own = [row for row in referred if row["phase"] == phase]
        assert len(own) == found["abstention"][phase]["referred"]["referred"]
        assert {row["set"] for row in own} <= {"both", "none"}
    assert {row["patient_id"] for row in referred} <= {f"p{index}" for index in range(120, 240)}
    assert (out / "report.html").read_text(encoding="utf-8").count('id="triage-controls"') == 1


def test_without_assumptions_nothing_is_made_up(tmp_path: Path) -> None:
    printed = run(*tables(tmp_path), "--miss-rate", "0.1", "--out", tmp_path / "out")
    assert "No cost: no costs are given and none is assumed; give them as [costs]" in printed
    assert "No waiting time: no department is given and none is assumed" in printed
    assert "Radiation dose: not given and none is assumed" in printed
    assert "Verdict on the X-ray model: warn" in printed
    assert "chest CT: Use 1 of this test set, by 1 model so far" in printed
    found = document(tmp_path / "out")
    assert found["verdicts"]["ct"]["measured"]["test_uses"] == 1
    assert list(found["worth"]["cost"]) == ["refusal"]
    assert found["worth"]["ct_harm"] == 0.0


def test_a_report_shows_the_policies(tmp_path: Path) -> None:
    paths, page = tables(tmp_path), tmp_path / "report.html"
    run(*paths, "--miss-rate", "0.1", "--out", tmp_path / "out")
    command = ["report", *paths, "--triage", tmp_path / "out", "--out", page]
    result = CliRunner().invoke(cli, [str(part) for part in command])
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "Policies of two phases" in text
    assert "script-src 'sha256-" in text
    written = tmp_path / "out" / "triage.json"
    sound = written.read_text(encoding="utf-8")
    for changed, said in (
        (sound.replace('"version": 4', '"version": 3', 1), "of version 4; run 'duoscan triage' again"),
        (sound.replace('"alpha": 0.1', '"alpha": 0.01', 1), "changed since 'duoscan triage' wrote it"),
        (sound[:-20], "damaged"),
    ):
        written.write_text(changed, encoding="utf-8")
        refused = CliRunner().invoke(cli, [str(part) for part in command])
        assert isinstance(refused.exception, InputError)
        assert said in str(refused.exception)


def test_the_choice_is_made_without_the_test_patients(tmp_path: Path) -> None:
    """Other labels for the test patients change what is measured and nothing that is chosen."""
    first = tables(tmp_path)
    run(*first, "--miss-rate", "0.1", "--out", tmp_path / "one")
    for path in map(Path, first):
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
        split, label = rows[0].index("split"), rows[0].index("label")
        for index, row in enumerate(row for row in rows[1:] if row[split] == "test"):
            row[label] = "covid" if index % 2 else "normal"
        with path.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(rows)
    with pytest.raises(InputError, match="the test set 'table cxr' is locked"):
        run(*first, "--miss-rate", "0.1", "--out", tmp_path / "two")
    run(*first, "--miss-rate", "0.1", "--out", tmp_path / "two", "--new-test-set")
    one, two = document(tmp_path / "one"), document(tmp_path / "two")
    assert (tmp_path / "one" / "policy.toml").read_bytes() == (tmp_path / "two" / "policy.toml").read_bytes()
    assert one["chosen"] == two["chosen"]
    assert one["policies"][1]["test"] != two["policies"][1]["test"]


def test_it_says_how_many_are_missing(tmp_path: Path) -> None:
    printed = run(*tables(tmp_path), "--policy", "rule-out", "--out", tmp_path / "out")
    # α = 2 % needs 149 sick patients; 40 calibrate.
    assert "there are 40, so 109 are missing" in printed
    policy = read_policy(tmp_path / "out" / "policy.toml")
    assert (policy.kind, policy.certificate) == (PolicyKind.RULE_OUT, None)
    assert document(tmp_path / "out")["chosen"]["name"] == "rule-out, uncertified"


def test_conformal_and_union(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    arguments = [*paths, "--miss-rate", "0.05", "--policy", "rule-out"]
    printed = run(*arguments, "--method", "split-conformal", "--scope", "xray", "--out", tmp_path / "conformal")
    assert "averaged over calibrations" in " ".join(printed.split())
    # n = 40 at α = 0.05: ⌊0.05 · 41⌋ = 2, so one sick calibration patient lies below t.
    certificate = read_policy(tmp_path / "conformal" / "policy.toml").certificate
    assert certificate
    assert (certificate.missed, certificate.delta) == (1, None)
    printed = run(*arguments, "--scope", "union", "--out", tmp_path / "union")
    assert "needs 146 sick calibration patients" in printed


def test_the_whole_policy_is_certified_where_the_numbers_allow_it(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    printed = run(*paths, "--miss-rate", "0.1", "--ct-threshold", "0.1", "--out", tmp_path / "given")
    assert "rule-out, whole policy certified" in printed
    asked = ["--scope", "joint", "--policy", "rule-out"]
    printed = run(*paths, "--miss-rate", "0.1", *asked, "--out", tmp_path / "joint")
    assert "no joint promise: the CT threshold was chosen on the calibration patients themselves" in printed
    assert read_policy(tmp_path / "joint" / "policy.toml").certificate is None


def test_a_policy_file_is_held_against_its_ground(tmp_path: Path) -> None:
    paths = tables(tmp_path)
    run(*paths, "--miss-rate", "0.1", "--policy", "rule-out", "--out", tmp_path / "first")
    policy = tmp_path / "first" / "policy.toml"
    run(*paths, "--policy", policy, "--out", tmp_path / "again")
    assert read_policy(tmp_path / "again" / "policy.toml") == read_policy(policy)
    assert document(tmp_path / "again")["chosen"]["why"] == "given as a file"
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(InputError, match="rests on calibration data"):
        run(*tables(other, patients=300), "--policy", policy, "--out", other / "out")


def test_a_failing_verdict_stands_above_the_numbers(tmp_path: Path) -> None:
    printed = run(*tables(tmp_path, 60), "--miss-rate", "0.1", "--out", tmp_path / "out")  # 10 sick test patients
    assert "Verdict on the X-ray model: fail" in printed
    verdict, held, table = (
        printed.index(text) for text in ("Verdict on the CT model: fail", "not to be quoted", "On 30 test patients")
    )
    assert verdict < held < table


def test_nobody_calibrates_and_is_measured(
    brightness_bundles: dict[Modality, Path], cohort: Path, tmp_path: Path
) -> None:
    paths = tables(tmp_path)
    ct = Path(paths[1])
    ct.write_text(ct.read_text(encoding="utf-8").replace("val", "tmp").replace("test", "val").replace("tmp", "test"))
    with pytest.raises(InputError, match="240 patients calibrate and are measured as well"):
        run(*paths, "--out", tmp_path / "out")
    bundles = [brightness_bundles[modality] for modality in Modality]
    with pytest.raises(InputError, match="24 of its images are test images"):
        run(*bundles, "--manifest", cohort, "--calibration", cohort, "--out", tmp_path / "out")


def test_the_verdict_is_on_images_at_their_own_point(cohort: Path, tmp_path: Path) -> None:
    """All patients are positive from 0.0 on, which is the point of studies; images keep theirs."""
    points = {"operating_points": {"argmax": 0.5, "low": 0.0}, "study_point": "low"}
    bundles = [
        write_bundle(tmp_path / f"{kind}.duoscan", brightness_info(kind, **points), brightness_graph())
        for kind in Modality
    ]
    run(*(one.path for one in bundles), "--manifest", cohort, "--miss-rate", "0.25", "--out", tmp_path / "out")
    found = document(tmp_path / "out")
    assert found["models"]["ct"]["threshold"] == 0.0
    assert found["verdicts"]["ct"]["measured"]["accuracy"][0] == 1.0


def test_different_patients_are_bounded_and_said_to_be(tmp_path: Path) -> None:
    printed = run(*tables(tmp_path, paired=False), "--miss-rate", "0.1", "--out", tmp_path / "out")
    assert "bounds, not measurements" in printed
    assert "Worth at least and at most, whatever the pairs" in printed
    found = document(tmp_path / "out")
    assert found["test"]["paired"] == 0
    for entry in found["policies"]:
        assert entry["test"]["basis"].startswith("not measured")
        low, high = entry["test"]["bounds"]["sensitivity"]
        swept = [point["sensitivity"] for point in entry["test"]["sweep"]]
        assert all(low["value"] - 1e-6 <= value <= high["value"] + 1e-6 for value in swept)
    assert not found["comparison"]["paired"]
    assert not (tmp_path / "out" / "policies.svg").exists(), "bounds are no points to draw"
    assert found["comparison"]["draws"] > 1


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A manifest of 48 paired patients: bright is sick in both modalities; a third of the X-rays is in between."""
    lines = ["path,patient_id,modality,label,split"]
    for index in range(48):
        sick = index % 2 == 0
        split = "val" if index < 24 else "test"
        for kind, mean in (("cxr", 0.55 if index % 6 < 2 else 0.85 if sick else 0.15), ("ct", 0.85 if sick else 0.15)):
            path = write_png(tmp_path / "images" / f"{kind}{index}.png", mean, 32)
            label = "covid" if sick else "normal"
            lines.append(f"{path.relative_to(tmp_path)},p{index},{kind},{label},{split}")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def test_from_models_to_screening(brightness_bundles: dict[Modality, Path], cohort: Path, tmp_path: Path) -> None:
    bundles = [brightness_bundles[modality] for modality in Modality]
    out = tmp_path / "out"
    # 12 sick patients: 0.75¹² = 0.032, so α = 0.25 can be certified.
    wish = ["--miss-rate", "0.25", "--policy", "rule-out", "--out", out]
    printed = run(*bundles, "--manifest", cohort, *wish)
    assert "chose the training epoch" in " ".join(printed.split()), "val rows have served before"
    policy = read_policy(out / "policy.toml")
    assert policy.certificate
    assert "chose the training epoch" in policy.certificate.promise
    assert policy.certificate.xray_graph_sha256 == read_bundle(bundles[0]).digest
    assert read_bundle(bundles[0]).info.policy is None, "the bundle itself is sealed"

    shown = CliRunner().invoke(cli, ["bundle", str(out / "ct.duoscan")]).output
    assert "two-phase policy: rule-out, X-ray exit certified" in shown

    def screened(*arguments: str | Path) -> list[dict[str, str]]:
        answers = tmp_path / "answers.csv"
        command = [
            "screen",
            "--no-quality-check",
            "--manifest",
            cohort,
            "--split",
            "test",
            "--quiet",
            "--csv",
            answers,
            *arguments,
        ]
        result = CliRunner().invoke(cli, [str(part) for part in command])
        assert result.exit_code == 0, result.output
        with answers.open(encoding="utf-8") as stream:
            return list(csv.DictReader(stream))

    carried = screened("--xray-bundle", out / "cxr.duoscan", "--ct-bundle", out / "ct.duoscan")
    named = screened("--xray-bundle", bundles[0], "--ct-bundle", bundles[1], "--policy", out / "policy.toml")
    assert carried == named
    assert {row["policy"] for row in carried} == {"rule-out, X-ray exit certified"}
    assert all("exact: at most 0.25 of the sick" in row["certificate"] for row in carried)
    assert all("[policy: rule-out, X-ray exit certified exact" in row["reason"] for row in carried)
    # Above the lowest sick calibration X-ray everyone goes on: all the sick and the well in between.
    figures = document(out)["policies"][1]["test"]["figures"]
    assert figures["sensitivity"]["value"] == np.mean(
        [row["answer"] == "positive" for row in carried if int(row["patient_id"][1:]) % 2 == 0]
    )
    default = screened("--xray-bundle", bundles[0], "--ct-bundle", bundles[1])
    assert {(row["policy"], row["certificate"]) for row in default} == {("confirm-positives, uncertified", "")}
    moved = screened("--xray-bundle", out / "cxr.duoscan", "--ct-bundle", out / "ct.duoscan", "--xray-threshold", "0.9")
    assert {row["policy"] for row in moved} == {"rule-out, uncertified"}


def test_a_calibration_cohort_of_its_own(
    brightness_bundles: dict[Modality, Path], cohort: Path, tmp_path: Path
) -> None:
    bundles = [brightness_bundles[modality] for modality in Modality]
    other = tmp_path / "calibration.csv"
    lines = [line.replace(",val", ",train") for line in cohort.read_text().splitlines() if not line.endswith(",test")]
    other.write_text("\n".join(lines) + "\n")
    printed = run(
        *bundles, "--manifest", cohort, "--calibration", other, "--miss-rate", "0.25", "--out", tmp_path / "o"
    )
    assert "chose the training epoch" not in printed
    found = document(tmp_path / "o")
    assert found["calibration"]["patients"] == 24, "all of it calibrates, whatever its splits"
    # The answers written say which rows calibrated, so the same wish on them gives the same table.
    again = [tmp_path / "o" / f"{kind}-predictions.csv" for kind in ("cxr", "ct")]
    points = [value for kind in ("xray", "ct") for value in (f"--{kind}-threshold", "0.5")]
    run(*again, "--miss-rate", "0.25", *points, "--out", tmp_path / "again")
    assert document(tmp_path / "again")["scores"] == found["scores"]


def test_wrong_wishes(tmp_path: Path, brightness_bundles: dict[Modality, Path]) -> None:
    paths = tables(tmp_path)
    with pytest.raises(InputError, match="no such kind; kinds are confirm-positives"):
        run(*paths, "--policy", "rule-in", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="name the images"):
        run(*(brightness_bundles[modality] for modality in Modality), "--out", tmp_path / "out")
    with pytest.raises(InputError, match="miss rate 1.5 is out of range"):
        run(*paths, "--miss-rate", "1.5", "--out", tmp_path / "out")
    run(*paths, "--miss-rate", "0.1", "--out", tmp_path / "out")
    with pytest.raises(InputError, match="not empty"):
        run(*paths, "--miss-rate", "0.1", "--out", tmp_path / "out")
    text = Path(paths[0]).read_text(encoding="utf-8").replace(",val,", ",test,")
    Path(paths[0]).write_text(text, encoding="utf-8")
    Path(paths[1]).write_text(Path(paths[1]).read_text(encoding="utf-8").replace(",val,", ",test,"), encoding="utf-8")
    with pytest.raises(InputError, match="no calibration rows"):
        run(*paths, "--new-test-set", "--out", tmp_path / "other")


def test_the_policy_written_is_the_policy_printed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(*tables(tmp_path), "--miss-rate", "0.1", "--policy", "three-zones", "--out", out)
    chosen = next(entry for entry in document(out)["policies"] if entry["kind"] == "three-zones")
    policy = read_policy(out / "policy.toml")
    assert chosen["policy"] == policy.model_dump(mode="json")
    assert policy_toml(policy) == (out / "policy.toml").read_text(encoding="utf-8")
