"""The COVID-19 image data collection of Cohen et al.: radiographs and some CT with a table about each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.manifest.cells import read_table
from duoscan.manifest.readers.found import RASTER_SUFFIXES, Imported, SkippedFile, relative_name, walk
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.sources.source import Source, SourceInfo, holds
from duoscan.names import modality_named
from duoscan.terms import Finding, Modality

if TYPE_CHECKING:
    from pathlib import Path

INFO = SourceInfo(
    name="ieee8023",
    title="COVID-19 Image Data Collection",
    modalities=(Modality.CXR, Modality.CT),
    licence="for each image, in the column license of metadata.csv; many state none",
    citation=(
        "Cohen, Morrison, Dao. COVID-19 image data collection. arXiv:2003.11597, 2020; Cohen et al. COVID-19 image "
        "data collection: prospective predictions are the future. arXiv:2006.11988, 2020"
    ),
    where="https://github.com/ieee8023/covid-chestxray-dataset",
    layout="metadata.csv and the folder images",
    caution=(
        "Almost no normals, so it cannot give a fair test alone. Images cropped from papers, with arrows and text. "
        "A finding of 'todo' or 'Unknown' is no label and is left empty."
    ),
    counted="no fixed release: it kept growing",
)

_UNLABELLED = frozenset({"", "todo", "unknown"})
# Findings that are neither normal nor a pneumonia. ARDS is a state that many diseases lead to.
_OTHER = frozenset({"ards", "tuberculosis", "other"})
_CT_VIEWS = frozenset({"ct", "axial", "coronal"})


def finding_of(text: str) -> Finding | None:
    """Our label for a finding of the collection, in its early (``COVID-19, ARDS``) or late spelling.

    Late versions write a path, e.g. ``Pneumonia/Viral/COVID-19``. SARS, MERS and named germs are pneumonia.

    >>> finding_of("Pneumonia/Viral/COVID-19"), finding_of("No Finding"), finding_of("SARS"), finding_of("todo")
    (<Finding.COVID: 'covid'>, <Finding.NORMAL: 'normal'>, <Finding.PNEUMONIA: 'pneumonia'>, None)
    """
    name = text.strip().lower()
    if name in _UNLABELLED:
        return None
    if "covid-19" in name:
        return Finding.COVID
    if name == "no finding":
        return Finding.NORMAL
    return Finding.OTHER if name in _OTHER else Finding.PNEUMONIA


def rows_of_metadata(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Row numbers and cells of the collection's ``metadata.csv``, column names in lower case.

    Raises:
        ManifestError: It is not that table.
    """
    rows = [(row.number, {name.lower(): cell for name, cell in row.cells.items()}) for row in read_table(path).rows]
    if not {"patientid", "finding", "filename"} <= rows[0][1].keys():
        raise ManifestError(f"{path}: not the collection's table; it should have patientid, finding and filename")
    return rows


def patients_by_file(path: Path) -> dict[str, str]:
    """File name → patient id of the collection; other sets that took images from it use the same names."""
    return {
        cells["filename"]: f"ieee8023:{cells['patientid']}" for _, cells in rows_of_metadata(path) if cells["patientid"]
    }


def _read(folder: Path) -> Imported:
    files, skipped = walk(folder)
    there = {relative_name(file, folder) for file in files}
    records: dict[str, ImageRecord] = {}
    absent = []
    for number, cells in rows_of_metadata(folder / "metadata.csv"):
        name = f"{cells.get('folder') or 'images'}/{cells['filename']}"
        if name in records:
            skipped.append(SkippedFile(f"metadata.csv row {number}", f"'{name}' stands in an earlier row"))
        elif name not in there:
            absent.append(SkippedFile(name, f"named in row {number} of metadata.csv"))
        elif not name.lower().endswith(tuple(RASTER_SUFFIXES)):
            skipped.append(SkippedFile(name, "a volume, not an image"))
        else:
            records[name] = _record_of(name, cells)
    skipped += [
        SkippedFile(name, "not in metadata.csv")
        for name in sorted(there - records.keys())
        if name.startswith("images/") and name.lower().endswith(tuple(RASTER_SUFFIXES))
    ]
    return Imported(Manifest(folder, tuple(records.values())), tuple(skipped), tuple(absent))


def _record_of(name: str, cells: dict[str, str]) -> ImageRecord:
    view = cells.get("view") or None
    # Early versions of the table have no column for the modality and write CT as a view.
    guessed = Modality.CT if (view or "").lower() in _CT_VIEWS else Modality.CXR
    return ImageRecord(
        path=name,
        modality=modality_named(cells.get("modality", "")) or guessed,
        label=finding_of(cells["finding"]),
        source=INFO.name,
        patient_id=f"ieee8023:{cells['patientid']}" if cells["patientid"] else None,
        view=view,
        finding=cells["finding"] or None,
        license=cells.get("license") or None,
    )


SOURCE = Source(INFO, holds("metadata.csv", "images"), _read)
