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


def private_scheme() -> Dataset:
    """Who is responsible for the private codes (PS3.3 C.12.1)."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeName = "Codes of duoscan"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
