"""What a bundle says of the hospital it was adapted to, as stored in it."""

from __future__ import annotations

import hashlib

from pydantic import Field

from duoscan.settings import Stated
from duoscan.terms import Probability

SITE_FIGURES: dict[str, str] = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity at the threshold",
    "specificity": "Specificity at the threshold",
    "ece": "Expected calibration error (ECE)",
    "brier_score": "Brier score",
    "slope": "Calibration slope",
}
"""What is measured before and after, and how a person calls it."""


class SiteFigure(Stated):
    """One number, and its 95 % interval where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def spoken(self) -> str:
        """``0.880 [0.802, 0.940]``; the value alone where there is no interval, a dash where it is undefined."""
        if self.value is None or self.low is None or self.high is None:
            return "–" if self.value is None else f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


class SiteCertificate(Stated):
    """What is promised of the threshold for studies, and what it rests on.

    It is the exact certificate of :mod:`duoscan.policies.certify` for one phase alone: of the sick patients, at most
    ``alpha`` lie below ``threshold``, with confidence 1 − ``delta``.
    """

    alpha: float = Field(gt=0, lt=1)
    delta: float = Field(gt=0, lt=1)
    threshold: Probability
    positives: int = Field(ge=1, description="sick patients it rests on; none of them was fitted on")
    missed: int = Field(ge=0, description="of them, below the threshold")
    patients_fingerprint: str = Field(description="SHA-256 of those patients' names, labels and P(covid)")
    promise: str

    def digest(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class SiteEvidence(Stated):
    """Where a bundle was adapted, from what and on whom, and what that changed."""

    site: str = Field(min_length=1)
    date: str = Field(description="YYYY-MM-DD, UTC")
    duoscan_version: str
    parent_name: str
    parent_digest: str = Field(description="study digest of the bundle it was made from")
    records_fingerprint: str = Field(description="SHA-256 over the rows of the manifest that were used")
    images: int = Field(ge=1)
    patients: dict[str, int] = Field(description="patients by label")
    spoken_patients: str = Field(description="what was counted as patients, in words")
    fitted_patients: int = Field(ge=0, description="patients on whom the last layer was, or could have been, refitted")
    refit: bool = Field(description="whether the last layer is another than the parent's")
    reasons: tuple[str, ...] = Field(description="why the last layer and the calibrators are as they are")
    prevalence: Probability = Field(description="share of the sick; the prior of calibrated P(covid)")
    certificate: SiteCertificate
    before: dict[str, SiteFigure] = Field(description="by figure, of the parent on the site's patients")
    after: dict[str, SiteFigure] = Field(description="the same, each patient answered by a model fitted on others")
    difference: dict[str, SiteFigure] = Field(description="after less before, on the same patients")

    def digest(self) -> str:
        """SHA-256 of all it says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
