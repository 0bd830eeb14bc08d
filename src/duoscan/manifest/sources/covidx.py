"""COVIDx CXR: many X-ray sets joined, with lists that give patient, label, origin and the official split."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import ManifestError
from duoscan.files import read_bytes
from duoscan.manifest.problems import manifest_error
from duoscan.manifest.readers.found import RASTER_SUFFIXES, Imported, SkippedFile, relative_name, walk
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.sources.source import Source, SourceInfo
from duoscan.names import finding_named
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from pathlib import Path

INFO = SourceInfo(
    name="covidx",
    title="COVIDx CXR",
    modalities=(Modality.CXR,),
    licence="those of the sets it joins; see its page",
    citation=(
        "Wang, Lin, Wong. COVID-Net: a tailored deep convolutional neural network design for detection of COVID-19 "
        "cases from chest X-ray images. Sci Rep 10:19549, 2020"
    ),
    where="https://www.kaggle.com/datasets/andyczhao/covidx-cxr2",
    layout="train.txt, test.txt and the folders train and test (later releases also val)",
    caution=(
        "Each origin gives mostly one class, so the source of a record is covidx-<origin>. 'negative' mixes normal "
        "and pneumonia and is read as other. It holds images of the radiography and ieee8023 sets: never test on "
        "one what was trained on the other."
    ),
    expected={Finding.COVID: 16194, Finding.OTHER: 14192},
    counted="COVIDx CXR-3, positive/negative lists",
)

_LABELS = {"positive": Finding.COVID, "negative": Finding.OTHER}
_WORDS_BEFORE_LABEL = 2  # the patient and a file name


def _begins_here(folder: Path) -> bool:
    return (folder / "train").is_dir() and any(folder.glob("train*.txt"))


def _read(folder: Path) -> Imported:
    files, skipped = walk(folder)
    there = {relative_name(file, folder) for file in files}
    records: dict[str, ImageRecord] = {}
    problems: list[str] = []
    absent: list[SkippedFile] = []
    for split in Split:
        for path in _lists(folder, split):
            for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
                record = _record_of(line, split) if line.strip() else None
                if line.strip() and record is None:
                    problems.append(f"{path.name} line {number}: '{line}' is not 'patient file label origin'")
                elif record is not None and record.path not in there:
                    absent.append(SkippedFile(record.path, f"named in line {number} of {path.name}"))
                elif record is not None:
                    records[record.path] = record
    if problems:
        raise manifest_error(f"{folder}: {len(problems)} lines are not those of a COVIDx list", problems)
    skipped += [
        SkippedFile(name, "not in the lists")
        for name in sorted(there - records.keys())
        if name.lower().endswith(tuple(RASTER_SUFFIXES))
    ]
    return Imported(Manifest(folder, tuple(records.values())), tuple(skipped), tuple(absent))


def _lists(folder: Path, split: Split) -> list[Path]:
    found = sorted(folder.glob(f"{split}*.txt"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise ManifestError(f"{folder}: several {split} lists ({names}); keep the one of the release you mean")
    return found


def _record_of(line: str, split: Split) -> ImageRecord | None:
    """A line is ``patient file label origin``, in early lists without the origin; file names may hold spaces."""
    words = line.split()
    with_origin = _label_of(words[-2:-1]) is not None
    label_at = len(words) - (2 if with_origin else 1)
    label = _label_of(words[label_at : label_at + 1])
    if label is None or label_at < _WORDS_BEFORE_LABEL:
        return None
    source = f"covidx-{words[-1]}" if with_origin else INFO.name
    # The collection of Cohen et al. is the ieee8023 set, and its patients have the same numbers there.
    owner = "ieee8023" if source == "covidx-cohen" else source
    return ImageRecord(
        path=f"{split}/{' '.join(words[1:label_at])}",
        modality=Modality.CXR,
        label=label,
        source=source,
        patient_id=f"{owner}:{words[0]}",
        split=split,
        finding=words[label_at],
    )


def _label_of(words: list[str]) -> Finding | None:
    return _LABELS.get(words[0]) or finding_named(words[0]) if words else None


SOURCE = Source(INFO, _begins_here, _read)
