"""What every DICOM result says of who made it, and how its UID comes about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from duoscan.results.codes import PRIVATE_SCHEME
from duoscan.terms import Modality
from duoscan.version import __version__

if TYPE_CHECKING:
    from duoscan.cases.case import ModelUsed, Screening

MANUFACTURER = "duoscan"
MODEL_NAME = "duoscan"
_DIGEST_SHOWN = 16
_UTF_8 = "ISO_IR 192"
_DEFAULT_REPERTOIRE = "ISO 2022 IR 6"
_KANJI = frozenset({"ISO 2022 IR 87", "ISO 2022 IR 159"})
_CHINESE, _CHINESE_ESCAPE = "ISO 2022 IR 58", "\x1b$)A"
_TEXTS = frozenset({"PN", "LO", "SH", "LT", "ST", "UT", "UC"})


def result_uid(*parts: str) -> str:
    """A UID that is the same for the same input, so that answering a study again replaces and does not add."""
    return generate_uid(entropy_srcs=["duoscan", *parts])


def model_digests(screening: Screening) -> list[str]:
    """What makes the answers of both models, graph and aggregation (``Bundle.study_digest``); X-ray first."""
    return [screening.model(modality).study_digest for modality in Modality]


def model_version(model: ModelUsed) -> str:
    """Version of a model in few characters: the software that trained it, and the head of its graph's SHA-256."""
    return f"{model.trained_with}+{model.graph_sha256[:_DIGEST_SHOWN]}"


def equipment(model: ModelUsed) -> dict[str, str]:
    """Enhanced General Equipment module (PS3.3 C.7.5.2), as highdicom takes it; the graph is the serial number."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": __version__,
        "device_serial_number": model.graph_sha256[:_DIGEST_SHOWN],
    }


def settle_character_set(header: Dataset) -> None:
    """Give a header a SpecificCharacterSet that results made from it may have, in place.

    An empty first value of several is the default repertoire (PS3.3 C.12.1.1.2), which has a name too. Where highdicom
    does not take what is stated, it becomes UTF-8, in which there is every text.
    """
    stated = header.get("SpecificCharacterSet")
    if not stated:
        header.pop("SpecificCharacterSet", None)
        return
    values = [stated] if isinstance(stated, str) else [str(value) or _DEFAULT_REPERTOIRE for value in stated]
    if _CHINESE in values:
        for element in header:
            if element.VR in _TEXTS and _CHINESE_ESCAPE in str(element.value):
                # pydicom decodes the characters and leaves the escape sequences where they are.
                element.value = str(element.value).replace(_CHINESE_ESCAPE, "")
    # Texts that are not decoded yet will be by the set that they were read with.
    header.SpecificCharacterSet = values if _is_taken(values) else _UTF_8


def _is_taken(values: list[str]) -> bool:
    """Whether highdicom takes a set: a plain one, or several that extend each other, the first of single bytes."""
    from highdicom import SpecificCharacterSetValues

    known = {one.value for one in SpecificCharacterSetValues}
    extensions = [value for value in values if value.startswith("ISO 2022")]
    if len(values) == 1:
        return values[0] in known and not extensions
    return extensions == values and known - {_CHINESE} >= set(values) and values[0] not in _KANJI


def private_scheme() -> Dataset:
    """Who is responsible for the private codes (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "Codes of duoscan"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
