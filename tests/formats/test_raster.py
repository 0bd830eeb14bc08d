from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from duoscan.errors import ImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats.image import Pixels
from duoscan.formats.raster import read_raster

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# 64 wide, 48 high, 0 … 255 along each row: width and height differ, so that a swap shows.
GREY = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))


def save(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_eight_bits_are_divided_by_255(tmp_path: Path, suffix: str) -> None:
    pixels = read_raster(save(Image.fromarray(GREY), tmp_path / f"x.{suffix}"))
    assert pixels.values.dtype == np.float32
    np.testing.assert_allclose(pixels.values, GREY / 255, atol=1e-6)
    assert (pixels.is_hu, pixels.modality, pixels.patient_id) == (False, None, None)


def test_eight_bits_are_not_stretched(tmp_path: Path) -> None:
    # 51 / 255 = 0.2 and 102 / 255 = 0.4.
    half = np.repeat([[51, 102]], 40, axis=0).repeat(20, axis=1).astype(np.uint8)
    values = read_raster(save(Image.fromarray(half), tmp_path / "x.png")).values
    assert values.min() == pytest.approx(0.2)
    assert values.max() == pytest.approx(0.4)


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_formats(tmp_path: Path, suffix: str) -> None:
    values = read_raster(save(Image.fromarray(GREY), tmp_path / f"x.{suffix}", quality=95)).values
    np.testing.assert_allclose(values, GREY / 255, atol=0.03)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "PA", "CMYK", "YCbCr"])
def test_colour_modes_become_grey(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode in {"CMYK", "YCbCr", "PA"} else "png"
    values = read_raster(save(Image.fromarray(GREY).convert(mode), tmp_path / f"x.{suffix}")).values
    assert values.shape == GREY.shape
    np.testing.assert_allclose(values, GREY / 255, atol=0.02)


def test_lab_gives_its_lightness(tmp_path: Path) -> None:
    neutral = Image.new("L", (64, 48), 128)
    image = Image.merge("LAB", (Image.fromarray(GREY), neutral, neutral))
    np.testing.assert_allclose(read_raster(save(image, tmp_path / "x.tif")).values, GREY / 255, atol=1e-6)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    image = Image.fromarray(GREY).convert("RGBA")
    image.putalpha(0)
    np.testing.assert_allclose(read_raster(save(image, tmp_path / "x.png")).values, GREY / 255, atol=1e-6)


def test_one_bit(tmp_path: Path) -> None:
    values = read_raster(save(Image.fromarray(GREY > 127), tmp_path / "x.png")).values
    np.testing.assert_array_equal(values, GREY > 127)


def test_twelve_bits_in_sixteen_are_stretched(tmp_path: Path) -> None:
    # 96 … 4095 of 65,535: the least becomes 0, the most 1, and (2096 - 96) / 3999 = 0.5001 lies between.
    deep = np.full((40, 40), 96, dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 4095, 2096
    values = read_raster(save(Image.fromarray(deep), tmp_path / "x.png")).values
    assert (values[1, 1], values[0, 0]) == (0, 1)
    assert values[0, 1] == pytest.approx(2000 / 3999)


def test_float_tiff_is_stretched(tmp_path: Path) -> None:
    # -1000 … 1000, so 0 lies in the middle.
    deep = np.zeros((40, 40), dtype=np.float32)
    deep[0, 0], deep[0, 1] = -1000, 1000
    values = read_raster(save(Image.fromarray(deep), tmp_path / "x.tif")).values
    assert (values[0, 0], values[0, 1], values[5, 5]) == (0, 1, 0.5)


def test_integer_tiff_is_stretched(tmp_path: Path) -> None:
    deep = np.zeros((40, 40), dtype=np.int32)
    deep[0, 0], deep[0, 1] = -100_000, 300_000
    assert read_raster(save(Image.fromarray(deep), tmp_path / "x.tif")).values[5, 5] == 0.25


def test_white_is_zero_in_a_deep_tiff_is_inverted(tmp_path: Path) -> None:
    deep = np.zeros((40, 40), dtype=np.uint16)
    deep[0, 0] = 4095
    path = save(Image.fromarray(deep), tmp_path / "x.tif")
    # Tag 262 (0x0106), type 3 (SHORT), one value: BlackIsZero (1) is overwritten with WhiteIsZero (0).
    black, white = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert black in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(black, white))
    values = read_raster(path).values
    assert (values[0, 0], values[5, 5]) == (0, 1)


def tiff(values: NDArray[np.generic], order: str, sample_format: int) -> bytes:
    """A plain TIFF of one strip (TIFF 6.0), of depths that Pillow does not write."""
    samples = 1 if values.ndim == 2 else values.shape[2]
    content = values.astype(values.dtype.newbyteorder(order)).tobytes()
    depth = values.dtype.itemsize * 8
    photometric = 1 if samples == 1 else 2
    height, width = values.shape[:2]
    start = 8 + 2 + 10 * 12 + 4
    # Three channels need three depths and three formats, which lie behind the directory.
    many = struct.pack(f"{order}3H3H", *[depth] * 3, *[sample_format] * 3) if samples == 3 else b""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, samples, start if many else depth), (259, 3, 1, 1)]
    entries += [(262, 3, 1, photometric), (273, 4, 1, start + len(many)), (277, 3, 1, samples), (278, 4, 1, height)]
    entries += [(279, 4, 1, len(content)), (339, 3, samples, start + 6 if many else sample_format)]
    directory = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count)
        + (struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value))
        for tag, kind, count, value in entries
    )
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, len(entries))
    return head + directory + bytes(4) + many + content


DEPTHS = {1: ("u1", "u2", "u4", "u8"), 2: ("i1", "i2", "i4"), 3: ("f2", "f4", "f8")}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("sample_format", "kind"), [(code, kind) for code in DEPTHS for kind in DEPTHS[code]])
def test_a_tiff_of_any_depth_is_right_or_refused_by_name(
    tmp_path: Path, order: str, sample_format: int, kind: str
) -> None:
    ramp = np.linspace(0, 1, 1600).reshape(40, 40)
    low, high = (-1000, 1000) if sample_format == 3 else (np.iinfo(kind).min, np.iinfo(kind).max)
    # In extended precision, for the widest integers have more digits than a double.
    values = (ramp.astype(np.longdouble) * (np.longdouble(high) - low) + low).astype(kind)
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(values, order, sample_format))
    if kind in {"u8", "f2", "f8"} or (kind, order) == ("u4", ">"):  # what Pillow does not know
        assert "a TIFF of a depth, colour or compression that is not read" in refusal(path, UnreadableImageError)
    else:
        np.testing.assert_allclose(read_raster(path).values, ramp, atol=0.005)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_deep_colour_is_refused(tmp_path: Path, order: str) -> None:
    """Of 12 bits in 16, Pillow would leave 16 greys, all of them dark."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(np.repeat(np.arange(1600, dtype=np.uint16).reshape(40, 40, 1), 3, axis=2), order, 1))
    assert "colour or transparency of 16 bits a channel" in refusal(path, UnsupportedImageError)


@pytest.mark.parametrize(("code", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_a_png_of_deep_colour_is_refused(tmp_path: Path, code: int, channels: int) -> None:
    rows = np.zeros((40, 1 + 40 * channels * 2), np.uint8)  # each row with its filter, none
    rows[:, 1:] = (
        np.repeat(np.arange(1600, dtype=">u2").reshape(40, 40, 1), channels, axis=2).view(np.uint8).reshape(40, -1)
    )
    path = tmp_path / "x.png"
    path.write_bytes(png_header(40, 40, depth=16, code=code, content=rows.tobytes()))
    assert "colour or transparency of 16 bits a channel" in refusal(path, UnsupportedImageError)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90° to stand upright
    values = read_raster(save(Image.fromarray(GREY), tmp_path / "x.png", exif=exif)).values
    np.testing.assert_allclose(values, np.rot90(GREY, -1) / 255, atol=1e-6)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = save(Image.fromarray(GREY), tmp_path / "x.png").rename(tmp_path / "x.jpg")
    assert read_raster(path).values.shape == GREY.shape


def refusal(path: Path, kind: type[ImageError]) -> str:
    """The one line a file is refused with."""
    with pytest.raises(kind) as caught:
        read_raster(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_refuses_empty_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    assert "empty" in refusal(tmp_path / "x.png", UnreadableImageError)
    assert "No such file" in refusal(tmp_path / "gone.png", UnreadableImageError)
    assert "Is a directory" in refusal(tmp_path, UnreadableImageError)


def test_refuses_what_is_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_text("just text")
    assert "not a picture (JPEG, PNG" in refusal(path, UnreadableImageError)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif", "webp"])
def test_refuses_truncated(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = save(Image.fromarray(noise), tmp_path / f"x.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refusal(path, UnreadableImageError)


@pytest.mark.parametrize("suffix", ["gif", "tif", "png", "webp"])
def test_refuses_several_frames(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.roll(GREY, shift, axis=1)) for shift in (0, 10, 20)]
    path = save(frames[0], tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:])
    assert "several frames or pages; save the one" in refusal(path, UnsupportedImageError)


def png_header(width: int, height: int, *, depth: int = 8, code: int = 0, content: bytes = b"") -> bytes:
    """A PNG that claims a size; without content it holds almost nothing, as a decompression bomb does."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, code, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (5001, 5000),  # 25.005 million: over this project's limit, below Pillow's
        (10_000, 10_000),  # where Pillow warns
        (60_000, 60_000),  # where Pillow raises
    ],
)
def test_refuses_huge_by_its_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(png_header(width, height))
    assert "too large; the limit is 25 million pixels" in refusal(path, UnreadableImageError)


def test_the_largest_size_allowed_is_decoded(tmp_path: Path) -> None:
    # 25 million exactly: not refused by its size, but for having no data.
    path = tmp_path / "x.png"
    path.write_bytes(png_header(5000, 5000))
    assert "truncated" in refusal(path, UnreadableImageError)


def test_refuses_tiny(tmp_path: Path) -> None:
    tiny = Image.fromarray(GREY[:31])
    assert "64 × 31 pixels is too small" in refusal(save(tiny, tmp_path / "x.png"), UnsupportedImageError)
    assert read_raster(save(Image.fromarray(GREY[:32]), tmp_path / "y.png")).values.shape == (32, 64)


@pytest.mark.parametrize("image", [Image.new("L", (40, 40), 7), Image.new("I;16", (40, 40), 7)])
def test_refuses_blank(tmp_path: Path, image: Image.Image) -> None:
    assert "blank" in refusal(save(image, tmp_path / "x.png"), UnsupportedImageError)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_values_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    deep = np.zeros((40, 40), dtype=np.float32)
    deep[0] = (bad, *range(39))
    assert "not finite" in refusal(save(Image.fromarray(deep), tmp_path / "x.tif"), UnreadableImageError)


def encoded(suffix: str) -> bytes:
    stream = io.BytesIO()
    options = {"compression": "tiff_lzw"} if suffix == "TIFF" else {}
    Image.fromarray(GREY).save(stream, suffix, **options)
    return stream.getvalue()


FILES = {suffix: encoded(suffix) for suffix in ("PNG", "JPEG", "TIFF", "GIF", "WEBP", "BMP")}


@settings(max_examples=2 * settings.default.max_examples)
@given(data=st.data())
def test_damage_gives_pixels_or_an_image_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(FILES[data.draw(st.sampled_from(sorted(FILES)))])
    # Most of the structure stands in the first bytes, so they are hit as often as all the rest.
    positions = st.one_of(st.integers(0, 199), st.integers(0, len(content) - 1))
    for position in data.draw(st.lists(positions, max_size=4)):
        content[min(position, len(content) - 1)] = data.draw(st.integers(0, 255))
    path = tmp_path / "x"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        pixels = read_raster(path)
    except ImageError:
        return
    assert isinstance(pixels, Pixels)
    assert pixels.values.ndim == 2
    assert 0 <= pixels.values.min() < pixels.values.max() <= 1
