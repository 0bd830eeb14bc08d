"""Images of the report: samples, augmented samples, and the grid of answers.

Images of patients do not leave without being asked for: they are shown by default only where every one of them is a
phantom, which shows nobody.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.errors import ImageError
from duoscan.evaluation.sample import measurable
from duoscan.formats.reader import read_image
from duoscan.imaging.preprocess import prepare_grey
from duoscan.terms import POSITIVE, Decision, Finding, Split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.evaluation.evaluate import Evaluation
    from duoscan.evidence.making import Part
    from duoscan.evidence.subject import Subject
    from duoscan.manifest.records import ImageRecord
    from duoscan.predictions import Prediction

GRID_IMAGES = 25
SAMPLES_PER_CLASS = 4
AUGMENTED_IMAGES = 3
VIEWS_PER_IMAGE = 5
SIDE_PX = 144  # longer side of a small picture; 25 of them stay below half a megabyte
PHANTOM_PREFIX = "phantom"


@dataclass(frozen=True)
class Picture:
    """A small picture.

    Attributes:
        uri: PNG as a data URI; empty where the image cannot be read.
        alt: What it shows, for those who cannot see it.
        lines: Its caption, line by line.
        is_right: Whether the answer it captions is right; ``None`` where there is none.
    """

    uri: str
    alt: str
    lines: tuple[str, ...]
    is_right: bool | None = None


@dataclass(frozen=True)
class Pictures:
    """All pictures of one subject; empty parts carry their reason.

    Attributes:
        why: Why there are pictures, or none.
        samples: Training images by class.
        augmented: One row an image: as prepared, then views that training may see.
        no_augmented: Why there are none of these.
        grid: Test images with answer and truth.
    """

    why: str
    samples: tuple[Picture, ...] = ()
    augmented: tuple[tuple[Picture, ...], ...] = ()
    no_augmented: str = ""
    grid: tuple[Picture, ...] = ()


def make_pictures(subject: Subject, evaluation: Evaluation, seed: int, *, wanted: bool | None) -> Pictures:
    """The pictures of a subject that may be shown.

    Args:
        subject: A run; a table has no images.
        evaluation: Of its predictions.
        seed: Decides which images are drawn.
        wanted: ``None`` shows them only where all are phantoms.
    """
    if subject.making is None or subject.records is None:
        return Pictures("No images are shown: a predictions table holds none.")
    are_phantoms = all(
        source.startswith(PHANTOM_PREFIX)
        for source in {record.source for record in subject.records} | {row.source or "" for row in subject.predictions}
    )
    if wanted is False or (wanted is None and not are_phantoms):
        reason = "they were asked to be left out" if wanted is False else "images of patients are shown only on request"
        return Pictures(f"No images are shown: {reason} (--with-images shows them).")
    why = "Every image is a synthetic phantom and shows no person."
    if not are_phantoms:
        why = "Images of patients are shown because --with-images was given; pass this file on only as they may be."
    model = subject.making.parts[0]
    chosen = _draw_training(subject, np.random.default_rng([seed, 1]))
    prepared = [(record, _prepare(subject.records.file(record), model)) for record in chosen]
    augmented, problem = _augmented(subject, prepared, seed)
    return Pictures(
        why=why,
        samples=tuple(_sample(record, grey) for record, grey in prepared),
        augmented=augmented,
        no_augmented=problem,
        grid=answer_grid(subject, evaluation, np.random.default_rng([seed, 0])),
    )


def answer_grid(subject: Subject, evaluation: Evaluation, rng: np.random.Generator) -> tuple[Picture, ...]:
    """Answered test images drawn without replacement, in the order of the table.

    Captions are ``N`` (row of the image among the tested ones, from 1), ``P`` (what the model says at the operating
    point) and ``GT`` (the reference), and a word on whether the two agree.
    """
    if subject.making is None:
        return ()
    answered = [place for place, row in enumerate(subject.predictions) if measurable([row])]
    drawn = sorted(rng.choice(answered, size=min(GRID_IMAGES, len(answered)), replace=False).tolist())
    model = subject.making.parts[0]
    return tuple(
        _answer(place + 1, subject.predictions[place], subject.files[place], evaluation, model) for place in drawn
    )


def _answer(number: int, row: Prediction, file: Path | None, evaluation: Evaluation, model: Part) -> Picture:
    threshold = evaluation.threshold
    called = row.decision == Decision.POSITIVE if threshold is None else (row.probability or 0) >= threshold
    is_right = called == (row.label == POSITIVE)
    said = str(POSITIVE) if called else f"not {POSITIVE}"
    grey = None if file is None else _prepare(file, model)
    return Picture(
        uri="" if grey is None else png_uri(grey),
        alt=f"Test image {number}",
        lines=(f"N={number} | P={said} | GT={row.label}",),
        is_right=is_right,
    )


def _draw_training(subject: Subject, rng: np.random.Generator) -> list[ImageRecord]:
    """Some training images of each class, in the order of the classes."""
    chosen: list[ImageRecord] = []
    for label in Finding:
        found = [record for record in subject.records or () if (record.split, record.label) == (Split.TRAIN, label)]
        if found:
            places = rng.choice(len(found), size=min(SAMPLES_PER_CLASS, len(found)), replace=False)
            chosen += [found[place] for place in sorted(places.tolist())]
    return chosen


def _sample(record: ImageRecord, grey: NDArray[np.float32] | None) -> Picture:
    alt = f"Training image of class {record.label}"
    return Picture("" if grey is None else png_uri(grey), alt, (str(record.label), record.source))


def _augmented(
    subject: Subject, prepared: Sequence[tuple[ImageRecord, NDArray[np.float32] | None]], seed: int
) -> tuple[tuple[tuple[Picture, ...], ...], str]:
    """One image of each class beside views that training may see of it, or why there are none."""
    if find_spec("torch") is None:
        return (), "Augmented samples are left out: they need the extra [train], which is not installed here."
    from duoscan.training.augment import augmented_views
    from duoscan.training.recipe import Recipe

    if subject.making is None:
        return (), ""
    try:
        section = Recipe.model_validate(subject.making.info.provenance.recipe).augment
    except ValueError as error:
        return (), f"Augmented samples are left out: this version does not read the run's recipe ({error})."
    rng = np.random.default_rng([seed, 2])
    first = {record.label: (record, grey) for record, grey in reversed(prepared) if grey is not None}
    rows = []
    for record, grey in [first[label] for label in Finding if label in first][:AUGMENTED_IMAGES]:
        copies = np.repeat(grey[None], VIEWS_PER_IMAGE, axis=0)
        views = augmented_views(copies, section, subject.making.info.contract.width, rng)
        shown = [Picture(png_uri(view), f"Augmented view of a {record.label} image", ("augmented",)) for view in views]
        before = Picture(png_uri(grey), f"Prepared {record.label} image", (f"{record.label}, as prepared",))
        rows.append((before, *shown))
    return tuple(rows), ""


def _prepare(file: Path, model: Part) -> NDArray[np.float32] | None:
    """The grey the model gets, or nothing where the file cannot be read."""
    try:
        return prepare_grey(read_image(file), model.info.contract, model.finder)
    except ImageError:
        return None


def png_uri(grey: NDArray[np.float32]) -> str:
    """Grey (H, W) in [0, 1] as a small PNG in a data URI."""
    picture = Image.fromarray((np.clip(grey, 0, 1) * 255).round().astype(np.uint8))
    picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
