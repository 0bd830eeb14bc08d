"""Phantoms, and models that look at one place of them, for the audits that ask a model again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.bundle import Bundle, write_bundle
from duoscan.manifest.records import Manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.faults import Fault
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import POSITIVE, Modality
from stand_ins import brightness_graph, brightness_info

SIZE, PLACES = 64, 16  # pixels a side of images and of the input, places a side of the activation map


def cohort(folder: Path, patients: int, *faults: Fault, seed: int = 41) -> Manifest:
    """X-rays of a phantom cohort, each with its lung mask."""
    options = PhantomOptions(patients, seed=seed, slices=2, ct_size=64, xray_size=SIZE, faults=faults)
    return write_cohort(options, folder).where(modality=Modality.CXR)


def brighten_sick_lungs(manifest: Manifest) -> None:
    """Make the lungs of covid images brighter by a fifth: a sign that lies where the disease does."""
    for record in manifest:
        if record.label is POSITIVE:
            with Image.open(manifest.file(record)) as image:
                grey = np.asarray(image.convert("L"), dtype=np.float32)
            lung = lung_of(manifest, str(record.lung_mask))
            Image.fromarray(np.where(lung, grey + 51, grey).clip(0, 255).astype(np.uint8)).save(manifest.file(record))


def lung_of(manifest: Manifest, mask: str) -> np.ndarray:
    with Image.open(manifest.root / mask) as image:
        return np.asarray(image.convert("L")) > 127


def lung_reader(folder: Path, like: Manifest) -> Bundle:
    """A model of the brightness where the lungs of these phantoms mostly lie; it sees no corner."""
    lungs = np.mean([lung_of(like, str(record.lung_mask)) for record in like], axis=0)
    coarse = lungs.reshape(PLACES, SIZE // PLACES, PLACES, SIZE // PLACES).mean(axis=(1, 3))
    return _bundle(folder / "lung.duoscan", brightness_graph(SIZE, 40, (coarse > 0.6).astype(np.float32), dark=-0.1))


def corner_reader(folder: Path) -> Bundle:
    """A model that calls covid what has a bright spot in the upper left corner."""
    corner = np.zeros((PLACES, PLACES), np.float32)
    corner[:2, :2] = 1
    return _bundle(folder / "corner.duoscan", brightness_graph(SIZE, 2000, corner, dark=0.4, pool="Max"))


def _bundle(path: Path, graph: bytes) -> Bundle:
    contract = PreprocessingContract(modality=Modality.CXR, height=SIZE, width=SIZE, crop_borders=False)
    return write_bundle(path, brightness_info(Modality.CXR, contract=contract), graph)
