"""The pictures of a case, by number: what a person called a file never becomes part of an address."""

from __future__ import annotations

from starlette.responses import Response

from duoscan.errors import ImageError
from duoscan.formats.frame_names import frame_path
from duoscan.interfaces.serve.case_pages import known_case
from duoscan.interfaces.serve.permissions import Action
from duoscan.interfaces.serve.rendering import Window
from duoscan.interfaces.serve.room import Endpoint, Refusal, Visit
from duoscan.worklist.store.cases import CaseImage, case_images, read_screening_of

_HELD_BY_BROWSER = {"Cache-Control": "private, max-age=3600"}


def slice_picture(visit: Visit) -> Response:
    """A slice through a window."""
    window = Window.parse(visit.query)
    with visit.room.store.database.read() as connection:
        image, frame = _image(visit, case_images(connection, known_case(connection, visit).id))
    path = visit.room.store.blobs.path(image.blob)
    try:
        drawn = visit.room.renderer.slice(frame_path(path, frame) if frame else path, window)
    except ImageError as error:
        raise Refusal(422, error.text) from error
    return Response(drawn, media_type="image/png", headers=_HELD_BY_BROWSER)


def heat_picture(visit: Visit) -> Response:
    """Where the model looked."""
    with visit.room.store.database.read() as connection:
        case = known_case(connection, visit)
        image, frame = _image(visit, case_images(connection, case.id))
        found = read_screening_of(connection, case.id)
    screening, maps = found or (None, None)
    if screening is None or maps is None:
        raise Refusal(404, "the case has no activation map yet")
    name = f"{image.name}#{frame}" if frame else image.name
    activation = visit.room.renderer.maps(visit.room.store.blobs.path(maps)).get(name)
    row = next((row for row in screening.cases[0].images if row.path == name), None)
    if activation is None or row is None or row.modality is None:
        raise Refusal(404, "no model answered this image, so there is no activation map of it")
    path = visit.room.store.blobs.path(image.blob)
    try:
        drawn = visit.room.renderer.heat(
            frame_path(path, frame) if frame else path,
            activation,
            screening.model(row.modality).contract,
            f"heat {maps} {name}",
        )
    except ImageError as error:
        raise Refusal(422, error.text) from error
    return Response(drawn, media_type="image/png", headers=_HELD_BY_BROWSER)


def _image(visit: Visit, images: list[CaseImage]) -> tuple[CaseImage, int]:
    number, frame = (str(visit.path[name]) for name in ("number", "frame"))
    if not all(text.isascii() and text.isdecimal() and len(text) < 7 for text in (number, frame)):
        raise Refusal(404, "no such image")
    if int(number) >= len(images) or int(frame) > images[int(number)].frames:
        raise Refusal(404, "no such image")
    return images[int(number)], int(frame)


ENDPOINTS = (
    Endpoint("GET", "/cases/{case}/images/{number}/{frame}", Action.LOOK, slice_picture),
    Endpoint("GET", "/cases/{case}/heat/{number}/{frame}", Action.LOOK, heat_picture),
)
