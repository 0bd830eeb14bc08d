"""SARS-CoV-2 CT-scan set from São Paulo: slices without patient ids, the case for blocks."""

from __future__ import annotations

from functools import partial

from duoscan.manifest.sources.source import Source, SourceInfo, holds, read_class_folders
from duoscan.terms import Finding, Modality

INFO = SourceInfo(
    name="sarscov2",
    title="SARS-CoV-2 CT-scan dataset",
    modalities=(Modality.CT,),
    licence="CC BY-NC-SA 4.0, as its page states",
    citation=(
        "Soares, Angelov, Biaso, Froes, Abe. SARS-CoV-2 CT-scan dataset: a large dataset of real patients CT scans "
        "for SARS-CoV-2 identification. medRxiv 2020.04.24.20078584"
    ),
    where="https://www.kaggle.com/datasets/plameneduardo/sarscov2-ctscan-dataset",
    layout="the folders COVID and non-COVID",
    caution=(
        "No patient ids; neighbouring numbers are often slices of one patient, so split by blocks. "
        "'non-COVID' is not the same as healthy."
    ),
    expected={Finding.COVID: 1252, Finding.OTHER: 1230},
)

SOURCE = Source(INFO, holds("COVID", "non-COVID"), partial(read_class_folders, INFO))
