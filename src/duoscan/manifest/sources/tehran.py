"""The Tehran sets of the two-phase framework: CT slices (published) and X-rays (announced)."""

from __future__ import annotations

from functools import partial

from duoscan.manifest.sources.source import Source, SourceInfo, holds, read_class_folders
from duoscan.terms import Finding, Modality

_CITATION = (
    "Ghaderzadeh et al. Efficient framework for detection of COVID-19 Omicron and Delta variants based on two "
    "intelligent phases of CNN models. Comput Math Methods Med 2022:4838009"
)
_HOME = "https://github.com/MAmirEshraghi/Deep_Covid19_Detection_Overall_framework"

CT_INFO = SourceInfo(
    name="tehran-ct",
    title="COVID-19 Omicron and Delta variant CT scan dataset",
    modalities=(Modality.CT,),
    licence="see its page",
    citation=_CITATION,
    where="https://www.kaggle.com/datasets/mohammadamireshraghi/covid19-omicron-and-delta-variant-ct-scan-dataset",
    layout="the folders COVID and Non_COVID",
    caution=(
        "No patient ids, many slices a patient: a split by slice puts every patient on both sides. Slices carry "
        "their patient's label, also those outside the lungs. Non_COVID mixes normal and other disease."
    ),
    expected={Finding.COVID: 12231, Finding.OTHER: 2251},
)

XRAY_INFO = SourceInfo(
    name="tehran-xray",
    title="Tehran chest X-ray set of the two-phase framework",
    modalities=(Modality.CXR,),
    licence="not stated",
    citation=_CITATION,
    where=f"its authors; {_HOME} announces it",
    layout="the folders COVID and Non_COVID",
    caution="No patient ids. Non_COVID mixes normal and other disease.",
    expected={Finding.COVID: 111, Finding.OTHER: 230},
)

CT_SOURCE = Source(CT_INFO, holds("COVID", "Non_COVID"), partial(read_class_folders, CT_INFO))
XRAY_SOURCE = Source(XRAY_INFO, holds("COVID", "Non_COVID"), partial(read_class_folders, XRAY_INFO))
