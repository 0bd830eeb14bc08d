"""Common picture files → grey pixels."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from duoscan.errors import ImageError, UnreadableImageError, UnsupportedImageError
from duoscan.files import open_bounded
from duoscan.formats.image import Pixels
from duoscan.formats.limits import TOO_LARGE, check_contrast, check_file, check_pixels, check_size, stretch
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

RASTER_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp"})

_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP")

# TIFF 6.0, PhotometricInterpretation: 0 is WhiteIsZero. Pillow inverts it for 8 bits only.
_PHOTOMETRIC_TAG = 262
_WHITE_IS_ZERO = 0


def read_raster(path: Path, *, at_least_px: int | None = None) -> Pixels:
    """Read a picture file as grey in [0, 1]; what made the image is not known.

    Eight-bit values are divided by 255. Deeper and floating-point values are stretched from their smallest to
    their largest, because the container does not tell the depth of its content: a 12-bit radiograph in a
    16-bit PNG divided by 65,535 would be almost black. Colour becomes luma, transparency is dropped, and the
    orientation that a camera noted in EXIF is applied.

    Args:
        path: The file.
        at_least_px: Where a JPEG can be decoded at a half, quarter or eighth of its size for less work, do so
            while both sides keep this many pixels. Never for what a model is to see.

    Raises:
        UnreadableImageError: Missing, empty, damaged, too large, or not one of the formats.
        UnsupportedImageError: Several frames or pages, too small, or blank.
    """
    with open_picture(path) as image:
        check_size(*image.size, path)
        _check_single(image, path)
        if at_least_px is not None:
            image.draft("L", (at_least_px, at_least_px))
        values = _grey(image)
    check_contrast(values, path)
    return Pixels(values)


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """A picture of a known format that is not too large; what goes wrong inside becomes an ``ImageError``.

    Only its header is read before the block.

    Raises:
        UnreadableImageError: Missing, empty, damaged, too large, or not one of the formats.
    """
    try:
        check_file(path)
        with quiet, open_bounded(path) as stream, Image.open(stream, formats=_FORMATS) as image:
            check_pixels(*image.size, path)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        text = f"not a picture ({', '.join(_FORMATS)}) or its header is damaged; convert it"
        raise UnreadableImageError(path, text) from error
    except Image.DecompressionBombError as error:
        raise UnreadableImageError(path, TOO_LARGE) from error
    except OSError as error:
        reason = error.strerror or "damaged or truncated"
        raise UnreadableImageError(path, f"cannot be read ({reason}); copy or export it again") from error
    except Exception as error:
        # Decoders meet damage with errors of many types, and none of them may stop a batch.
        text = f"damaged picture ({type(error).__name__}); copy or export it again"
        raise UnreadableImageError(path, text) from error


def _check_single(image: Image.Image, path: Path) -> None:
    # Counting the frames would read them all.
    if getattr(image, "is_animated", False):
        raise UnsupportedImageError(
            path, "holds several frames or pages; save the one to be read as a picture of its own"
        )


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Decode to grey in [0, 1], shape (H, W)."""
    is_white_zero = _is_white_zero(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "F" or image.mode.startswith("I"):
        deep = np.asarray(image, dtype=np.float64 if image.mode == "F" else None)
        values = stretch(deep, float(deep.min()), float(deep.max()))
        return np.subtract(1, values, out=values) if is_white_zero else values
    # Pillow cannot convert LAB; its first channel is the lightness.
    grey = np.asarray(image.getchannel(0) if image.mode == "LAB" else image.convert("L"), dtype=np.float32)
    return np.divide(grey, np.float32(255), out=grey)


def _is_white_zero(image: Image.Image) -> bool:
    tags = getattr(image, "tag_v2", {})
    return bool(tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO)
