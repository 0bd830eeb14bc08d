"""The README that lies beside a cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duoscan.phantom.plan import PhantomOptions

_TEXT = """\
# Synthetic chest X-ray and CT cohort

**No image here is of a person.** {patients} invented patients, each with one chest X-ray and one chest CT of
{slices} slices, made by `duoscan phantom` with seed {seed}. Research software; free to use (CC0-1.0).

A third each is healthy, has COVID-like disease (bilateral ground glass under the pleura) or another pneumonia (one
lobe consolidated), unless other shares were asked for. X-ray and CT come from the same body: the X-ray is the
Beer–Lambert line integral through it. Two invented hospitals differ in noise, contrast and sharpness; which patient
goes to which has nothing to do with disease, unless that fault was planted.

| file | what |
|---|---|
| `manifest.csv` | one row for each image: path, modality, label, source, patient_id, view, split, lung_mask |
| `manifest-dicom.csv` | the same for the DICOM files, where both formats were written |
| `cxr/`, `ct/PATIENT/` | pictures; CT in the lung window (centre -600, width 1500 HU), slice 00 lowest |
| `dicom/PATIENT/` | the CT as a series in HU, and the X-ray as CR, where asked for |
| `masks/` | white is lung, or lesion; a missing lesion mask means no lesion |
| `truth.csv` | for each patient: finding, label, severity (diseased share of the lung), volumes in ml, pattern, age |
| `slices.csv` | for each CT slice: height, lung and lesion area in mm², and whether it shows disease |
| `faults.csv` | every planted fault, file by file; only the header where none was asked for |
| `options.json` | what the cohort was made with |

`label` is the patient's, also on slices without lesion, as in public sets; `slices.csv` says which slices show it.
{shuffled}Splits are by patient. The same options give the same files.
"""

_SHUFFLED = "**Labels are shuffled**: `label` has nothing to do with the images; `finding` in `truth.csv` is true.\n"


def cohort_readme(options: PhantomOptions) -> str:
    """Text of the README of a cohort made with ``options``."""
    return _TEXT.format(
        patients=options.patients,
        slices=options.slices,
        seed=options.seed,
        shuffled=_SHUFFLED if options.shuffle_labels else "",
    )
