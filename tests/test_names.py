from __future__ import annotations

import pytest

from duoscan.names import LABEL_ALIASES, finding_named, modality_named, plain_name, split_named
from duoscan.terms import Finding, Modality, Split


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("COVID", Finding.COVID),
        ("covid-19", Finding.COVID),
        ("CT_COVID", Finding.COVID),
        ("COVID+", Finding.COVID),
        ("NonCOVID", Finding.OTHER),
        ("non-COVID", Finding.OTHER),
        ("CT_NonCOVID", Finding.OTHER),
        ("Lung_Opacity", Finding.OTHER),
        ("No_findings", Finding.NORMAL),
        ("No Finding", Finding.NORMAL),
        ("Healthy", Finding.NORMAL),
        ("Viral Pneumonia", Finding.PNEUMONIA),
        ("COVID-", None),  # negative; must never read as covid
        ("COVID -", None),
        ("-covid", None),
        ("tuberculosis", None),
        ("", None),
    ],
)
def test_labels(text: str, finding: Finding | None) -> None:
    assert finding_named(text) is finding


def test_what_a_person_says_goes_before_the_table() -> None:
    assert finding_named("No_Findings", {"no findings": Finding.OTHER}) is Finding.OTHER
    assert finding_named("TB", {"tb": Finding.OTHER}) is Finding.OTHER


def test_the_table_is_keyed_by_plain_names() -> None:
    assert [name for name in LABEL_ALIASES if plain_name(name) != name] == []
    assert {finding_named(finding) for finding in Finding} == set(Finding)


def test_splits_and_modalities() -> None:
    assert [split_named(text) for text in ("Training", "valid", "TEST", "images")] == [
        Split.TRAIN,
        Split.VAL,
        Split.TEST,
        None,
    ]
    assert [modality_named(text) for text in ("X-ray", "DX", "CT", "MR")] == [
        Modality.CXR,
        Modality.CXR,
        Modality.CT,
        None,
    ]
