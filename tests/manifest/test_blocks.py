from __future__ import annotations

from pathlib import Path

import pytest

from duoscan.errors import InputError
from duoscan.manifest.blocks import assign_blocks
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split


def record(path: str, **fields: object) -> ImageRecord:
    return ImageRecord.model_validate(
        {"path": path, "modality": Modality.CT, "label": Finding.COVID, "source": "s", **fields}
    )


def groups(records: list[ImageRecord], size: int) -> dict[str, str | None]:
    return {row.path: row.group for row in assign_blocks(Manifest(Path(), tuple(records)), size)}


def test_neighbouring_numbers_share_a_block() -> None:
    # By value 2 < 9 < 10 < 11 < 100; by the alphabet 10 would stand before 2.
    found = groups([record(f"Covid ({number}).png") for number in (100, 10, 2, 11, 9)], 2)
    assert found == {
        "Covid (2).png": "s/covid/block-0",
        "Covid (9).png": "s/covid/block-0",
        "Covid (10).png": "s/covid/block-1",
        "Covid (11).png": "s/covid/block-1",
        "Covid (100).png": "s/covid/block-2",
    }


def test_names_without_numbers_go_by_the_alphabet() -> None:
    assert groups([record("c.png"), record("a.png"), record("b.png")], 2) == {
        "a.png": "s/covid/block-0",
        "b.png": "s/covid/block-0",
        "c.png": "s/covid/block-1",
    }


def test_the_original_name_goes_before_the_stored_one() -> None:
    rows = [
        record("x1.png", original_name="9.png"),
        record("x2.png", original_name="1.png"),
        record("x3.png", original_name="2.png"),
    ]
    assert groups(rows, 2) == {"x2.png": "s/covid/block-0", "x3.png": "s/covid/block-0", "x1.png": "s/covid/block-1"}


def test_sources_labels_and_splits_are_kept_apart() -> None:
    rows = [
        record("1.png", source="other"),
        record("2.png", label=None),
        record("3.png", split=Split.TRAIN),
        record("4.png", split=Split.TEST),
        record("5.png"),
    ]
    # Without a split comes first, then test before train by the alphabet; all count on in s/covid.
    assert groups(rows, 20) == {
        "1.png": "other/covid/block-0",
        "2.png": "s/unlabelled/block-0",
        "5.png": "s/covid/block-0",
        "4.png": "s/covid/block-1",
        "3.png": "s/covid/block-2",
    }


def test_known_patients_and_groups_are_left_alone() -> None:
    rows = [record("1.png", patient_id="p"), record("2.png", group="g")]
    assert groups(rows, 20) == {"1.png": None, "2.png": "g"}


def test_a_block_holds_something() -> None:
    with pytest.raises(InputError, match="block size 0 is below 1"):
        groups([], 0)
