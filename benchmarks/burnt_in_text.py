"""How often the detector of burnt-in text misses text, and how often it takes an image for text.

    python benchmarks/burnt_in_text.py [--data DIR] [--phantoms 40] [--seed 0]

Misses: lines of three to four words (names, dates, numbers as on film) are drawn onto images without text, one line an
image: of varied height and contrast (or as much as the image's range leaves), light or dark, at any place or in a
corner, in two faces of type, with or without an edge, sharp or after JPEG. A line counts as found where a box of the
detector covers part of it. Phantoms are always there; with ``--data`` real CT slices that came out of scanners as
numbers (luna16 and the DICOM slices), in memory only.

False alarms: the same images with nothing drawn on them. The collections of radiographs have real text and marks on
many images, so what is found there says how much a person would be asked to look at, not how often that is wrong.

Nothing is fitted here. Intervals are 95 %, Clopper and Pearson, one line an image in each cell.
"""

from __future__ import annotations

import argparse
import csv
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import stats

from duoscan.errors import ImageError
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import lung_grey
from duoscan.imaging.quality.burnt_in import text_regions
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

HEIGHTS_PX = (8, 12, 16, 24, 36, 56)
CONTRASTS = (1.0, 0.6, 0.4, 0.25, 0.15)
SURNAMES = ("DOE", "SMITH", "GARCIA", "NGUYEN", "MULLER", "OKAFOR", "Petrov", "Silva", "Khan", "Li")
FORENAMES = ("JANE", "JOHN", "MARIA", "AHMED", "Anna", "Wei", "Olga", "PEDRO")
JPEG_QUALITY = 75
PHANTOMS = 40


@dataclass(frozen=True)
class Line:
    """A line of text as it is drawn."""

    text: str
    height_px: int
    contrast: float
    dark: bool
    corner: bool
    stroked: bool
    edged: bool
    jpeg: bool


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--phantoms", type=int, default=PHANTOMS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sets = dict(phantoms(arguments.phantoms, arguments.seed))
    if arguments.data:
        sets["real CT slices"] = real_slices(arguments.data)
    for name, images in sets.items():
        alarms = sum(bool(text_regions(image)) for image in images)
        print(f"\n{name}: {len(images)} images without text; false alarms {rate(alarms, len(images))}")
        misses(images, arguments.seed)
    if arguments.data:
        print("\nimages of collections that have text on some (to look at):")
        for source in ("darkcovidnet", "ieee8023"):
            found = [bool(text_regions(image)) for image in radiographs(arguments.data, source)]
            print(f"  {source}: {rate(sum(found), len(found))}")


def misses(images: list[Grey], seed: int) -> None:
    """Print the share of lines missed, by height and contrast, then by how they were drawn."""
    rng = np.random.default_rng(seed)
    table: dict[tuple[int, float], list[bool]] = {}
    drawn: list[tuple[Line, bool]] = []
    for height in HEIGHTS_PX:
        for contrast in CONTRASTS:
            for image in images:
                line = some_line(rng, height, contrast)
                missed = not is_found(image, line, rng)
                table.setdefault((height, contrast), []).append(missed)
                drawn.append((line, missed))
    print("  missed, by height (rows) and contrast (columns: share of the image's range)")
    print("  " + "".join(f"{contrast:>24}" for contrast in ("px", *CONTRASTS)))
    for height in HEIGHTS_PX:
        cells = [rate(sum(table[height, contrast]), len(table[height, contrast])) for contrast in CONTRASTS]
        print("  " + "".join(f"{cell:>24}" for cell in (height, *cells)))
    readable = [(line, missed) for line, missed in drawn if line.height_px >= 12 and line.contrast >= 0.4]
    print("  of lines of at least 12 px and 0.4 contrast:")
    for name in ("dark", "corner", "stroked", "edged", "jpeg"):
        for value in (False, True):
            chosen = [missed for line, missed in readable if getattr(line, name) is value]
            print(f"    {name} {value}: missed {rate(sum(chosen), len(chosen))}")
    chosen = [missed for _, missed in readable]
    print(f"    all: missed {rate(sum(chosen), len(chosen))}")


def some_line(rng: np.random.Generator, height_px: int, contrast: float) -> Line:
    """A line with everything but height and contrast by chance."""
    date = f"{rng.integers(1, 29):02d}.{rng.integers(1, 13):02d}.{rng.integers(1930, 2021)}"
    text = f"{rng.choice(SURNAMES)}, {rng.choice(FORENAMES)} {date} {rng.integers(10_000, 999_999)}"
    names = ("dark", "corner", "stroked", "edged", "jpeg")
    flags = {name: bool(flag) for name, flag in zip(names, rng.integers(0, 2, len(names)), strict=True)}
    return Line(text, height_px, contrast, **flags)


def is_found(image: Grey, line: Line, rng: np.random.Generator) -> bool:
    """Draw a line onto a copy and look for it."""
    mask = drawn_mask(line)
    height, width = (min(size) for size in zip(mask.shape, image.shape, strict=True))
    mask = mask[:height, :width]  # a line that is longer than the image is cut, as on film
    free = [side - length for side, length in zip(image.shape, mask.shape, strict=True)]
    if line.corner:
        top, left = (int(room) if rng.integers(0, 2) else 0 for room in free)
    else:
        top, left = (int(rng.integers(0, room + 1)) for room in free)
    area = np.s_[top : top + height, left : left + width]
    picture = image.copy()
    under = picture[area]
    ground = float(np.median(under))
    # Where a step does not fit on the side it should go, it goes as far as it can on the side with more room.
    up = 1 - ground >= line.contrast and not (line.dark and ground >= line.contrast)
    if max(ground, 1 - ground) < line.contrast:
        up = 1 - ground >= ground
    step = min(line.contrast, 1 - ground if up else ground)
    ink = ground + step if up else ground - step
    if line.edged:  # an edge of the other extreme, a pixel wide, as acquisition software draws it
        edge = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        under = under * (1 - edge) + np.float32(ink < ground) * edge
    picture[area] = under * (1 - mask) + ink * mask
    stored = compressed(picture) if line.jpeg else np.rint(picture * 4095).astype(np.uint16)
    return any(
        box.top < top + height and box.bottom > top and box.left < left + width and box.right > left
        for box in text_regions(stored)
    )


def drawn_mask(line: Line) -> Grey:
    """Ink in [0, 1] of a line, cut to its box."""
    if line.stroked:
        face = cv2.FONT_HERSHEY_SIMPLEX
        scale = cv2.getFontScaleFromHeight(face, line.height_px, 1)
        (width, height), below = cv2.getTextSize(line.text, face, scale, 1)
        canvas = np.zeros((height + below + 4, width + 4), np.uint8)
        thick = max(1, round(line.height_px / 12))
        cv2.putText(canvas, line.text, (2, height + 2), face, scale, 255, thick, cv2.LINE_AA)
    else:
        # Capitals of Pillow's own face are about 0.7 of its size.
        font = ImageFont.load_default(line.height_px / 0.7)
        box = font.getbbox(line.text)
        picture = Image.new("L", (round(box[2]) + 4, round(box[3]) + 4))
        ImageDraw.Draw(picture).text((2, 2), line.text, fill=255, font=font)
        canvas = np.asarray(picture)
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    cut = canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return (cut / 255).astype(np.float32)


def compressed(picture: Grey) -> NDArray[np.uint8]:
    """The picture after JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer))


def phantoms(patients: int, seed: int) -> Iterator[tuple[str, list[Grey]]]:
    """X-rays and slices of synthetic patients."""
    options = PhantomOptions(
        patients=patients, seed=seed, slices=8, ct_size=512, xray_size=640, formats=FileFormat.DICOM
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cohort"
        write_cohort(options, out, workers=2)
        files = sorted((out / "dicom").rglob("*.dcm"))
        yield "phantom X-rays", greys(path for path in files if path.name == "cxr.dcm")
        yield "phantom CT slices", greys(path for path in files if path.name == "004.dcm")


def real_slices(data: Path) -> list[Grey]:
    """CT slices that left the scanner as numbers, one of each copy, so that nothing is written into them."""
    files = listed(data, "ct.csv", "luna16")
    files += sorted((data / "dicom" / "ct_ny_sbu").glob("*.dcm")) + sorted(
        (data / "dicom" / "ct_lungmask").glob("*.dcm")
    )
    files += sorted((data / "dicom" / "ct_transfer_syntax").glob("CTImage_LittleEndianExplicit*.dcm"))
    return greys(files)


def radiographs(data: Path, source: str) -> Iterator[Grey]:
    """Radiographs of a collection, as they are."""
    for path in listed(data, "cxr.csv", source):
        yield from greys([path])


def listed(data: Path, table: str, source: str) -> list[Path]:
    """The images of one source."""
    with (data / table).open(encoding="utf-8", newline="") as stream:
        return [data / row["path"] for row in csv.DictReader(stream) if row["source"] == source]


def greys(files: Iterable[Path]) -> list[Grey]:
    """Images in [0, 1]; what cannot be read (a reformat, a wrong syntax) is left out."""
    images = []
    for path in files:
        try:
            images.append(lung_grey(read_image(path)))
        except ImageError:
            continue
    return images


def rate(hits: int, of: int) -> str:
    """A share with its exact interval (Clopper and Pearson, Biometrika 1934)."""
    low = stats.beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return f"{hits / of:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    main()
