"""P(covid), PPV and NPV moved from the prevalence that P(covid) was fitted at to a stated one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.calibrators import at_prevalence
from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.predictive_values import PredictiveValues, predictive_values
from duoscan.evaluation.sample import measurable
from duoscan.terms import POSITIVE, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duoscan.evaluation.sample import FloatArray, Sample
    from duoscan.manifest.records import ImageRecord
    from duoscan.predictions import Prediction

COLUMNS = ("path", "patient_id", "label", "probability", "probability_at_prevalence")
STATED = "the prior, as stated"


@dataclass(frozen=True)
class Fitted:
    """What P(covid) was fitted on, as far as its prevalence goes.

    Attributes:
        references: Unit and whether it is covid, one an image or one a patient.
        origin: Which rows they are, in words.
    """

    references: tuple[tuple[str, bool], ...]
    origin: str

    @classmethod
    def on(cls, rows: Iterable[ImageRecord | Prediction], origin: str) -> Fitted:
        """From the labelled rows of the validation part."""
        validation = (row for row in rows if row.split is Split.VAL and row.label is not None)
        return cls(tuple((row.unit, row.label is POSITIVE) for row in validation), origin)

    @property
    def prevalence(self) -> float | None:
        """Share of covid; ``None`` where not both classes are there."""
        covid = sum(is_covid for _, is_covid in self.references)
        return covid / len(self.references) if 0 < covid < len(self.references) else None

    def per_patient(self) -> Fitted:
        """The same with one reference a patient, who is a covid patient where any of the images is."""
        patients: dict[str, bool] = {}
        for unit, is_covid in self.references:
            patients[unit] = patients.get(unit, False) or is_covid
        return Fitted(tuple(patients.items()), self.origin)


@dataclass(frozen=True)
class PriorShift:
    """What holds at a stated prevalence.

    Attributes:
        was: Prevalence where P(covid) was fitted.
        origin: Which rows that is the prevalence of.
        values: The stated prevalence, and PPV and NPV there at the operating point.
        rows: The N measured rows.
        probability: shape (N,); their P(covid) there.
    """

    was: float
    origin: str
    values: PredictiveValues
    rows: tuple[Prediction, ...]
    probability: FloatArray

    @property
    def assumed(self) -> str:
        """What must hold for these numbers, in a sentence."""
        return (
            f"P(covid) is right at a prevalence of {self.was:.3f}, that of {self.origin}, and covid and other images "
            "look the same at either prevalence; the calls at the operating point stay as they are"
        )

    def to_json(self) -> dict[str, Any]:
        """As in ``metrics.json``; P(covid) of each row is in a table of its own."""
        return {"was": self.was, "origin": self.origin, "assumed": self.assumed} | self.values.to_json()

    def table(self) -> Iterator[tuple[str, str, str, float, float]]:
        """Path, patient, label, P(covid) as fitted and as moved, of each row."""
        for row, before, moved in zip(self.rows, _fitted_probability(self.rows), self.probability, strict=True):
            yield row.path, row.patient_id or "", row.label or "", float(before), float(moved)


def shift_prior(
    sample: Sample,
    predictions: Sequence[Prediction],
    becomes: float,
    fitted: Fitted | None,
    prior: float | None = None,
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> PriorShift:
    """Move P(covid) to a stated prevalence, and give PPV and NPV there.

    Calibrated probabilities are moved where every row has one.

    Args:
        sample: What was measured.
        predictions: Its rows.
        becomes: Share of covid where the model is to be used.
        fitted: What P(covid) was fitted on.
        prior: Prevalence that P(covid) was fitted at, as the user states it; goes before ``fitted``.
        resamples: Bootstrap resamples of patients.
        seed: Of the resamples.

    Raises:
        InputError: A prevalence is out of range, or that of the fit is not known. The measured rows cannot stand in
            for it: how common covid is among them has no part in P(covid).
    """
    rows = tuple(measurable(predictions))
    was, origin = fitted.prevalence if fitted else None, fitted.origin if fitted else ""
    if prior is not None:
        was, origin = prior, STATED
    if was is None:
        raise InputError(
            "--prevalence moves P(covid) from the prevalence that it was fitted at, which is not known: there are no "
            "labelled validation rows of both classes. State it with --prior, the share of covid among the images the "
            "model was trained or calibrated on"
        )
    (values,) = predictive_values(sample, (becomes,), resamples=resamples, seed=seed)
    return PriorShift(was, origin, values, rows, at_prevalence(_fitted_probability(rows), was=was, becomes=becomes))


def _fitted_probability(rows: Sequence[Prediction]) -> FloatArray:
    calibrated = [row.calibrated for row in rows if row.calibrated is not None]
    plain = [row.probability for row in rows if row.probability is not None]
    return np.array(calibrated if len(calibrated) == len(rows) else plain, dtype=np.float64)
