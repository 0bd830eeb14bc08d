"""The images of a case as a viewer shows them: stacks of slices, each with what was answered of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.cases.case import Screening
    from duoscan.predictions import Prediction
    from duoscan.worklist.store.cases import CaseImage


@dataclass(frozen=True)
class Shown:
    """One image.

    Attributes:
        address: Number of its file in the case, and of its frame, from 1; 0 where the file holds one image.
        name: As a person called it.
        told: What was answered of it, or why not.
        probability: P(covid); ``None`` without an answer.
        spacing_mm: Between rows and between columns; ``None`` where nothing can be measured.
        is_carrying: Whether the study's answer rests on it.
    """

    address: tuple[int, int]
    name: str
    told: str
    probability: float | None
    spacing_mm: tuple[float, float] | None
    is_carrying: bool

    @property
    def data(self) -> dict[str, Any]:
        """For the viewer's script."""
        return {
            "at": f"{self.address[0]}/{self.address[1]}",
            "name": self.name,
            "told": self.told,
            "p": self.probability,
            "mm": self.spacing_mm,
            "carrying": self.is_carrying,
        }


@dataclass(frozen=True)
class Stack:
    """Images to be scrolled through.

    Attributes:
        label: For a person.
        modality: Which side it is shown on.
        images: In order.
    """

    label: str
    modality: Modality
    images: tuple[Shown, ...]

    @property
    def first(self) -> int:
        """Where a reader begins: the image the answer rests on most, else the middle."""
        answered = [(shown.probability or 0, -place) for place, shown in enumerate(self.images) if shown.is_carrying]
        return -max(answered)[1] if answered else len(self.images) // 2


def stacks_of(images: Sequence[CaseImage], screening: Screening | None) -> list[Stack]:
    """All stacks; what carries the answer comes first.

    Args:
        images: In order.
        screening: As stored; ``None`` before there is one, when only DICOM files say what they are.
    """
    (case,) = screening.cases if screening else (None,)
    rows: dict[str, Prediction] = {row.path: row for row in case.images} if case else {}
    carrying = {name for study in case.studies for name in study.carrying} if case else set()
    grouped: dict[tuple[Modality, str, str], list[Shown]] = {}
    labels: dict[tuple[Modality, str, str], str] = {}
    for number, image in enumerate(images):
        for frame in range(1, image.frames + 1) if image.frames > 1 else [0]:
            name = f"{image.name}#{frame}" if frame else image.name
            row = rows.get(name)
            modality = (row.modality if row else None) or _stated(image)
            key = (modality, image.study, image.series or ("" if modality is Modality.CT else image.name))
            spacing = (image.row_spacing_mm or 0, image.column_spacing_mm or 0)
            shown = Shown(
                (number, frame),
                name,
                _told(row),
                row.probability if row else None,
                spacing if min(spacing) > 0 else None,
                name in carrying,
            )
            grouped.setdefault(key, []).append(shown)
            labels.setdefault(key, image.described or (image.name if modality is Modality.CXR else "images"))
    stacks = [Stack(labels[key], key[0], tuple(found)) for key, found in grouped.items()]
    return sorted(stacks, key=lambda one: (not any(shown.is_carrying for shown in one.images), -len(one.images)))


def _stated(image: CaseImage) -> Modality:
    """What is not known yet is shown beside the radiographs."""
    return Modality(image.modality) if image.modality else Modality.CXR


def _told(row: Prediction | None) -> str:
    if row is None:
        return "not answered yet"
    if row.probability is not None:
        return f"P = {row.probability:.3f}, {row.decision}"
    return f"{row.decision}: {row.reason.text}" if row.reason else str(row.decision)
