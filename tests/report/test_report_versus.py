"""Fair comparison, and answers of patients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.evaluation.evaluate import Evaluation, evaluate
from duoscan.evidence.subject import Subject
from duoscan.inference.aggregate import per_patient
from duoscan.predictions import Prediction
from duoscan.report.patients import evaluate_patients, how
from duoscan.report.versus import compare_all, draw_patients
from duoscan.terms import Decision, Finding, Modality

COVID, NORMAL = Finding.COVID, Finding.NORMAL


def rows(
    modality: Modality, covid: int, others: int, *, prefix: str = "p", error: int = 0, images: int = 1
) -> list[Prediction]:
    """Patients by number, covid ones first; the first ``error`` covid patients are missed."""
    return [
        Prediction(
            f"{prefix}{number}-{image}.png",
            f"{prefix}{number}",
            modality,
            0.9 if error <= number < covid else 0.1,
            "",
            label=COVID if number < covid else NORMAL,
        )
        for number in range(covid + others)
        for image in range(images)
    ]


def measured(
    predictions: list[Prediction], name: str = "run", threshold: float | None = 0.5
) -> tuple[Subject, Evaluation]:
    subject = Subject(
        name=name,
        modality=predictions[0].modality,
        predictions=tuple(predictions),
        files=(None,) * len(predictions),
        split=None,
        threshold=threshold,
        threshold_origin="bundle",
        command="duoscan evaluate",
        fingerprint="0",
    )
    return subject, evaluate(predictions, threshold=threshold, resamples=100)


def test_patients_with_both_images_are_compared_pairwise() -> None:
    xray = measured(rows(Modality.CXR, 10, 15, error=5))
    ct = measured(rows(Modality.CT, 10, 20, images=3))
    (versus,) = compare_all([ct, xray], seed=0)
    assert versus.title == "Chest X-ray against chest CT"
    assert versus.comparison.is_paired
    assert versus.comparison.caveat == ""
    assert versus.patients == (25, 25)
    assert versus.sampling.startswith("The 25 patients who have both images, compared pairwise; the 5 who have one")
    assert versus.prevalence == (0.4, 0.4)
    (sensitivity,) = [row for row in versus.comparison.rows if row.metric == "sensitivity"]
    assert (sensitivity.first.value, sensitivity.second.value) == (0.5, 1.0)
    assert sensitivity.first.n == sensitivity.second.n == 10  # three slices of a patient are one answer


def test_the_numbers_speak_only_where_the_interval_leaves_out_zero() -> None:
    xray = measured(rows(Modality.CXR, 20, 20, error=10))
    ct = measured(rows(Modality.CT, 20, 20))
    (versus,) = compare_all([xray, ct], seed=0)
    by_name = {verdict.partition(" ")[0]: verdict for verdict in versus.verdicts}
    assert "higher on chest CT, 1.000 against 0.500; difference −0.500 (−0." in by_name["Sensitivity"]
    # Neither errs on the others, in no resample, so how much they differ cannot be told.
    assert "difference 0.000 (no interval: no resample differs" in by_name["Specificity"]
    cxr, ct_balance = versus.balances
    assert cxr.measured_for == ()
    assert "Sensitivity (TPR) 0.500 against 1.000 in this comparison" in cxr.measured_against
    assert "Sensitivity (TPR) 1.000 against 0.500 in this comparison" in ct_balance.measured_for
    assert ct_balance.measured_against == ()
    for balance in versus.balances:
        assert balance.benefits
        assert balance.drawbacks
        assert all(fact.source for fact in (*balance.benefits, *balance.drawbacks))
        assert not any(
            "mSv" in fact.text for fact in (*balance.benefits, *balance.drawbacks)
        )  # a dose is the user's to state


def test_different_patients_are_cut_down_to_as_many_and_the_caveat_is_told() -> None:
    xray = measured(rows(Modality.CXR, 10, 30))
    ct = measured(rows(Modality.CT, 50, 50, prefix="q"))
    (versus,) = compare_all([xray, ct], seed=4)
    assert versus.patients == (40, 40)
    assert versus.prevalence == (0.25, 0.5)  # each as it is in its set
    assert not versus.comparison.is_paired
    assert versus.comparison.caveat.startswith("Unpaired: no patient is in both")
    assert "drawing patients at random (seed 4)" in versus.sampling


def test_without_thresholds_images_are_compared() -> None:
    decided = [replace(row, decision=Decision.NEGATIVE) for row in rows(Modality.CT, 20, 20, images=2)]
    (versus,) = compare_all([measured(rows(Modality.CXR, 20, 20)), measured(decided, threshold=None)], seed=0)
    assert versus.sampling.endswith("Numbers are per image.")
    (accuracy,) = [row for row in versus.comparison.rows if row.metric == "accuracy"]
    assert (accuracy.first.n, accuracy.second.n) == (40, 80)


def test_runs_of_one_modality_are_compared_with_the_first() -> None:
    one, two, three = (measured(rows(Modality.CT, 20, 20, error=error), f"run {error}") for error in (0, 1, 2))
    assert [versus.title for versus in compare_all([one, two, three], 0)] == [
        "run 0 against run 1",
        "run 0 against run 2",
    ]
    assert compare_all([one], 0) == []


@given(
    covid=st.integers(0, 30),
    others=st.integers(0, 30),
    images=st.integers(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_drawn_patients_keep_number_classes_and_all_their_images(
    covid: int, others: int, images: int, share: float, seed: int
) -> None:
    table = rows(Modality.CT, covid, others, images=images)
    size = max(2, round(share * (covid + others)))
    drawn = draw_patients(table, size, seed)
    patients = {row.unit for row in drawn}
    assert len(patients) == min(size, covid + others)
    assert len(drawn) == images * len(patients)
    assert draw_patients(table, size, seed) == drawn
    taken = len({row.unit for row in drawn if row.label is COVID})
    assert (taken > 0) == (covid > 0)
    assert (len(patients) > taken) == (others > 0)
    if size < covid + others:
        # The share is kept, to the nearest patient, or to one patient where that would be none.
        assert abs(taken - size * covid / (covid + others)) <= 1


def test_a_patient_is_answered_as_in_screening() -> None:
    def ct(probability: float | None, label: Finding, patient: str | None) -> Prediction:
        return Prediction(f"{probability}.png", patient, Modality.CT, probability, "", label=label)

    table = [
        ct(0.1, NORMAL, "a"), ct(0.9, COVID, "a"), ct(0.6, NORMAL, "a"), ct(0.3, NORMAL, "a"),
        ct(0.2, NORMAL, "b"), ct(None, NORMAL, "b"),
        ct(0.7, COVID, None),
    ]  # fmt: skip
    a, b, nobody = per_patient(table, Modality.CT)
    # The mean of the three highest, 0.9, 0.6 and 0.3; one covid image makes a covid patient.
    assert (a.probability, a.label) == (pytest.approx(0.6), COVID)
    assert (b.probability, b.label) == (0.2, NORMAL)
    assert (nobody.probability, nobody.unit) == (0.7, "image:0.7.png")
    assert per_patient(table, Modality.CXR)[0].probability == 0.9


def test_how_images_are_joined_is_said_of_every_fold() -> None:
    table = rows(Modality.CT, 2, 2, images=2)
    assert how(table, Modality.CT) == "the mean of the 3 highest P(covid) of the images answers for the patient"
    folds = [replace(row, aggregation=name) for row, name in zip(table, ("mean", "mean", "max", "max"), strict=False)]
    assert how(folds, Modality.CT) == (
        "the highest P(covid) of the images or the mean P(covid) of the images answers for the patient, "
        "as the model of each fold chose"
    )
    unreadable = replace(folds[0], aggregation="", probability=None)
    assert how([*folds, unreadable], Modality.CT) == how(folds, Modality.CT)


def test_patients_are_evaluated_only_where_that_is_another_number() -> None:
    table = rows(Modality.CT, 5, 5, images=2)
    by_patient = evaluate_patients(*measured(table))
    assert by_patient is not None
    assert by_patient.overall.images == 10
    assert (by_patient.threshold, by_patient.resamples) == (0.5, 100)
    assert evaluate_patients(*measured(rows(Modality.CT, 5, 5))) is None
    subject, evaluation = measured(table)
    assert evaluate_patients(replace(subject, modality=None), evaluation) is None
