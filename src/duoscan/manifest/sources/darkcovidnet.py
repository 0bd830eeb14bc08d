"""The X-ray set of DarkCovidNet (Ozturk et al.): COVID from the ieee8023 collection, the rest from NIH ChestX-ray14."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.manifest.readers.found import Imported
from duoscan.manifest.sources.ieee8023 import patients_by_file
from duoscan.manifest.sources.source import Source, SourceInfo, holds, read_class_folders
from duoscan.terms import Finding, Modality

if TYPE_CHECKING:
    from pathlib import Path

INFO = SourceInfo(
    name="darkcovidnet",
    title="X-ray images of DarkCovidNet",
    modalities=(Modality.CXR,),
    licence="none stated; NIH images: free use with attribution; COVID images: as in the ieee8023 collection",
    citation=(
        "Ozturk et al. Automated detection of COVID-19 cases using deep neural networks with X-ray images. "
        "Comput Biol Med 121:103792, 2020; Wang et al. ChestX-ray8. CVPR 2017"
    ),
    where="https://github.com/muhammedtalo/COVID-19",
    layout="the folders Covid-19, No_findings and Pneumonia",
    caution=(
        "Class and source are the same thing: COVID from one collection, the rest from NIH. NIH patients have "
        "several images, some in both classes. For the patients of the COVID images, put the metadata.csv of the "
        "ieee8023 collection beside the three folders."
    ),
    expected={Finding.COVID: 125, Finding.NORMAL: 500, Finding.PNEUMONIA: 500},
)

# NIH names are <patient>_<number of the follow-up>.png.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}\.png", re.IGNORECASE)


def _read(folder: Path) -> Imported:
    imported = read_class_folders(INFO, folder)
    table = folder / "metadata.csv"
    known = patients_by_file(table) if table.is_file() else {}
    records = [
        record.model_copy(update={"patient_id": _patient_of(PurePosixPath(record.path).name, known)})
        for record in imported.manifest
    ]
    skipped = tuple(file for file in imported.skipped if file.name != table.name)
    return Imported(imported.manifest.replace(records), skipped)


def _patient_of(name: str, known: dict[str, str]) -> str | None:
    nih = _NIH_NAME.fullmatch(name)
    return f"nih:{int(nih[1])}" if nih else known.get(name)


SOURCE = Source(INFO, holds("Covid-19", "No_findings", "Pneumonia"), _read)
