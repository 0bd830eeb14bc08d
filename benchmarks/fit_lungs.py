"""The lung finders that come with the package: masks of three kinds gathered, a small network trained, Dice stated.

Needs DATA (cxr.csv, cxr_siim.csv, ct.csv, ct_drenet.csv with their images and lung masks) and, for the pictures that
nobody drew a mask for, two teachers as ONNX files: third parties' networks, which are asked here and go nowhere else.
Their masks are taken only where they have the shape of two lungs. Phantoms, whose lungs are known, are drawn beside.

    python benchmarks/fit_lungs.py DATA --modality cxr --teacher TEACHER.onnx --out src/duoscan/models/lungs-cxr.onnx
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import onnxruntime
from PIL import Image, ImageOps
from scipy import ndimage

from duoscan.formats.reader import read_image
from duoscan.imaging.lung_view import lung_regions
from duoscan.imaging.preprocess import lung_grey
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.training.lung_finder import LungExamples, dice, finder_graph, reduced, train_finder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Grey = NDArray[np.float32]

_TEACHER_SIDE = {"cxr": 400, "ct": 256}
_TABLES = {"cxr": ("cxr.csv", "cxr_siim.csv"), "ct": ("ct.csv", "ct_drenet.csv")}
_CT_FIGURES = 630  # of COVID-CT and SARS-CoV-2; the teacher needs 0.3 to 0.6 s for each
_PHANTOMS = 60


@dataclass(frozen=True)
class Example:
    """A picture, its lungs, who says so, and how often it is drawn beside the others."""

    grey: Grey
    lung: Grey
    told_by: str
    unit: str
    weight: float


def read_grey(path: Path) -> Grey:
    """A picture as a finder is given it."""
    return reduced(lung_grey(read_image(path)))


def read_mask(path: Path) -> Grey:
    """A drawn mask as a finder should give it."""
    with Image.open(path) as image:
        return reduced((np.asarray(image.convert("L")) > 127).astype(np.float32))


def open_teacher(path: Path) -> Callable[[NDArray[np.float32]], Grey]:
    """Somebody else's network, NHWC, one picture at a time → its classes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def ask(picture: NDArray[np.float32]) -> Grey:
        found: Grey = session.run(None, {name: picture[None, :, :, None]})[0][0]
        return found

    return ask


def radiograph_by_teacher(path: Path, ask: Callable[[NDArray[np.float32]], Grey]) -> Grey:
    """Probability of lung: the teacher's first class, on evenly spread greys in [-1, 1]."""
    side = _TEACHER_SIDE["cxr"]
    with Image.open(path) as image:
        even = ImageOps.equalize(image.convert("L").resize((side, side), Image.Resampling.BILINEAR))
    return reduced(ask(np.asarray(even, np.float32) / 127.5 - 1)[..., 0])


def slice_classes(path: Path, ask: Callable[[NDArray[np.float32]], Grey]) -> tuple[Grey, Grey]:
    """Lung with infection, and infection: the teacher's second and third class, on the body scaled to [0, 1]."""
    side = _TEACHER_SIDE["ct"]
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR), np.float32)
    level, _ = cv2.threshold(grey.astype(np.uint8), 0, 255, cv2.THRESH_OTSU)
    body = ndimage.binary_fill_holes(largest(grey > level))
    low, high = grey[body].min(), grey[body].max()
    scaled = np.where(body, (grey - low) / max(1.0, high - low), 0).astype(np.float32)
    found = ask(scaled)
    return reduced(found[..., 1:].sum(axis=-1)), reduced(np.ascontiguousarray(found[..., 2]))


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest region of a mask; all where it has none."""
    labels, count = ndimage.label(mask)
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]) if count else np.ones_like(mask)


def air_in_body(grey: Grey) -> NDArray[np.bool_]:
    """What is dark inside the bright body of a slice and does not lie along the picture's edge."""
    eight = (grey * 255).astype(np.uint8)
    level, _ = cv2.threshold(cv2.GaussianBlur(eight, (3, 3), 0), 0, 255, cv2.THRESH_OTSU)
    labels, count = ndimage.label(~largest(eight > level))
    edge = np.ones_like(labels, bool)
    edge[1:-1, 1:-1] = False
    held = [number for number in range(1, count + 1) if (labels == number).mean() >= 0.01]
    inside = [number for number in held if (edge & (labels == number)).sum() <= 0.08 * edge.sum()]
    return np.isin(labels, inside)


def smoothed(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Vessels and consolidation closed, specks gone."""
    disc = [cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)) for side in (7, 3)]
    closed = ndimage.binary_fill_holes(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, disc[0]) > 0)
    return np.asarray(cv2.morphologyEx(closed.astype(np.uint8), cv2.MORPH_OPEN, disc[1]) > 0)


def is_pair(mask: NDArray[np.bool_], *, least: float, balance: float, solid: float, apart_px: int) -> bool:
    """Whether a mask is two regions of like size, side by side, without deep bays, and little else."""
    regions = lung_regions(mask)
    if len(regions) != 2:
        return False
    areas = [float(region.mean()) for region in regions]
    middles = [float(np.nonzero(region)[1].mean()) for region in regions]
    return (
        least < sum(areas) < 0.7
        and min(areas) / max(areas) > balance
        and min(map(solidity, regions)) > solid
        and abs(middles[0] - middles[1]) > apart_px
        and float(mask.mean()) - sum(areas) < 0.08 * float(mask.mean())
    )


def solidity(region: NDArray[np.bool_]) -> float:
    """Area as a share of that of the convex hull."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return float(region.sum()) / max(1.0, cv2.contourArea(cv2.convexHull(np.vstack(outlines))))


def radiographs(data: Path, ask: Callable[[NDArray[np.float32]], Grey]) -> Iterator[Example]:
    """Drawn masks where there are any, else the teacher's."""
    rows = [row for table in _TABLES["cxr"] for row in csv.DictReader((data / table).open(encoding="utf-8"))]

    def example(row: dict[str, str]) -> Example | None:
        path, unit = data / row["path"], row["patient_id"] or row["path"]
        if row.get("lung_mask"):
            return Example(read_grey(path), read_mask(data / row["lung_mask"]), "a person", unit, 2.0)
        lung = radiograph_by_teacher(path, ask)
        if not is_pair(lung > 0.5, least=0.08, balance=0.35, solid=0.8, apart_px=20):
            return None
        return Example(read_grey(path), lung, "teacher", unit, 1.0)

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(example, [row for row in rows if row["view"] != "L"]))


def slices(data: Path, ask: Callable[[NDArray[np.float32]], Grey]) -> Iterator[Example]:
    """Figures by teacher and by density together; what publishers cut out is its own mask; a real series by density."""
    rows = [row for row in csv.DictReader((data / "ct.csv").open(encoding="utf-8")) if row["split"] != "test"]
    rows = [row for row in rows if row["source"] in {"ucsd_covid_ct", "sarscov2", "luna16"}]
    chosen = np.random.default_rng(0).permutation(len(rows))[:_CT_FIGURES]
    shape = {"least": 0.06, "balance": 0.3, "solid": 0.72, "apart_px": 25}

    def figure(row: dict[str, str]) -> Example | None:
        grey = read_grey(data / row["path"])
        air, taught = air_in_body(grey), slice_classes(data / row["path"], ask)[0] > 0.5
        found = next((mask for mask in (smoothed(air | taught), smoothed(air)) if is_pair(mask, **shape)), None)
        return None if found is None else Example(grey, found.astype(np.float32), "teacher", row["path"], 1.0)

    with ThreadPoolExecutor(2) as pool:
        yield from filter(None, pool.map(figure, [rows[place] for place in chosen]))
    for row in csv.DictReader((data / "ct_drenet.csv").open(encoding="utf-8")):
        grey = read_grey(data / row["path"])
        regions = lung_regions(smoothed(grey > 0.12))
        if regions:
            yield Example(grey, np.logical_or.reduce(regions).astype(np.float32), "cut out", row["patient_id"], 0.25)
    for path in sorted((data / "dicom_series").rglob("*")):
        if path.is_file():
            grey = read_grey(path)
            if is_pair(found := smoothed(air_in_body(grey)), **shape):
                yield Example(grey, found.astype(np.float32), "density", path.parent.name, 1.0)


def phantoms(modality: str) -> Iterator[Example]:
    """Images of nobody, whose lungs are known."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder)
        write_cohort(PhantomOptions(patients=_PHANTOMS, seed=9, slices=8), cohort)
        for row in csv.DictReader((cohort / "manifest.csv").open(encoding="utf-8")):
            if row["modality"] == modality:
                grey = read_grey(cohort / row["path"])
                lung = read_mask(cohort / row["lung_mask"]) if row["lung_mask"] else np.zeros_like(grey)
                yield Example(grey, lung, "phantom", row["patient_id"], 0.25)


def main() -> None:
    """Gather, train, state how well, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--modality", choices=("cxr", "ct"), required=True)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=0, help="0: 9 for radiographs, 22 for slices")
    asked = parser.parse_args()
    gather = radiographs if asked.modality == "cxr" else slices
    examples = [*gather(asked.data, open_teacher(asked.teacher)), *phantoms(asked.modality)]
    units = sorted({one.unit for one in examples})
    held = set(np.random.default_rng(0).permutation(units)[: len(units) // 10].tolist())
    learned = [one for one in examples if one.unit not in held]
    stacked = [np.stack([getattr(one, name) for one in learned]) for name in ("grey", "lung")]
    start = time.process_time()
    network = train_finder(
        LungExamples(*stacked, np.array([one.weight for one in learned])),
        epochs=asked.epochs or {"cxr": 9, "ct": 22}[asked.modality],
        on_epoch=lambda epoch, loss: print(f"epoch {epoch}: loss {loss:.3f}", flush=True),
    )
    graph = finder_graph(network)
    asked.out.write_bytes(graph)
    print(f"{len(learned)} examples, {time.process_time() - start:.0f} s of processor time, {len(graph):,} bytes")
    state(graph, [one for one in examples if one.unit in held])


def state(graph: bytes, held: list[Example]) -> None:
    """Dice on units that were held out, by who drew the mask, and what a picture costs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    start = time.process_time()
    found = [session.run(None, {"images": one.grey[None, None]})[0][0, 0] > 0.5 for one in held]
    spent_ms = (time.process_time() - start) * 1000 / len(held)
    for teller in sorted({one.told_by for one in held}):
        own = [dice(mask, one.lung > 0.5) for mask, one in zip(found, held, strict=True) if one.told_by == teller]
        low, middle, high = np.quantile(own, (0.1, 0.5, 0.9))
        print(f"{teller}: Dice {middle:.3f} (a tenth below {low:.3f}, a tenth above {high:.3f}), {len(own)} pictures")
    print(f"{spent_ms:.1f} ms of processor time a picture")


if __name__ == "__main__":
    main()
