"""What the Python API does with arrays and data frames, and how its objects show themselves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import duoscan
from duoscan.audit.ledger import OWN_LEDGER, read_uses
from duoscan.evaluation.policies.measured import FIGURES
from duoscan.interfaces.python.tables import as_file
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.notebook import MOST_ROWS, shown
from duoscan.policies.rule import PolicyKind
from duoscan.terms import Modality

HOSTILE = "<script>alert('x')</script>&\"<b>"


def answers(patients: int = 120, seed: int = 0, skill: float = 0.25) -> dict[str, Any]:
    """Half are sick; two images each."""
    chance = np.random.default_rng(seed)
    sick = np.repeat(np.arange(patients) % 2, 2)
    probability = np.clip(0.5 + skill * (2 * sick - 1) + chance.normal(0, 0.15, 2 * patients), 0, 1)
    names = [f"p{number // 2}" for number in range(2 * patients)]
    return {"label": sick, "probability": probability, "patient_id": names}


class Seen(HTMLParser):
    """Which elements a browser would make of it, and what it would read."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_a_dictionary_a_data_frame_rows_and_a_file_give_the_same(tmp_path: Path) -> None:
    table = answers()
    frame = pd.DataFrame(table).rename(columns={"label": "truth"})
    frame.to_csv(tmp_path / "theirs.csv", index=False)
    pd.DataFrame(table).to_csv(tmp_path / "ours.csv", index=False)
    found = [
        duoscan.evaluate(table, resamples=100),
        duoscan.evaluate(frame, columns={"label": "truth"}, resamples=100),
        duoscan.evaluate(tmp_path / "ours.csv", resamples=100),
        duoscan.evaluate(duoscan.read_predictions(tmp_path / "ours.csv"), resamples=100),
    ]
    assert len({repr(one.metrics) for one in found}) == 1
    assert found[0].evaluation.overall.patients == 120
    assert pd.DataFrame(found[0].table()).shape == (14, 5)


def test_gaps_and_types_of_a_data_frame_are_read_as_gaps(tmp_path: Path) -> None:
    frame = pd.DataFrame(answers(20))
    frame["split"] = pd.Categorical(["test"] * 40)
    frame["label"] = frame["label"].astype("Int64").astype(bool)
    frame.loc[3, "probability"] = np.nan
    frame.loc[4, "patient_id"] = None
    frame["source"] = pd.array([pd.NA] * 40, dtype="string")
    measured = duoscan.evaluate(frame, resamples=100)
    assert measured.evaluation.counts.unreadable == {"covid": 1}
    assert measured.evaluation.counts.without_patient == 1
    assert measured.evaluation.counts.sources == {"unknown": 39}


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ({"label": [1, 0], "probability": [0.2]}, None, "differ in length \\(label 2, probability 1\\)"),
        ({"label": [1, 0], "probability": [1.2, 0.1]}, None, "^the table: "),
        ({"a": [1]}, {"label": "b"}, "no column b \\(found: a\\)"),
        (5, None, "int has no columns"),
    ],
)
def test_a_wrong_table_is_refused_without_naming_a_file(table: Any, columns: Any, message: str) -> None:
    with pytest.raises(duoscan.DuoscanError, match=message) as refused:
        duoscan.evaluate(table, columns=columns)
    assert "/" not in str(refused.value)


def test_a_table_from_memory_leaves_no_file() -> None:
    with as_file(answers(2)) as path:
        assert path.is_file()
    assert not path.parent.exists()


def test_uses_of_rows_from_memory_are_counted_for_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = tmp_path / "new" / "uses.jsonl"
    monkeypatch.setenv(OWN_LEDGER, str(ledger))
    counts = [duoscan.evaluate(answers(20), resamples=100).count for _ in range(2)]
    assert [one and one.use for one in counts] == [1, 2]
    assert len(read_uses(ledger)) == 2
    assert "Use 3 of this test set" in duoscan.evaluate(answers(20), resamples=100)._repr_html_()


def test_a_threshold_is_certified_or_the_missing_are_named() -> None:
    table = {name: column[::2] for name, column in answers(200, skill=0.4).items()}  # one image each
    policy = duoscan.certify(table, miss_rate=0.05)
    assert policy.certificate is not None
    assert policy.certificate.positives == 100
    missed = np.sum(table["probability"][table["label"] == 1] < policy.xray_threshold)
    assert policy.certificate.missed == missed <= 1  # of 100; P(Bin(100, 0.05) ≤ 1) = 0.037, of two 0.118
    with pytest.raises(
        duoscan.DuoscanError, match="needs 59 sick calibration patients; there are 10, so 49 are missing"
    ):
        duoscan.certify(answers(20), miss_rate=0.05)


def test_policies_are_compared_and_one_is_chosen() -> None:
    def phase(skill: float, seed: int) -> dict[str, list[Any]]:
        parts = [answers(200, seed, skill), answers(60, seed + 1, skill)]
        table = {name: [*parts[0][name], *parts[1][name]] for name in parts[0]}
        table["patient_id"] = [
            f"{part}{name}" for part, own in zip("vt", parts, strict=True) for name in own["patient_id"]
        ]
        return table | {"split": ["val"] * 400 + ["test"] * 120}

    found = duoscan.compare_policies(phase(0.35, 1), phase(0.4, 5), miss_rate=0.05, scope="xray", resamples=100)
    assert [offer.policy.kind for offer in found.offers] == [*PolicyKind]
    table = pd.DataFrame(found.table())
    assert table.chosen.sum() == 1
    assert set(FIGURES) <= set(table.columns)
    assert found.chosen.name in found._repr_html_()
    assert found.figure().axes


def test_images_are_imported_split_and_turned_into_a_manifest(tmp_path: Path) -> None:
    phantoms = duoscan.make_phantoms(tmp_path / "phantoms", patients=6, slices=2, ct_size=64, xray_size=64)
    for record in phantoms.where(modality=Modality.CXR):
        place = tmp_path / "images" / str(record.label) / f"{record.patient_id}_1.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(phantoms.file(record).read_bytes())
    imported = duoscan.import_images(tmp_path / "images", modality="cxr", patient_pattern=r"(phantom-\d-\d+)_")
    assert {record.patient_id for record in imported.manifest} == {record.patient_id for record in phantoms}
    with pytest.raises(duoscan.DuoscanError, match="patient_pattern '\\(' is not a regular expression"):
        duoscan.import_images(tmp_path / "images", modality="cxr", patient_pattern="(")
    split = duoscan.split_by_patient(imported.manifest)
    frame = pd.DataFrame([record.model_dump(mode="json") for record in split])
    assert duoscan.manifest_of(frame, split.root) == split


@pytest.mark.slow
def test_a_model_is_trained_evaluated_and_audited(tmp_path: Path) -> None:
    manifest = duoscan.make_phantoms(tmp_path / "phantoms", patients=30, slices=2, ct_size=64, xray_size=64, seed=2)
    small = {"optimise.epochs": 1, "input.size": 32, "model.backbone": "plain:tiny"}
    with pytest.raises(duoscan.DuoscanError, match="holds ct and cxr; say which with modality="):
        duoscan.train(manifest, tmp_path / "run", recipe="demo", settings=small)
    bundle = duoscan.train(manifest, tmp_path / "run", recipe="demo", modality="cxr", settings=small)
    assert "demo-xray" in bundle._repr_html_()
    assert len(repr(bundle)) < 20_000  # without the graph
    measured = duoscan.evaluate(bundle, manifest, resamples=100)
    assert "roc" in measured.figures()
    audited = duoscan.audit_manifest(manifest, tmp_path / "run", most_images=4)
    assert "Verdict: FAIL" in audited._repr_html_()


def test_what_is_shown_is_escaped() -> None:
    rows = tuple(
        ImageRecord(path=f"{HOSTILE}{number}.png", modality=Modality.CXR, source=HOSTILE, patient_id=HOSTILE)
        for number in range(MOST_ROWS + 3)
    )
    table = answers(20) | {"source": [HOSTILE, "b"] * 20}
    measured = duoscan.evaluate(table, resamples=100)
    noted = replace(measured.evaluation, notes=(HOSTILE,))
    for text in (Manifest(Path(), rows)._repr_html_(), noted._repr_html_(), shown(HOSTILE, (HOSTILE,), [[HOSTILE]])):
        seen = Seen(text)
        assert seen.elements <= {"div", "p", "b", "table", "thead", "tbody", "tr", "th", "td"}
        assert HOSTILE in seen.words
    assert "… and 3 more" in Manifest(Path(), rows)._repr_html_()


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, duoscan; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pandas", "matplotlib", "click", "pydantic"} & set(loaded)


def test_names_are_offered_before_they_are_used() -> None:
    assert set(dir(duoscan)) >= {"Screener", "evaluate", "certify"}
