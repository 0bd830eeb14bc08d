from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import InputError, PredictionsError
from duoscan.inference.aggregate import carrying, patient_probability, per_patient, study_probability
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.inference.shipped import load_bundle
from duoscan.policies.certify import Models, check_certificate
from duoscan.policies.policy import Certificate
from duoscan.policies.rule import PolicyKind
from duoscan.predictions import Prediction, read_predictions, write_predictions
from duoscan.terms import Finding, Modality
from stand_ins import brightness_graph, brightness_info

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def rows(probabilities: list[float | None], aggregation: str = "", scores: list[float] | None = None):
    return [
        Prediction(
            f"{place}.png", "p", Modality.CT, value, "", label=Finding.COVID, aggregation=aggregation,
            attention=scores[place] if scores else None,
        )
        for place, value in enumerate(probabilities)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("modality", "probabilities", "expected"),
    [
        (Modality.CXR, [0.2, 0.7], 0.7),
        (Modality.CT, [0.2], 0.2),
        (Modality.CT, [0.2, 0.4], 0.3),
        # (0.9 + 0.6 + 0.3) / 3; an image without an answer does not count
        (Modality.CT, [0.0, 0.9, None, 0.6, 0.3], 0.6),
    ],
)
def test_rows_that_state_nothing_are_joined_by_modality(
    modality: Modality, probabilities: list[float], expected: float
) -> None:
    assert study_probability(modality, rows(probabilities)) == pytest.approx(expected)


@given(PROBABILITIES, st.sampled_from(list(Modality)))
def test_the_default_is_bit_for_bit_what_it_was(probabilities, modality) -> None:
    top = sorted(probabilities, reverse=True)[: 1 if modality is Modality.CXR else 3]
    assert study_probability(modality, rows(probabilities)) == sum(top) / len(top)


def test_a_table_that_was_written_is_joined_as_its_rows_state(tmp_path: Path) -> None:
    """The table is the border: all that joining needs is in it."""
    scores = [0.123456789, -4.5, 2.0]
    for aggregation in ("mean", "noisy-or", "attention"):
        stated = rows([0.2, 0.9, 0.4], aggregation, scores)
        expected = Aggregation.named(aggregation).apply([0.2, 0.9, 0.4], scores)
        for name in ("t.csv", "t.parquet"):
            write_predictions(stated, tmp_path / name)
            (patient,) = per_patient(read_predictions(tmp_path / name), Modality.CT)
            assert patient.probability == expected


def test_the_most_suspicious_study_answers_for_a_patient() -> None:
    first, second = (
        [replace(row, study_id=study) for row in rows(values)]
        for study, values in (("a", [0.9, 0.0, 0.0]), ("b", [0.4, 0.5, 0.6]))
    )
    assert patient_probability(Modality.CT, first) == pytest.approx(0.3)
    assert patient_probability(Modality.CT, [*first, *second]) == pytest.approx(0.5)  # not (0.9 + 0.6 + 0.5) / 3
    assert per_patient([*first, *second], Modality.CT)[0].probability == pytest.approx(0.5)


def test_rows_that_cannot_be_joined_are_refused() -> None:
    mixed = [*rows([0.2], "mean"), *rows([0.3], "max")]
    for wrong, message in (
        (mixed, "state several aggregations"),
        (rows([0.2], "median"), "'median' is unknown"),
        (rows([0.2], "attention"), "a score for every image"),
        (rows([None]), "no probability"),
    ):
        with pytest.raises(PredictionsError, match=message):
            study_probability(Modality.CT, wrong)


def test_the_images_that_carry_an_answer() -> None:
    found = carrying(Modality.CT, rows([0.1, None, 0.9, 0.3, 0.6]))
    assert [row.path for row in found] == ["2.png", "4.png", "3.png"]
    assert [row.path for row in carrying(Modality.CT, rows([0.1, 0.9], "max"))] == ["1.png"]
    assert carrying(Modality.CT, rows([None])) == []


def bundle(folder: Path, aggregation: str | None) -> Bundle:
    info = brightness_info(Modality.CT, aggregation=aggregation)
    return write_bundle(folder / f"{aggregation}.duoscan", info, brightness_graph())


def test_another_aggregation_voids_a_certificate(tmp_path: Path) -> None:
    plain, joined, other = (bundle(tmp_path, name) for name in (None, "mean", "noisy-or"))
    assert plain.study_digest == plain.digest == joined.digest  # certificates from before keep their ground
    assert len({one.study_digest for one in (plain, joined, other)}) == 3
    certificate = Certificate(
        method="split-conformal", covers="leaving at X-ray", alpha=0.05, positives=60, missed=1, xray_threshold=0.1,
        calibration_fingerprint="f", xray_graph_sha256=joined.study_digest, date="2026-01-01", promise="",
        kind=PolicyKind.RULE_OUT,
    )  # fmt: skip
    check_certificate(certificate, Models(joined.study_digest, ""))
    for changed in (plain, other):
        with pytest.raises(InputError, match="has expired"):
            check_certificate(certificate, Models(changed.study_digest, ""))


@pytest.mark.parametrize("modality", list(Modality))
def test_shipped_bundles_say_how_they_are_joined(modality: Modality, tmp_path: Path) -> None:
    shipped = load_bundle(None, modality)
    assert (shipped.info.aggregation, shipped.info.study_calibration) == ("mean", None)
    assert shipped.study_digest != shipped.digest
    again = write_bundle(tmp_path / "again.duoscan", shipped.info, shipped.graph, shipped.finder)
    assert again.path.read_bytes() == shipped.path.read_bytes()


def test_refused_images_state_no_aggregation() -> None:
    from duoscan.inference.predictor import refused

    (row,) = rows([0.5], "mean", [1.0])
    gone = refused(row, "why")
    assert (gone.attention, gone.aggregation, gone.probability) == (None, "", None)
