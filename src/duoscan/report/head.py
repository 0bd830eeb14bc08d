"""The head of a report: of what, of whom, made when and by whom, and its conclusion in one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.evaluation.sample import measurable, spoken_units
from duoscan.formats.dicom.header import open_dicom
from duoscan.formats.frame_names import split_frame
from duoscan.formats.reader import is_dicom
from duoscan.report.wording import spoken
from duoscan.terms import POSITIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evidence.subject import Subject
    from duoscan.report.flow import ScreeningFlow

_DAYS = {"D": 1, "W": 7, "M": 30.4375, "Y": 365.25}


@dataclass(frozen=True)
class Head:
    """What stands above everything else.

    Attributes:
        cohort: Who was measured, one line a cohort.
        conclusion: One line.
        is_headline: Whether every verdict lets its number stand above its reasons.
    """

    cohort: tuple[str, ...]
    conclusion: str
    is_headline: bool


def cohort_of(subject: Subject) -> str:
    """Patients measured, with and without covid, and ages and sexes where their DICOM files state them."""
    rows = measurable(subject.predictions)
    covid = {row.unit for row in rows if row.label == POSITIVE}
    units = {row.unit for row in rows}
    first: dict[str, Path] = {}
    for row, file in zip(subject.predictions, subject.files, strict=True):
        if row.unit in units and file is not None:
            first.setdefault(row.unit, file)
    what = f"{subject.modality.spoken}: " if subject.modality else ""
    return f"{what}{spoken_units(units)}, {len(covid)} with covid; {ages_and_sexes(first.values())}"


def ages_and_sexes(files: Iterable[Path]) -> str:
    """What DICOM files say of the age and sex of their patients, in words.

    Args:
        files: One a patient; of other formats none is known.
    """
    ages, sexes = [], Counter[str]()
    for file in files:
        age, sex = _stated(split_frame(file)[0])
        ages += [age] if age is not None else []
        sexes[sex] += bool(sex)
    parts = []
    if ages:
        parts.append(f"ages {min(ages):.0f} to {max(ages):.0f}, median {median(ages):.0f} (known of {len(ages)})")
    if any(sexes.values()):
        said = {"F": "women", "M": "men", "O": "other"}
        parts.append(", ".join(f"{word} {sexes[sex]}" for sex, word in said.items() if sexes[sex]))
    return "; ".join(parts) or "ages and sexes are not stated"


def _stated(file: Path) -> tuple[float | None, str]:
    """PatientAge in years (PS3.5 clause 6.2, AS) and PatientSex (PS3.3 C.7.1.1)."""
    if not file.is_file() or not is_dicom(file):
        return None, ""
    try:
        header = open_dicom(file, header_only=True)
    except ImageError:
        return None, ""
    age, sex = str(header.get("PatientAge", "")), str(header.get("PatientSex", ""))
    # The form of AS; 000Y is what de-identification leaves, since the youngest are stated in days.
    is_age = len(age) == 4 and age[:3].isdecimal() and age[3] in _DAYS and age != "000Y"
    years = int(age[:3]) * _DAYS[age[3]] / _DAYS["Y"] if is_age else None
    return years, sex if sex in {"F", "M", "O"} else ""


def head_of(
    measured: Sequence[tuple[Subject, Evaluation, bool]], flow: ScreeningFlow | None, faults: Sequence[str]
) -> Head:
    """The head of a report.

    Args:
        measured: Each subject, its figures (a patient where they are known, else an image) and whether these are a
            patient's.
        flow: Two-phase answers, where there are any.
        faults: Names of the subjects whose number is no headline.
    """
    cohort = tuple(dict.fromkeys(cohort_of(subject) for subject, _, _ in measured))
    if faults:
        what = "was" if len(faults) == 1 else "were"
        text = f"No number here may be quoted alone: {' and '.join(faults)} {what} not audited, or failed."
        return Head(cohort, text, is_headline=False)
    outcome = flow.outcome if flow else None
    if flow and outcome and outcome.sensitivity and outcome.specificity:
        return Head(
            cohort,
            f"Both phases together find {spoken(outcome.sensitivity)} of the patients with covid, clear "
            f"{spoken(outcome.specificity)} of the others, and send {spoken(flow.to_ct)} of all to CT.",
            is_headline=True,
        )
    lines = [
        f"{subject.name} finds {spoken(found.metrics['sensitivity'])} of the "
        f"{found.overall.units_word if is_patient else 'images'} with covid and clears "
        f"{spoken(found.metrics['specificity'])} of the others"
        for subject, found, is_patient in measured
    ]
    return Head(cohort, f"{'; '.join(lines)}.", is_headline=True)
