"""A standing set of files that nobody here made, and what becomes of each: ``tests/cases/standing_files.csv``.

Run as a script, it writes that table again; ``make standing`` does. Files are taken from installed packages alone,
nothing is downloaded, and what tools make is made of those files.
"""

from __future__ import annotations

import csv
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from duoscan.cases.screening import Screener
from duoscan.errors import ImageError, InputError
from duoscan.formats.reader import read_image
from duoscan.terms import Modality
from stand_ins import write_brightness_bundles

TABLE = Path(__file__).parent / "cases" / "standing_files.csv"
_CODE = frozenset({".py", ".pyc", ".pyi", ".m"})


class Row(NamedTuple):
    """What becomes of the images of one file that end alike.

    Attributes:
        maker: The package, with its version, or the tools.
        file: Below the package, or the command that made it.
        read: Whether its pixels are in Hounsfield units, grey, or refused.
        outcome: Of screening the file alone: answered, set aside, unreadable, not read; ``no images`` of none.
        why: Code of the reason.
        images: How many of the file.
    """

    maker: str
    file: str
    read: str
    outcome: str
    why: str
    images: str


@dataclass(frozen=True)
class Package:
    """Files that a package brings.

    Attributes:
        name: As it is installed.
        module: Where its files lie.
        folders: Which of them, below the module.
    """

    name: str
    module: str
    folders: tuple[str, ...]

    @property
    def maker(self) -> str:
        """The name with the version, since another version may bring other files."""
        return f"{self.name} {metadata.version(self.name)}"

    def files(self) -> Iterator[tuple[str, Path]]:
        """Every file, by its place below the package."""
        root = module_folder(self.module)
        for folder in self.folders:
            for path in sorted((root / folder).rglob("*")):
                if path.is_file() and path.suffix not in _CODE:
                    yield path.relative_to(root).as_posix(), path


def module_folder(module: str) -> Path:
    """Where a package lies; it is not imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


PACKAGES = (
    Package("pydicom", "pydicom", ("data",)),
    Package("pynetdicom", "pynetdicom", ("tests/dicom_files",)),
    Package("nibabel", "nibabel", ("tests/data", "nicom/tests/data")),
    Package("matplotlib", "matplotlib", ("mpl-data/sample_data",)),
    Package("scikit-learn", "sklearn", ("datasets/images",)),
)

# Typed in a folder that holds the files named; the last word is what is made.
COMMANDS = {
    "DCMTK": (
        *(f"dcmconv {option} CT_small.dcm out.dcm" for option in ("+ti", "+tb", "+td", "-F", "+e")),
        *(f"dcmcjpeg {option} CT_small.dcm out.dcm" for option in ("+el", "+e1", "+eb", "+ee", "+es", "+ep")),
        *(f"dcmcjpls {option} CT_small.dcm out.dcm" for option in ("+el", "+en")),
        "dcmcjpls +el examples_overlay.dcm out.dcm",
        "dcmcrle CT_small.dcm out.dcm",
        "dcmdjpeg JPGExtended.dcm out.dcm",
        "dcmdrle MR_small_RLE.dcm out.dcm",
        "dcmscale +Sxf 2 CT_small.dcm out.dcm",
        "dcmquant examples_rgb_color.dcm out.dcm",
        "img2dcm grace_hopper.jpg out.dcm",
        "dcmj2pnm +on CT_small.dcm out.png",
        "dcmj2pnm +on2 CT_small.dcm out.png",
        "dcmj2pnm +ot CT_small.dcm out.tif",
        "dcmj2pnm +oj CT_small.dcm out.jpg",
        "dcmj2pnm +ob CT_small.dcm out.bmp",
        "dcmmkdir +r MR700 +D DICOMDIR",
        *(
            f"dcmodify -nb -imt {change} CT_small.dcm"
            for change in (
                *("-m Modality=CR", "-m Modality=DX", "-m Modality=PT", "-ea Modality"),
                *("-m SOPClassUID=1.2.3", "-ea SOPClassUID", "-m SpecificCharacterSet=NONSENSE"),
                *("-ea RescaleIntercept", "-m RescaleSlope=0", "-m RescaleSlope=nan", "-m RescaleSlope=-1"),
                *("-m BitsStored=12", "-m HighBit=14", "-m PixelRepresentation=0", "-m BitsAllocated=8"),
                *("-m Rows=64", "-m Rows=0", "-m Columns=60000", "-m NumberOfFrames=2", "-m SamplesPerPixel=3"),
                *("-m PhotometricInterpretation=MONOCHROME1", "-m PhotometricInterpretation=RGB"),
                *("-ea PixelData", "-ea ImagePositionPatient", "-ea ImageOrientationPatient", "-ea PixelSpacing"),
                *("-i BodyPartExamined=ABDOMEN", "-i BodyPartExamined=CHEST", "-i BodyPartExamined=UNKNOWN"),
                *("-m ImageType=DERIVED", "-m ImageType=ORIGINAL\\\\PRIMARY\\\\LOCALIZER"),
                *("-ea PatientID", "-m PatientID=nan", "-i WindowCenter=2048,0", "-m InstanceNumber=12A"),
            )
        ),
    ),
    "GDCM": (
        *(f"gdcmconv {option} CT_small.dcm out.dcm" for option in ("-M", "-d", "-J", "-K", "-L", "-R")),
        "gdcmconv -L -Y -e 3 CT_small.dcm out.dcm",
        "gdcmconv -K -Y examples_overlay.dcm out.dcm",
        "gdcmconv -w MR_small_jp2klossless.dcm out.dcm",
        "gdcmconv -l examples_palette.dcm out.dcm",
        "gdcmimg grace_hopper.jpg out.dcm",
        "gdcmanon --dumb --remove 10,20 CT_small.dcm out.dcm",
        "gdcmanon --dumb --empty 8,60 CT_small.dcm out.dcm",
        "gdcmanon --dumb --replace 28,1052,-2000 CT_small.dcm out.dcm",
        "gdcmraw CT_small.dcm out.raw",
    ),
    "dicom3tools": (
        "dctopgm8 CT_small.dcm out.pgm",
        "dctopgm8 examples_overlay.dcm out.pgm",
    ),
}
SOURCES = (
    ("pydicom", "data/test_files"),
    ("pydicom", "data/test_files/dicomdirtests/98892003"),
    ("matplotlib", "mpl-data/sample_data"),
)


def tool_of(command: str) -> str | None:
    """The program a command calls, which may come with a package of this environment."""
    tool, _, _ = command.partition(" ")
    return shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def made(command: str, folder: Path) -> Path | None:
    """What a command makes in an empty folder of the files it names; ``None`` where the tool is missing or fails."""
    words = shlex.split(command)
    if (tool := tool_of(command)) is None:
        return None
    for module, place in SOURCES:
        for word in words[1:]:
            source = module_folder(module) / place / word
            if source.is_dir():
                shutil.copytree(source, folder / word)
            elif source.is_file():
                shutil.copy(source, folder)
    done = subprocess.run([tool, *words[1:]], cwd=folder, capture_output=True, check=False, timeout=60)
    out = folder / words[-1]
    return out if done.returncode == 0 and out.exists() else None


def becomes(maker: str, name: str, path: Path, screener: Screener) -> list[Row]:
    """What screening makes of one file, and whether its pixels can be read; a traceback ends it."""
    try:
        read = "HU" if read_image(path).is_hu else "grey"
    except ImageError:
        read = "refused"
    try:
        screening = screener.screen([path], need_ct=True)
    except InputError:
        return [Row(maker, name, read, "no images", "", "0")]
    images = [image for case in screening for image in case.images]
    ends = Counter(
        ("answered" if image.is_answered else str(image.decision), image.reason.code if image.reason else "")
        for image in images
    )
    ends.update({("no images", ""): len(screening.not_images)} if screening.not_images else {})
    return [Row(maker, name, read, how, why, str(count)) for (how, why), count in sorted(ends.items())]


def of_packages(package: Package, screener: Screener) -> list[Row]:
    """What becomes of the files of a package."""
    return [row for name, path in package.files() for row in becomes(package.maker, name, path, screener)]


def of_tools(maker: str, screener: Screener) -> list[Row]:
    """What becomes of what tools make, where they are installed."""
    found: list[Row] = []
    for command in COMMANDS[maker]:
        with TemporaryDirectory() as folder:
            path = made(command, Path(folder))
            found += becomes(maker, command, path, screener) if path else []
    return found


def stand_in_screener(folder: Path) -> Screener:
    """With models that call bright images positive: reading and checks come before any model."""
    bundles = write_brightness_bundles(folder)
    return Screener(bundles[Modality.CXR], bundles[Modality.CT], keep_pixels=False)


def stated() -> list[Row]:
    """The table as it stands."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return [Row(*cells) for cells in list(csv.reader(stream))[1:]]


def main() -> None:
    """Write the table."""
    with TemporaryDirectory() as folder:
        screener = stand_in_screener(Path(folder))
        rows = [row for package in PACKAGES for row in of_packages(package, screener)]
        rows += [row for maker in COMMANDS for row in of_tools(maker, screener)]
    with TABLE.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([Row._fields, *rows])


if __name__ == "__main__":
    main()
