"""COVID-CT-Dataset of UC San Diego: slices cut from papers, with an official split."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from duoscan.files import read_bytes
from duoscan.manifest.cells import read_table
from duoscan.manifest.readers.found import Imported, SkippedFile
from duoscan.manifest.records import Manifest
from duoscan.manifest.sources.source import Source, SourceInfo, holds, read_class_folders
from duoscan.names import plain_name
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from pathlib import Path

INFO = SourceInfo(
    name="ucsd_covid_ct",
    title="COVID-CT-Dataset",
    modalities=(Modality.CT,),
    licence="none stated for the images; copyright with the authors and publishers of the papers",
    citation="Zhao, Zhang, He, Xie. COVID-CT-Dataset: a CT scan dataset about COVID-19. arXiv:2003.13865, 2020",
    where="https://github.com/UCSD-AI4H/COVID-CT",
    layout=(
        "Images-processed with CT_COVID and CT_NonCOVID unpacked, and Data-split with the lists of the official split"
    ),
    caution=(
        "CT_NonCOVID mixes healthy and other disease. Patients stand in COVID-CT-MetaInfo.xlsx: save it as "
        "COVID-CT-MetaInfo.csv in the same folder and they are read."
    ),
    expected={Finding.COVID: 349, Finding.OTHER: 397},
)

_LISTS = {(part, kind): f"{part}CT_{kind}.txt" for part in Split for kind in ("COVID", "NonCOVID")}
_NAME_COLUMNS = ("filename", "imagename", "image")
_PATIENT_COLUMNS = ("patientid", "patient")


def _read(folder: Path) -> Imported:
    imported = read_class_folders(INFO, folder / "Images-processed")
    split_of, absent = _official_split(folder)
    patient_of = _patients(folder)
    records = []
    for record in imported.manifest:
        kind, name = record.path.split("/")[0].removeprefix("CT_"), PurePosixPath(record.path)
        # Some copies of the set changed the extension, so names are compared without it.
        split = split_of.pop((kind, name.stem), None)
        patient = patient_of.get(name.stem)
        records.append(
            record.model_copy(
                update={
                    "path": f"Images-processed/{record.path}",
                    "split": split,
                    "patient_id": f"ucsd-{kind.lower()}:{patient}" if patient else None,
                }
            )
        )
    absent += [
        SkippedFile(f"CT_{kind}/{stem}", f"named in the official {split} list")
        for (kind, stem), split in split_of.items()
    ]
    skipped = (SkippedFile(f"Images-processed/{file.name}", file.reason) for file in imported.skipped)
    return Imported(Manifest(folder, tuple(records)), tuple(skipped), tuple(absent))


def _official_split(folder: Path) -> tuple[dict[tuple[str, str], Split], list[SkippedFile]]:
    splits: dict[tuple[str, str], Split] = {}
    absent = []
    for (split, kind), name in _LISTS.items():
        path = folder / "Data-split" / kind / name
        if not path.is_file():
            absent.append(SkippedFile(f"Data-split/{kind}/{name}", "a list of the official split"))
            continue
        for line in read_bytes(path).decode("utf-8", "replace").splitlines():
            if line.strip():
                splits[kind, PurePosixPath(line.strip()).stem] = split
    return splits, absent


def _patients(folder: Path) -> dict[str, str]:
    """Stem of the file name → patient, from the tables about the images as far as they were saved as CSV."""
    patients = {}
    for path in sorted(folder.glob("*MetaInfo*.csv")):
        table = read_table(path)
        columns = {plain_name(column): column for column in table.columns}
        name = next((columns[column] for column in _NAME_COLUMNS if column in columns), None)
        patient = next((columns[column] for column in _PATIENT_COLUMNS if column in columns), None)
        if name and patient:
            patients.update({_stem(row.cells[name]): row.cells[patient] for row in table.rows})
    return patients


def _stem(name: str) -> str:
    """Name without the image extension; the table gives some names without one, and names hold dots."""
    return PurePosixPath(name).stem if name.lower().endswith((".png", ".jpg", ".jpeg")) else name


SOURCE = Source(INFO, holds("Images-processed/CT_COVID", "Images-processed/CT_NonCOVID"), _read)
