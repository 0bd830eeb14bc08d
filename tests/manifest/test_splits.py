from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.errors import InputError, ManifestError
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.splits import grouped_folds, random_by_image_split, split_by_patient
from duoscan.terms import Finding, Modality, Split

HALVES = {Split.TRAIN: 0.5, Split.TEST: 0.5}


def made(*rows: tuple[str | None, str, Finding | None, Split | None]) -> Manifest:
    """Rows of (patient, source, label, split); the path is the row's number."""
    return Manifest(
        Path(),
        tuple(
            ImageRecord(
                path=f"{number}.png", modality=Modality.CXR, patient_id=patient, source=source, label=label, split=split
            )
            for number, (patient, source, label, split) in enumerate(rows)
        ),
    )


def patients(sizes: list[int], label: Finding = Finding.COVID) -> Manifest:
    """One stratum; patient k has sizes[k] images."""
    return made(*((f"p{number}", "s", label, None) for number, size in enumerate(sizes) for _ in range(size)))


def sizes_of(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(record.split for record in manifest if record.split))


ROWS = st.tuples(
    st.none() | st.integers(0, 12).map(str),
    st.sampled_from(["a", "b"]),
    st.none() | st.sampled_from(Finding),
    st.none(),
)
MANIFESTS = st.lists(ROWS, max_size=60).map(lambda rows: made(*rows))


@given(manifest=MANIFESTS, seed=st.integers(0, 5))
def test_no_patient_crosses_and_no_row_is_lost(manifest: Manifest, seed: int) -> None:
    split = split_by_patient(manifest, seed=seed)
    check_no_patient_crosses(split)
    assert [record.model_copy(update={"split": None}) for record in split] == list(manifest)
    assert all(record.split for record in split)


@given(manifest=MANIFESTS, seed=st.integers(0, 5), shuffle=st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(manifest: Manifest, seed: int, shuffle: random.Random) -> None:
    rows = list(manifest)
    shuffle.shuffle(rows)
    one, other = split_by_patient(manifest, seed=seed), split_by_patient(manifest.replace(rows), seed=seed)
    assert one.fingerprint() == other.fingerprint()


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=60), seed=st.integers(0, 5))
def test_shares_are_met_to_within_two_of_the_largest_patient(sizes: list[int], seed: int) -> None:
    # A unit goes over a target only where no part has room for it, and then to the part that lacks most, which
    # lacks something: so no part is over by as much as the largest unit. What is over in two parts can be
    # missing in the third.
    found = sizes_of(split_by_patient(patients(sizes), seed=seed))
    for split, share in ((Split.TRAIN, 0.7), (Split.VAL, 0.1), (Split.TEST, 0.2)):
        over = found.get(split, 0) - share * sum(sizes)
        assert -2 * max(sizes) < over < max(sizes)


@given(manifest=MANIFESTS, seed=st.integers(0, 3), folds=st.integers(3, 6))
def test_folds_test_each_row_once_and_cut_no_patient(manifest: Manifest, seed: int, folds: int) -> None:
    if len({record.unit for record in manifest}) < folds:
        with pytest.raises(InputError, match="cannot be cut into"):
            grouped_folds(manifest, folds, seed)
        return
    made_folds = grouped_folds(manifest, folds, seed)
    tested = [record.path for fold in made_folds for record in fold if record.split is Split.TEST]
    validated = [record.path for fold in made_folds for record in fold if record.split is Split.VAL]
    assert sorted(tested) == sorted(validated) == sorted(record.path for record in manifest)
    for fold in made_folds:
        check_no_patient_crosses(fold)
        assert [record.path for record in fold] == [record.path for record in manifest]


def test_single_images_meet_the_shares_exactly() -> None:
    assert sizes_of(split_by_patient(patients([1] * 50))) == {"train": 35, "val": 5, "test": 10}


def test_every_stratum_gets_its_share() -> None:
    rows = [
        (None, source, label, None) for source in "ab" for label in (Finding.COVID, Finding.NORMAL) for _ in range(20)
    ]
    split = split_by_patient(made(*rows), seed=3)
    counts = Counter((record.source, record.label, record.split) for record in split)
    # 20 rows a stratum at .7/.1/.2 are 14, 2 and 4.
    assert set(counts.values()) == {14, 2, 4}
    assert len(counts) == 12


def test_large_patients_are_spread_and_do_not_all_train() -> None:
    # 10 patients of 5 images and 50 of 1. A rule that looked only at how many images are missing would send every
    # large one to train, which lacks 70 while test lacks 20. By fraction lacking they go 7, 1 and 2.
    large = {f"p{number}" for number in range(10)}
    split = split_by_patient(patients([5] * 10 + [1] * 50))
    assert Counter(record.split for record in split if record.patient_id in large) == {
        Split.TRAIN: 35,
        Split.VAL: 5,
        Split.TEST: 10,
    }


def test_a_patient_in_two_sources_and_labels_is_one() -> None:
    manifest = made(*[("x", "a", Finding.COVID, None), ("x", "b", Finding.NORMAL, None)] * 3)
    assert len({record.split for record in split_by_patient(manifest, HALVES)}) == 1


def test_seeds_differ() -> None:
    manifest = patients([1] * 30)
    assert len({split_by_patient(manifest, seed=seed).fingerprint() for seed in range(5)}) == 5


def test_official_splits_are_kept_whole() -> None:
    rows = [
        (f"p{number}", "a", Finding.COVID, split) for number, split in enumerate((Split.TRAIN, Split.TEST, Split.TEST))
    ]
    manifest = made(*rows)
    assert split_by_patient(manifest, {Split.TRAIN: 1.0}, seed=9) == manifest


def test_a_patient_with_an_official_split_takes_it_for_all_rows() -> None:
    manifest = made(
        ("p", "a", Finding.COVID, Split.TEST), ("p", "b", Finding.COVID, None), ("q", "b", Finding.COVID, None)
    )
    split = split_by_patient(manifest, {Split.TRAIN: 1.0})
    assert [record.split for record in split] == [Split.TEST, Split.TEST, Split.TRAIN]


def test_official_rows_count_towards_the_shares() -> None:
    # 10 of 20 rows are officially test, which is all that test should get: the rest trains.
    rows = [(None, "a", Finding.COVID, Split.TEST if number < 10 else None) for number in range(20)]
    assert sizes_of(split_by_patient(made(*rows), HALVES)) == {"test": 10, "train": 10}


def test_official_splits_that_cross_are_refused_or_ignored() -> None:
    manifest = made(("p", "a", None, Split.TRAIN), ("p", "a", None, Split.TEST))
    with pytest.raises(ManifestError, match="1 patients are in more than one split") as caught:
        split_by_patient(manifest)
    assert caught.value.problems == ("patient or group 'p' is in train and test",)
    check_no_patient_crosses(split_by_patient(manifest, keep_official=False))


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({Split.TRAIN: 0.7, Split.TEST: 0.2}, "they sum to 0.9, not 1"),
        ({Split.TRAIN: 1.2, Split.TEST: -0.2}, "use shares from 0 to 1"),
        ({}, "they sum to 0"),
    ],
)
def test_shares_that_are_none(fractions: dict[Split, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_by_patient(made(), fractions)


def test_folds_need_a_part_to_train_on() -> None:
    with pytest.raises(InputError, match="2 folds leave no part to train on"):
        grouped_folds(patients([1] * 9), 2)


def test_folds_are_even_and_stratified() -> None:
    rows = [(None, "a", label, None) for label in (Finding.COVID, Finding.NORMAL) for _ in range(10)]
    for fold in grouped_folds(made(*rows), 5):
        counts = Counter((record.label, record.split) for record in fold)
        assert {
            counts[label, split] for label in (Finding.COVID, Finding.NORMAL) for split in (Split.TEST, Split.VAL)
        } == {2}


def test_the_random_split_shows_the_fault() -> None:
    manifest = patients([10] * 10)
    faulty = random_by_image_split(manifest, HALVES)
    assert sizes_of(faulty) == {"train": 50, "test": 50}
    with pytest.raises(ManifestError, match="patients are in more than one split"):
        check_no_patient_crosses(faulty)
    assert [record.model_copy(update={"split": None}) for record in faulty] == list(manifest)
