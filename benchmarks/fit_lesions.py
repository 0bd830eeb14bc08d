"""The lesion network of the CT model: masks of infection by a teacher, on the lungs alone, and a small network.

The lung finder must be there already. The teacher, somebody else's network, is asked for its third class; a slice
whose lungs it did not find is left out. No label is read. The official test part of COVID-CT takes no part.

    python benchmarks/fit_lesions.py DATA --teacher TEACHER.onnx --out src/duoscan/models/lesions-ct.safetensors
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fit_lungs import Grey, open_teacher, slice_classes
from PIL import Image
from safetensors.torch import save_file

from duoscan.formats.reader import read_image
from duoscan.imaging.lung_view import LungFinder, LungView, find_lungs
from duoscan.imaging.preprocess import lung_grey
from duoscan.inference.lung_network import open_finder
from duoscan.inference.shipped import shipped_finder
from duoscan.terms import Modality
from duoscan.training.lung_finder import LungExamples, reduced, train_finder

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = ("ucsd_covid_ct", "sarscov2")
_AGREED, _BEYOND = 0.6, 0.5  # of the lungs shown: least that the teacher found, and most that it found beside


def example(path: Path, finder: LungFinder, ask: Callable[[Grey], Grey]) -> tuple[Grey, Grey] | None:
    """The lungs' view of a slice and the teacher's infection in it; nothing where the teacher missed the lungs."""
    grey = lung_grey(read_image(path))
    view = find_lungs(grey, finder, each=True)
    if view is None:
        return None
    plain = np.where(view.shown, grey, np.float32(grey[view.shown].mean()))
    shown = cut(view.shown.astype(np.float32), view) > 0.5
    lung, infection = (cut(one, view, grey.shape) for one in slice_classes(path, ask))
    found = lung > 0.5
    if (found & shown).sum() < _AGREED * shown.sum() or (found & ~shown).sum() > _BEYOND * shown.sum():
        return None
    return cut(plain, view), infection * shown


def cut(picture: Grey, view: LungView, shape: tuple[int, int] | None = None) -> Grey:
    """The box around the lungs as the network is given it; ``shape`` is the slice's, of a picture of another."""
    image = Image.fromarray(picture)
    if shape is not None:
        image = image.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return reduced(np.asarray(image.crop((view.left, view.top, view.right, view.bottom))))


def main() -> None:
    """Gather, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", default="", help="a source to leave out, to see what is left at it")
    asked = parser.parse_args()
    path = shipped_finder(Modality.CT)
    finder, ask = open_finder(path.read_bytes(), path), open_teacher(asked.teacher)
    with (asked.data / "ct.csv").open(encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] in SOURCES and row["split"] != "test"]
    rows = [row for row in rows if row["source"] != asked.without]
    with ThreadPoolExecutor(2) as pool:
        found = [one for one in pool.map(lambda row: example(asked.data / row["path"], finder, ask), rows) if one]
    greys, lesions = (np.stack(parts).astype(np.float32) for parts in zip(*found, strict=True))
    network = train_finder(
        LungExamples(greys, lesions, np.ones(len(greys))),
        epochs=18,
        on_epoch=lambda epoch, loss: print(f"epoch {epoch}: loss {loss:.3f}", flush=True),
    )
    state = {name: value.half() if value.ndim > 1 else value for name, value in network.state_dict().items()}
    save_file({name: value.contiguous() for name, value in state.items()}, asked.out)
    print(f"{len(greys)} of {len(rows)} slices, wrote {asked.out}")


if __name__ == "__main__":
    main()
