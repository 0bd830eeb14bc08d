"""Pictures inside a page."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image


def picture_uri(picture: Image.Image, kind: Literal["PNG", "JPEG"] = "PNG") -> str:
    """A picture in a data URI; in colour a JPEG is a fifth as large."""
    stream = io.BytesIO()
    picture.save(stream, format=kind, optimize=True)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(stream.getvalue()).decode("ascii")
