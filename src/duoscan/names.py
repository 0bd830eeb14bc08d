"""Which finding, split or modality the words of other people's folders and tables mean.

The tables hold the names public sets use. A name that is not in them is never guessed: the reader stops,
names it and says what to do (``--map NAME=label`` for a label).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Keys are plain names (see plain_name): lower case, inner spaces, hyphens and underscores dropped.
# "Not COVID" is ``other`` and not ``normal``: such classes mix healthy people with other disease. Lung
# opacity is ``other`` too: RSNA annotators marked any opacity, not only pneumonia.
LABEL_ALIASES: Mapping[str, Finding] = {
    "covid": Finding.COVID,
    "covid+": Finding.COVID,
    "covid19": Finding.COVID,
    "covid19+": Finding.COVID,
    "covidpositive": Finding.COVID,
    "covid19positive": Finding.COVID,
    "ctcovid": Finding.COVID,
    "sarscov2": Finding.COVID,
    "normal": Finding.NORMAL,
    "healthy": Finding.NORMAL,
    "nofinding": Finding.NORMAL,
    "nofindings": Finding.NORMAL,
    "pneumonia": Finding.PNEUMONIA,
    "viralpneumonia": Finding.PNEUMONIA,
    "bacterialpneumonia": Finding.PNEUMONIA,
    "communityacquiredpneumonia": Finding.PNEUMONIA,
    "other": Finding.OTHER,
    "noncovid": Finding.OTHER,
    "noncovid19": Finding.OTHER,
    "ctnoncovid": Finding.OTHER,
    "covidnegative": Finding.OTHER,
    "covid19negative": Finding.OTHER,
    "lungopacity": Finding.OTHER,
}

SPLIT_ALIASES: Mapping[str, Split] = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "valid": Split.VAL,
    "validation": Split.VAL,
    "dev": Split.VAL,
    "test": Split.TEST,
    "testing": Split.TEST,
}

MODALITY_ALIASES: Mapping[str, Modality] = {
    "cxr": Modality.CXR,
    "xray": Modality.CXR,
    "chestxray": Modality.CXR,
    "xr": Modality.CXR,
    "radiograph": Modality.CXR,
    "chestradiograph": Modality.CXR,
    "radiography": Modality.CXR,
    "rg": Modality.CXR,
    "cr": Modality.CXR,
    "dx": Modality.CXR,
    "ct": Modality.CT,
    "chestct": Modality.CT,
    "ctscan": Modality.CT,
    "chestctscan": Modality.CT,
    "computedtomography": Modality.CT,
}


def plain_name(text: str) -> str:
    """A name without case and inner separators: ``Viral Pneumonia`` and ``viral_pneumonia`` are the same.

    Only separators between letters or digits are dropped, so that ``COVID-`` (negative) never becomes
    ``covid``.

    >>> plain_name("Non-COVID"), plain_name("No_findings"), plain_name("COVID -")
    ('noncovid', 'nofindings', 'covid -')
    """
    return re.sub(r"(?<=[^\W_])[\s_-]+(?=[^\W_])", "", text.strip().casefold())


def finding_named(text: str, label_map: Mapping[str, Finding] | None = None) -> Finding | None:
    """The finding a name stands for; ``None`` where neither the person nor the table knows it.

    Args:
        text: A folder name or a label cell.
        label_map: What a person said (``--map``); asked before the table.
    """
    name = plain_name(text)
    said = {plain_name(key): finding for key, finding in (label_map or {}).items()}
    return said.get(name) or LABEL_ALIASES.get(name)


def split_named(text: str) -> Split | None:
    """The split a folder name or cell stands for; ``None`` where it is not the name of one."""
    return SPLIT_ALIASES.get(plain_name(text))


def modality_named(text: str) -> Modality | None:
    """The modality a cell stands for, e.g. ``X-ray``; ``None`` where it is not the name of one."""
    return MODALITY_ALIASES.get(plain_name(text))


def near_ids(typed: Iterable[str], patients: Iterable[str]) -> dict[str, list[str]]:
    """For each id a person typed, those that differ in case, separators and leading zeros alone; never taken for it.

    >>> near_ids(["734", "P2"], ["00734", "P734"])
    {'734': ['00734'], 'P2': []}
    """
    bare: dict[str, list[str]] = {}
    for patient in sorted(patients):
        bare.setdefault(_bare(patient), []).append(patient)
    return {one: bare.get(_bare(one), []) for one in typed}


def _bare(patient_id: str) -> str:
    return re.sub(r"[\W_]", "", patient_id).casefold().lstrip("0")
