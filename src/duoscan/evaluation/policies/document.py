"""What ``duoscan triage`` found, as the document that its page and its readers use.

``triage.json`` holds:

==================  ===============================================================================================
``format``          ``duoscan-triage``; ``version`` 4
``prevalence``      at which all figures hold; ``prevalence_origin`` is ``given`` or ``test patients``
``promise``         what was asked for: ``alpha``, ``delta``, ``method``, ``scope``, and ``ct_chosen_here``, whether the
                    CT threshold was chosen on the calibration patients
``models``          ``xray`` and ``ct``: name, SHA-256 of the graph (empty for a table), operating threshold
``calibration``     ``patients``, ``sick``, ``paired``, ``fingerprint``, ``origin`` in words, and ``units``: what was
                    counted, ``patients``, or ``blocks`` or ``images`` where nobody is named
``test``            ``patients``, ``units``, ``sick``, ``paired``
``policies``        list; each with ``kind``, ``name``, ``description``, ``policy`` (thresholds and certificate),
                    ``refusal`` (why it is not certified, or empty), ``missed_at_most`` (of the sick, by both phases
                    together: upper 95 % limit on the test patients), ``follows_miss_rate`` (whether its X-ray threshold
                    comes from the promise), ``calibration`` and ``test``, each either measured (``basis``,
                    ``patients``, ``sick``, ``figures`` by name: ``value``, ``low``, ``high``, ``n``, ``patients``) or
                    bounded (``basis``, ``bounds`` by name: two estimates, ``sweep`` over assumed correlations)
``chosen``          ``place`` among the policies, ``kind``, ``name`` and ``why``; it stands in ``policy.toml`` too;
                    ``margin``, ``level`` and ``rivals``: sensitivity and specificity of each policy less those of CT
                    for all on the calibration patients, with one-sided lower limits at the level
``worth``           net benefit and cost of each policy, over threshold probability and over prevalence; ``refusal``
                    and ``bounds`` where patients are not paired; ``refusal`` within ``cost`` where none were given
``waiting``         simulated waiting under each policy, or ``refusal``
``abstention``      ``error``, and for ``xray`` and ``ct`` risk over coverage, prediction sets and who is referred
``comparison``      X-ray against CT on equal numbers, and ``benefits`` as a table
``verdicts``        for ``xray`` and ``ct``, what the gate says of the model's numbers (``duoscan.audit.gate.Verdict``)
``scores``          ``calibration`` and ``test``: ``sick`` (0 or 1), ``xray`` and ``ct`` (P(covid) or null), one entry a
                    patient in no telling order of names, so that a reader can move thresholds
``notes``           what a reader must know beside the numbers
``command``         what was typed
``sha256``          of everything above, so that a changed document is known as such
==================  ===============================================================================================

An estimate in ``worth``, ``waiting`` and ``abstention`` is ``[value, low, high]``, null where undefined.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import InputError
from duoscan.evaluation.policies.abstention import phase_abstention
from duoscan.evaluation.policies.measured import PolicyFigures
from duoscan.evaluation.policies.modalities import benefits_and_drawbacks, compare_modalities
from duoscan.evaluation.policies.operating import CERTIFIED_KINDS, is_paired
from duoscan.evaluation.policies.worth import bounded_worth_json, measured_policies, waiting_json, worth_json
from duoscan.evaluation.sample import spoken_units, units_word
from duoscan.files import parse_json, read_bytes
from duoscan.policies.rule import PolicyKind
from duoscan.policies.scores import PatientScores

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from duoscan.evaluation.policies.abstention import Abstention
    from duoscan.evaluation.policies.choice import Choice
    from duoscan.evaluation.policies.modalities import Dose
    from duoscan.evaluation.policies.operating import Offer, Setting
    from duoscan.policies.assumptions import Assumptions

FORMAT = "duoscan-triage"
VERSION = 4
FILE_NAME = "triage.json"
UNPAIRED_NOTE = "X-ray and CT come from different patients: joint figures are bounds, not measurements."
NOT_PAIRED = (
    "X-ray and CT of the calibration or the test patients come from different people, so what both phases are worth "
    "together is not measured"
)


@dataclass(frozen=True)
class Ground:
    """What a table of policies rests on.

    Attributes:
        calibration: Patients who chose thresholds and policy.
        test: Patients who measured.
        sources: Where each test patient comes from, by name.
        models: For ``xray`` and ``ct``: name, SHA-256 of the graph and threshold.
        origin: What the calibration patients are, in words.
        notes: What a reader must know beside the numbers.
        command: What was typed.
    """

    calibration: PatientScores
    test: PatientScores
    sources: Mapping[str, str]
    models: Mapping[str, Mapping[str, Any]]
    origin: str
    notes: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True)
class Extras:
    """What the user states and asks for beside the policies.

    Attributes:
        assumptions: Costs, harm of a CT, department.
        dose: Of the examinations; ``None`` where not given.
        set_error: Of the prediction sets.
    """

    assumptions: Assumptions
    dose: Dose | None
    set_error: float


def abstentions(ground: Ground, setting: Setting, extras: Extras) -> dict[str, Abstention]:
    """For ``xray`` and ``ct``, what saying "I do not know" wins."""
    calibration, test = ground.calibration, ground.test
    phases = {
        "xray": (calibration.xray, test.xray, setting.xray_threshold),
        "ct": (calibration.ct, test.ct, setting.ct_threshold),
    }
    return {
        name: phase_abstention(
            (learnt, calibration.sick), test, scores, threshold,
            sources=ground.sources, error=extras.set_error, resamples=setting.resamples, seed=setting.seed,
        )
        for name, (learnt, scores, threshold) in phases.items()
    }  # fmt: skip


def triage_document(
    offers: Sequence[Offer],
    choice: Choice,
    setting: Setting,
    ground: Ground,
    extras: Extras,
    abstaining: Mapping[str, Abstention],
) -> dict[str, Any]:
    """The document, but for the verdicts."""
    calibration, test = ground.calibration, ground.test
    promise = {name: value for name, value in vars(setting.promise).items() if name != "caveat"}
    prevalence = offers[0].test.prevalence
    return {
        "format": FORMAT,
        "version": VERSION,
        "prevalence": prevalence,
        "prevalence_origin": "test patients" if setting.prevalence is None else "given",
        "promise": promise,
        "models": dict(ground.models),
        "calibration": _group(calibration) | {"fingerprint": calibration.fingerprint(), "origin": ground.origin},
        "test": _group(test),
        "policies": [
            offer.to_json()
            | {"follows_miss_rate": place < len(PolicyKind) and offer.policy.kind in CERTIFIED_KINDS}
            for place, offer in enumerate(offers)
        ],
        "chosen": {
            "place": next(place for place, offer in enumerate(offers) if offer is choice.offer),
            "kind": choice.offer.policy.kind.value,
            "name": choice.offer.policy.name,
            "why": choice.why,
            "margin": setting.margin,
            "level": choice.level,
            "rivals": choice.rivals_json(setting.margin),
        },
        **_worth(offers, setting, ground, extras, prevalence),
        "abstention": {"error": extras.set_error, **{name: each.document for name, each in abstaining.items()}},
        "comparison": _comparison(offers, setting, test, extras.dose),
        "scores": {"calibration": scores_json(calibration), "test": scores_json(test)},
        "notes": [
            *ground.notes,
            *_unnamed_note({"calibrate": calibration, "measure": test}),
            *(() if is_paired(test) else (UNPAIRED_NOTE,)),
        ],
        "command": ground.command,
    }  # fmt: skip


def document_text(document: Mapping[str, Any]) -> str:
    """The document as a file, with the hash of what it holds."""
    return json.dumps({**document, "sha256": _hash(document)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_triage(folder: Path) -> dict[str, Any]:
    """The document that ``duoscan triage`` left in a folder.

    Raises:
        InputError: It is not there, damaged, changed, or of another version.
    """
    path = folder / FILE_NAME
    try:
        stated = parse_json(read_bytes(path).decode("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name the folder of 'duoscan triage'") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged ({error}); run 'duoscan triage' again") from error
    document: dict[str, Any] = stated if isinstance(stated, dict) else {}
    if (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{path}: no {FORMAT} of version {VERSION}; run 'duoscan triage' again")
    if document.pop("sha256", None) != _hash(document):
        raise InputError(f"{path}: changed since 'duoscan triage' wrote it; run it again")
    for group in ("calibration", "test"):
        document[group].setdefault("units", "patients")  # not in the first ones
    return document


def _hash(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def scores_json(patients: PatientScores) -> dict[str, list[float | int | None]]:
    """Probabilities by patient, ordered by value and not by name."""
    order = np.lexsort((patients.ct, patients.xray, patients.sick))

    def numbers(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | int | None]:
        return [None if np.isnan(value) else float(value) for value in values[order]]

    return {
        "sick": [int(value) for value in patients.sick[order]],
        "xray": numbers(patients.xray),
        "ct": numbers(patients.ct),
    }


def scores_from_json(stated: Mapping[str, Sequence[float | int | None]]) -> PatientScores:
    """What :func:`scores_json` wrote; names are numbers."""
    xray, ct = (
        np.array([np.nan if value is None else value for value in stated[name]], dtype=np.float64)
        for name in ("xray", "ct")
    )
    names = tuple(f"{place}" for place in range(len(xray)))
    return PatientScores(names, np.array(stated["sick"], dtype=bool), xray, ct)


def _group(patients: PatientScores) -> dict[str, Any]:
    """How many patients there are, and what they are: patients, or blocks or images that stand for them."""
    return {
        "patients": len(patients),
        "units": units_word(patients.names),
        "sick": int(patients.sick.sum()),
        "paired": int(patients.is_paired.sum()),
    }


def _unnamed_note(groups: Mapping[str, PatientScores]) -> Iterator[str]:
    """That not patients were counted but what stands for them, where nobody is named."""
    said = [
        f"{spoken_units(group.names)} {what}" for what, group in groups.items() if units_word(group.names) != "patients"
    ]
    if said:
        yield (
            f"Not everybody is named: {'; '.join(said)}. Where a promise or a reason counts patients, these are "
            "counted; they may be parts of a patient or several in one, so give patient ids."
        )


def _worth(
    offers: Sequence[Offer], setting: Setting, ground: Ground, extras: Extras, prevalence: float
) -> dict[str, Any]:
    if not (is_paired(ground.test) and is_paired(ground.calibration)):
        worth: dict[str, Any] = {"refusal": NOT_PAIRED}
        if not is_paired(ground.test):
            worth["bounds"] = bounded_worth_json(
                [offer.policy for offer in offers],
                ground.test,
                prevalence,
                extras.assumptions,
                resamples=setting.resamples,
                seed=setting.seed,
            )
        return {"worth": worth, "waiting": {"refusal": NOT_PAIRED}}
    measured = measured_policies([offer.policy for offer in offers], ground.calibration, ground.test)
    waiting = waiting_json(
        measured,
        ground.test,
        prevalence,
        extras.assumptions.department,
        resamples=setting.resamples,
        seed=setting.seed,
    )
    return {"worth": worth_json(measured, prevalence, extras.assumptions), "waiting": waiting}


def _comparison(offers: Sequence[Offer], setting: Setting, test: PatientScores, dose: Dose | None) -> dict[str, Any]:
    comparison = compare_modalities(
        test, setting.xray_threshold, setting.ct_threshold, resamples=setting.resamples, seed=setting.seed
    )
    measured = [offer.test for offer in offers if isinstance(offer.test, PolicyFigures)]
    return comparison.to_json() | {"benefits": benefits_and_drawbacks(comparison, measured, dose)}
