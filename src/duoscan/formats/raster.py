"""Common picture files → grey pixels."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

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
# SampleFormat: 1 is unsigned, also where the tag is missing, 2 signed.
_SAMPLE_FORMAT_TAG = 339
_UNSIGNED, _SIGNED = 1, 2
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
        UnsupportedImageError: Several frames or pages, colour of 16 bits a channel, too small, or blank.
    """
    with open_picture(path) as image:
        check_size(*image.size, path)
        _check_single(image, path)
        _check_depth(image, path)
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
        raise UnreadableImageError(path, _unidentified(path)) from error
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


def _check_depth(image: Image.Image, path: Path) -> None:
    # Pillow has no deep colour: it keeps the upper half of each channel, and 12 bits in 16 become 16 greys.
    is_deep = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    if is_deep and not image.mode.startswith("I"):
        raise UnsupportedImageError(
            path, "colour or transparency of 16 bits a channel, of which half would be lost; save it as 16-bit grey"
        )


def _unidentified(path: Path) -> str:
    with suppress(OSError), path.open("rb") as stream:
        if stream.read(4) in _TIFF_HEADS:
            return "a TIFF of a depth, colour or compression that is not read, or damaged; save it as 8 or 16-bit grey"
    return f"not a picture ({', '.join(_FORMATS)}) or its header is damaged; convert it"


def _grey(image: Image.Image) -> NDArray[np.float32]:
    """Decode to grey in [0, 1], shape (H, W)."""
    is_white_zero, sample_format = _tiff_tag(image, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO, _sample_format(image)
    ImageOps.exif_transpose(image, in_place=True)
    deep = _deep_values(image, sample_format)
    if deep is not None:
        values = stretch(deep, float(deep.min()), float(deep.max()))
        return np.subtract(1, values, out=values) if is_white_zero else values
    # Pillow cannot convert LAB; its first channel is the lightness.
    grey = np.asarray(image.getchannel(0) if image.mode == "LAB" else image.convert("L"), dtype=np.float32)
    return np.divide(grey, np.float32(255), out=grey)


def _deep_values(image: Image.Image, sample_format: int | None) -> NDArray[Any] | None:
    """The numbers of a picture that are stretched; ``None`` for greys and colours of 8 bits.

    Pillow reads a TIFF of unsigned 32 bits as signed, and one of signed 8 bits as unsigned.
    """
    if image.mode == "L":
        return np.asarray(image).view(np.int8) if sample_format == _SIGNED else None
    if image.mode == "I" and sample_format == _UNSIGNED:
        return np.asarray(image).view(np.uint32)
    return np.asarray(image) if image.mode == "F" or image.mode.startswith("I") else None


def _sample_format(image: Image.Image) -> int | None:
    """SampleFormat of a TIFF, of its first channel; ``None`` for any other picture."""
    stated = _tiff_tag(image, _SAMPLE_FORMAT_TAG)
    return _UNSIGNED if hasattr(image, "tag_v2") and stated is None else stated and stated[0]


def _tiff_tag(image: Image.Image, tag: int) -> Any:
    return getattr(image, "tag_v2", {}).get(tag)
