"""A folder of hostile files and two good patients: the good ones are answered, the others named with their reasons.

Each command runs in a process with a limit on its address space and its processor time.
"""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, DeflatedExplicitVRLittleEndian

from duoscan.formats.dicom.guards import MAX_ELEMENT_BYTES
from duoscan.formats.dicom.header import read_dicom_header
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality
from fuzz import seeds

if TYPE_CHECKING:
    from pathlib import Path

resource = pytest.importorskip("resource")

ADDRESS_SPACE_BYTES = 4 * 2**30
RESIDENT_BYTES = 2**30
PROCESSOR_SECONDS = 120

VIEW_CODES = struct.pack("<HH2sHI", 0x0054, 0x0220, b"SQ", 0, 0xFFFFFFFF)
OPEN_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
PRIVATE = struct.pack("<HH2sHI", 0x0029, 0x1001, b"UN", 0, 0xFFFFFFFE)


def hostile_files() -> dict[str, bytes]:
    """Name → content; none may be answered."""
    plain = seeds.dicom()
    deflated = seeds.dicom(syntax=DeflatedExplicitVRLittleEndian)
    start = deflated.index(DeflatedExplicitVRLittleEndian.encode()) + 22
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(300)) + packer.flush()
    place = plain.index(struct.pack("<HH", 0x0028, 0x0002))
    animation = [Image.fromarray(np.full((40, 40), 7 * number, np.uint8)) for number in range(20)]
    frames = io.BytesIO()
    animation[0].save(frames, "GIF", save_all=True, append_images=animation[1:])
    return {
        "aborts-gdcm.dcm": seeds.dicom(
            syntax=JPEG2000, PixelData=encapsulate([b"\xff\x4f\xff\x51" + b"\xff" * 200])
        ),
        "claims-4-gigapixels.dcm": seeds.dicom(Rows=65535, Columns=65535),
        "claims-a-billion-frames.dcm": seeds.dicom(NumberOfFrames=10**9),
        "deflated-bomb.dcm": deflated[:start] + bomb,
        "nested.dcm": plain[:place] + (VIEW_CODES + OPEN_ITEM) * 2_000 + plain[place:],
        "many-items.dcm": plain[:place] + VIEW_CODES + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 400_000,
        "lying-private-length.dcm": plain[:place] + PRIVATE + plain[place:],
        "large-private.dcm": plain[:place] + PRIVATE[:8] + struct.pack("<I", MAX_ELEMENT_BYTES + 2)
        + bytes(MAX_ELEMENT_BYTES + 2) + plain[place:],
        "negative-bits.dcm": seeds.dicom(BitsStored=0xFFFF),
        "bomb.png": _png_header(60_000, 60_000),
        "lying-chunk.png": _png_header(64, 64)[:-12] + struct.pack(">I", 0x7FFFFFFF) + b"IDAT",
        "frames.gif": frames.getvalue(),
        "empty.png": b"",
        "note.txt": b"not an image\n",
        "zeros": bytes(4096),
    }  # fmt: skip


def _png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS, PROCESSOR_SECONDS))


def duoscan(folder: Path, *words: object) -> tuple[int, str, int]:
    """Run a command under the limits: exit code, everything it printed, most memory it held."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "400"}
    # By the command itself: what the kernel counts for a child includes this process, of which it was a copy.
    told = f"atexit.register(lambda: Path({str(folder / 'peak')!r}).write_text(str(peak_bytes())))"
    code = "import atexit; from pathlib import Path; from fuzz.trial import peak_bytes; "
    code += f"{told}; from duoscan.interfaces.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, words)]
    with (folder / "printed").open("w+b") as printed:
        process = subprocess.Popen(
            command,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=_limit,  # noqa: PLW1509
        )
        process.wait()
        printed.seek(0)
        return process.returncode, printed.read().decode("utf-8", "replace"), int((folder / "peak").read_text())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hostile files beside the X-rays of two synthetic patients."""
    root = tmp_path_factory.mktemp("mixed")
    cohort = root / "cohort"
    options = PhantomOptions(patients=2, seed=3, slices=2, ct_size=64, xray_size=256, formats=FileFormat.DICOM)
    write_cohort(options, cohort)
    folder = root / "incoming"
    folder.mkdir()
    good = [path for path in sorted(cohort.rglob("*.dcm")) if read_dicom_header(path).modality is Modality.CXR]
    assert len(good) == 2
    for number, path in enumerate(good):
        (folder / f"good-{number}.dcm").write_bytes(path.read_bytes())
    for name, content in hostile_files().items():
        (folder / name).write_bytes(content)
    (folder / "itself").symlink_to(folder)
    (folder / "nothing.dcm").symlink_to(folder / "is-not-there")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.dcm")
    return folder


def test_a_batch_goes_on(mixed: Path, tmp_path: Path, brightness_bundles: dict[Modality, Path]) -> None:
    bundles = ["--xray-bundle", brightness_bundles[Modality.CXR], "--ct-bundle", brightness_bundles[Modality.CT]]
    code, printed, resident = duoscan(
        tmp_path, "screen", mixed, "--json", tmp_path / "answers.json", "--modality", "cxr", *bundles
    )
    assert code == 1, printed
    assert "Traceback" not in printed
    assert resident < RESIDENT_BYTES
    document = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    images = {
        os.path.basename(image["path"]): image  # noqa: PTH119
        for case in document["cases"]
        for image in (*case.get("others", ()), *(row for study in case.get("studies", ()) for row in study["images"]))
    }
    links = {"itself", "nothing.dcm", *(["pipe.dcm"] if hasattr(os, "mkfifo") else [])}
    assert set(images) == {"good-0.dcm", "good-1.dcm", *hostile_files(), *links} - {"note.txt"}
    assert document["not_images"] == [str(mixed / "note.txt")]
    for name, image in images.items():
        if name.startswith("good"):
            assert image["decision"] in {"positive", "negative"}, image
        else:
            assert image["decision"] == "unreadable", image
            assert len(image["reason"]["text"]) > 20


def test_an_import_goes_on(mixed: Path, tmp_path: Path) -> None:
    code, printed, resident = duoscan(tmp_path, "import", mixed, "--out", tmp_path / "m.csv", "--modality", "cxr")
    assert code == 0, printed
    assert resident < RESIDENT_BYTES
    listed = (tmp_path / "m.csv").read_text(encoding="utf-8")
    assert "good-0.dcm" in listed
    assert "good-1.dcm" in listed
    # What is wrong in the pixels alone is found when they are read; of these three the header is in order.
    by_header = {"aborts-gdcm.dcm", "claims-4-gigapixels.dcm", "claims-a-billion-frames.dcm", "negative-bits.dcm"}
    for name in {*hostile_files(), "nothing.dcm", "pipe.dcm"} - by_header:
        assert name in printed or name in listed, name
        assert not (name in listed and name.endswith((".png", ".gif", ".txt")))


def test_a_table_names_all_its_bad_rows(tmp_path: Path) -> None:
    rows = [f"x{number}.png,{kind}" for number, kind in enumerate(("cxr", "mri", "ct", "\x1b[31m", "../../etc/passwd"))]
    (tmp_path / "m.csv").write_text("path,modality\n" + "\n".join([*rows, "../../../etc/passwd,cxr"]), encoding="utf-8")
    code, printed, _ = duoscan(tmp_path, "import", tmp_path / "m.csv", "--out", tmp_path / "out.csv")
    assert code == 2
    assert all(f"row {number}" in printed for number in (2, 3, 4, 5, 6, 7))
    assert not (tmp_path / "out.csv").exists()
