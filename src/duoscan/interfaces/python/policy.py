"""Certificates and policies, from Python."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from duoscan.evaluation.intervals import DEFAULT_RESAMPLES
from duoscan.evaluation.policies.choice import Choice, choose
from duoscan.evaluation.policies.figure import policy_figure
from duoscan.evaluation.policies.measured import FIGURES, PolicyFigures
from duoscan.evaluation.policies.operating import DEFAULT_MARGIN, Offer, Setting, operating_table
from duoscan.evaluation.thresholds import youden_threshold
from duoscan.evidence.phases import operating_point, phase_patients, read_phase
from duoscan.evidence.subject import Ask
from duoscan.interfaces.python.tables import Table, as_file, as_path
from duoscan.notebook import shown
from duoscan.policies.certify import Models, Promise
from duoscan.policies.certify import certify as certify_policy
from duoscan.policies.policy import Policy
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import patient_scores
from duoscan.predictions import read_predictions
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from duoscan.evidence.subject import Subject
    from duoscan.inference.bundle import Bundle
    from duoscan.interfaces.python.tables import AnyTable
    from duoscan.policies.certify import Method, Wish

DEFAULT_MISS_RATE = 0.05


def certify(
    calibration: AnyTable,
    *,
    miss_rate: float = DEFAULT_MISS_RATE,
    confidence: float = 0.95,
    kind: str = "rule-out",
    method: Method = "exact",
    scope: Wish = "xray",
    ct_threshold: float | None = None,
    columns: Mapping[str, str] | None = None,
) -> Policy:
    """The policy with the largest X-ray threshold that keeps a promise, and its certificate.

    Args:
        calibration: Answers on patients whom nobody trained on and no threshold was chosen on: label, probability and,
            where known, patient_id and modality; without a modality all are X-rays.
        miss_rate: Largest share of the sick who may leave.
        confidence: Of the promise; exact method only.
        kind: Of the policy.
        method: ``exact`` or ``split-conformal``.
        scope: Ways out that count as a miss.
        ct_threshold: Of phase 2, where it was fixed on other patients; else it is chosen here, and the scope ``joint``
            is refused.
        columns: Our name of a column → its name in a table from memory.

    Raises:
        InputError: Too few sick patients (says how many are missing), or a kind that cannot be certified.
    """
    with as_file(calibration, columns) as path:
        rows = [replace(row, modality=row.modality or Modality.CXR) for row in read_predictions(path)]
    patients = patient_scores(rows)
    point = ct_threshold
    if point is None:
        has_ct = ~np.isnan(patients.ct)
        sick = patients.sick[has_ct]
        point = youden_threshold(sick, patients.ct[has_ct]) if sick.any() and not sick.all() else 1 / 2
    policy = Policy(kind=PolicyKind(kind), xray_threshold=0.0, ct_threshold=point)
    promise = Promise(miss_rate, round(1.0 - confidence, 12), method, scope, ct_chosen_here=ct_threshold is None)
    return certify_policy(policy, patients, promise)


@dataclass(frozen=True)
class Policies:
    """Every policy, measured, and the one that is chosen.

    Attributes:
        offers: The policies.
        choice: The one, and why.
    """

    offers: tuple[Offer, ...]
    choice: Choice

    @property
    def chosen(self) -> Policy:
        """The policy chosen; ``duoscan.Screener(policy=…)`` obeys it."""
        return self.choice.offer.policy

    def table(self) -> Table:
        """A row a policy: each figure and the ends of its interval; bounds where patients are not paired."""
        heads = [head for name in FIGURES for head in (name, f"{name}_low", f"{name}_high")]
        return Table.of(("policy", "chosen", "refusal", *heads), map(self._row, self.offers))

    def _row(self, offer: Offer) -> tuple[object, ...]:
        found = offer.test
        if isinstance(found, PolicyFigures):
            cells = [
                cell for name in FIGURES for one in [found.figures[name]] for cell in (one.value, one.low, one.high)
            ]
        else:
            cells = [cell for name in FIGURES for cell in (None, found.low[name].low, found.high[name].high)]
        return (offer.policy.name, offer is self.choice.offer, offer.refusal, *cells)

    def figure(self) -> Figure:
        """Sensitivity, specificity and share sent to CT of each policy, on paired test patients.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        measured = [offer.test for offer in self.offers if isinstance(offer.test, PolicyFigures)]
        found = self.choice.offer.test
        return policy_figure(measured, found if isinstance(found, PolicyFigures) else None)

    def _repr_html_(self) -> str:
        names = ("sensitivity", "specificity", "to_ct")
        rows = [
            (offer.policy.name, *(_spoken(offer, name) for name in names), "yes" if offer is self.choice.offer else "")
            for offer in self.offers
        ]
        refusals = dict.fromkeys(offer.refusal for offer in self.offers if offer.refusal)
        columns = ("policy", *(FIGURES[name] for name in names), "chosen")
        title = f"{len(self.offers)} policies; chosen: {self.chosen.name}"
        return shown(title, columns, rows, (self.choice.why, *(f"Not certified: {one}" for one in refusals)))


def _spoken(offer: Offer, name: str) -> str:
    found = offer.test
    if isinstance(found, PolicyFigures):
        return found.figures[name].spoken()
    return f"between {found.low[name].value:.3f} and {found.high[name].value:.3f}"


def compare_policies(
    xray: Bundle | AnyTable,
    ct: Bundle | AnyTable,
    *,
    manifest: str | Path | None = None,
    calibration: str | Path | None = None,
    miss_rate: float | None = None,
    confidence: float = 0.95,
    scope: Wish = "auto",
    margin: float = DEFAULT_MARGIN,
    xray_threshold: float | None = None,
    ct_threshold: float | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Policies:
    """Six policies side by side, and the one with the fewest CTs that is shown to be hardly worse than CT for all.

    Args:
        xray: Phase 1: a table whose rows called val calibrate and those called test measure; or a run or bundle.
        ct: Phase 2, the same.
        manifest: Images that models answer.
        calibration: Manifest of other patients who calibrate.
        miss_rate: Largest share of the sick who may leave; if given, only policies certified to keep it are chosen.
        confidence: Of that promise.
        scope: Ways out that count as a miss.
        margin: What a policy may lose of sensitivity and of specificity and still be chosen.
        xray_threshold: Operating point of phase 1; the model's, or Youden's on val, where ``None``.
        ct_threshold: The same of phase 2.
        resamples: Of patients.
        seed: Of all chance.

    Raises:
        InputError: A part lacks rows, or a patient is in both parts.
    """
    with ExitStack() as stack:
        phases = (
            _phase(xray, Modality.CXR, manifest, calibration, stack),
            _phase(ct, Modality.CT, manifest, calibration, stack),
        )
    calibrating, test = phase_patients(phases, share_names=calibration is None)
    promise = Promise(
        DEFAULT_MISS_RATE if miss_rate is None else miss_rate,
        round(1.0 - confidence, 12),
        "exact",
        scope,
        ct_chosen_here=ct_threshold is None and calibration is None,
    )
    setting = Setting(
        operating_point(phases[0], calibrating, xray_threshold),
        operating_point(phases[1], calibrating, ct_threshold),
        promise,
        Models(phases[0].study_digest, phases[1].study_digest),
        None,
        resamples,
        seed,
        margin,
        miss_rate is not None,
    )
    offers = operating_table(calibrating, test, setting)
    return Policies(tuple(offers), choose(offers, calibrating, setting))


def _phase(
    target: Bundle | AnyTable,
    modality: Modality,
    manifest: str | Path | None,
    calibration: str | Path | None,
    stack: ExitStack,
) -> Subject:
    path = as_path(target) or stack.enter_context(as_file(target))  # type: ignore[arg-type]  # no bundle
    images, others = (None if one is None else Path(one) for one in (manifest, calibration))
    return read_phase(path, Ask(modality=modality), images, others)
