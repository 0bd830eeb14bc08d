"""What readers signed → a manifest, to audit, to certify or to train on; only what they said outright counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from duoscan.cases.stored import parse_screening
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.policies.rule import Answer
from duoscan.terms import ANSWERS, POSITIVE, Finding
from duoscan.worklist.store.cases import CaseImage, CaseState, case_images
from duoscan.worklist.store.schema import CASES
from duoscan.worklist.store.signing import Agreement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

    from duoscan.cases.case import CaseAnswer
    from duoscan.worklist.store.store import Store

# Who disagrees with one of two answers names the other. Of "CT needed", of "unreadable", and where a reader cannot say
# or two readers differ, nothing follows for the disease.
_LABELS = {
    (Answer.POSITIVE, Agreement.AGREE): POSITIVE,
    (Answer.POSITIVE, Agreement.DISAGREE): Finding.OTHER,
    (Answer.NEGATIVE, Agreement.AGREE): Finding.OTHER,
    (Answer.NEGATIVE, Agreement.DISAGREE): POSITIVE,
}
SOURCE = "reading room"
_PAGE = 100


def feedback_manifest(store: Store) -> Manifest:
    """The answered images of all signed cases that have a label; paths are relative to the room's folder."""
    with store.database.read() as connection:
        return Manifest(store.root, tuple(_records(connection, store)))


def _records(connection: Connection, store: Store) -> Iterator[ImageRecord]:
    columns = (CASES.c.id, CASES.c.answer, CASES.c.agreement, CASES.c.document)
    last = ""
    while rows := connection.execute(
        select(*columns).where(CASES.c.state == CaseState.SIGNED, CASES.c.id > last).order_by(CASES.c.id).limit(_PAGE)
    ).fetchall():
        for row in rows:
            label = _LABELS.get((row.answer, row.agreement))
            if label is not None and row.document is not None:
                (case,) = parse_screening(row.document.encode(), f"case {row.id}").cases
                stated = f"{row.agreement} with {row.answer}"
                yield from _of_case(case, case_images(connection, row.id), store, label, stated)
        last = rows[-1].id


def _of_case(
    case: CaseAnswer, images: list[CaseImage], store: Store, label: Finding, stated: str
) -> Iterator[ImageRecord]:
    files = {image.name: store.blobs.path(image.blob).relative_to(store.root).as_posix() for image in images}
    for row in case.images:
        if row.decision not in ANSWERS or row.modality is None:
            continue
        name, frame = (row.path, "") if row.path in files else row.path.rsplit("#", 1)
        yield ImageRecord(
            path=f"{files[name]}#{frame}" if frame else files[name],
            modality=row.modality,
            label=label,
            source=SOURCE,
            patient_id=case.patient_id,
            study_id=row.study_id,
            finding=stated,
            original_name=row.path,
        )
