"""Fit what judges the content of an image, and measure it on sources it has not seen.

Usage: ``python benchmarks/fit_input_quality.py --data DIR --pictures DIR [--write] [--test]``.

``--data`` holds the manifests ``cxr.csv`` and ``ct-all.csv`` (see the Makefile). ``--pictures`` holds one folder a
Debian package of pictures, unpacked (``apt-get download NAME; dpkg-deb -x NAME_*.deb DIR/NAME``); none of them is
part of this repository. Fitted on: gnome-backgrounds, mate-backgrounds, ukui-wallpapers, lxqt-themes, desktop-base
(photographs and art), gimp-help-en (screenshots), stellarium-data, khangman,
kgeography-data, marble-data, tuxpaint-stamps-default (drawings, maps, nebulae, cut-out photographs),
invesalius-examples (head CT, its Cranium.inv3 unpacked too). Measured only: plasma-workspace-wallpapers,
opencv-doc, python3-skimage, gnome-user-docs, libreoffice-help-common. Pages of text are drawn here, in the fonts of
fonts-liberation and fonts-dejavu-core for the fit and of fonts-freefont-ttf and fonts-lato to measure.
Faults are made from the images.

Rows of a test split are never fitted or tuned on; ``--test`` measures them, once, with the limits of the package.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.neural_network import MLPClassifier

from duoscan.errors import ImageError
from duoscan.evaluation.intervals import bootstrap
from duoscan.formats.image import Pixels
from duoscan.formats.raster import read_raster
from duoscan.imaging.quality import content
from duoscan.imaging.quality.content import FINE, KINDS, LATERAL, LUNGLESS, OTHER, STATES, ContentModel, Crowd, Network
from duoscan.manifest.table import read_manifest
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import PhantomOptions
from duoscan.terms import Finding, Modality, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord

    Grey = NDArray[np.float32]

FIT_PACKAGES = (
    "gnome-backgrounds", "mate-backgrounds", "ukui-wallpapers", "lxqt-themes", "desktop-base", "gimp-help-en",
    "stellarium-data", "khangman", "kgeography-data", "tuxpaint-stamps-default", "marble-data",
)  # fmt: skip
NEW_PACKAGES = (
    "plasma-workspace-wallpapers",
    "opencv-doc",
    "python3-skimage",
    "gnome-user-docs",
    "libreoffice-help-common",
)
FIT_FONTS, NEW_FONTS = ("fonts-liberation", "fonts-dejavu-core"), ("fonts-freefont-ttf", "fonts-lato")
HEAD_PACKAGE, HEAD_SHAPE = "invesalius-examples", (108, 256, 256)
# LUNA16 slices of the upper abdomen, told by eye: no lung in them.
LUNGLESS_SLICES = ("106164978370116976238911317774", "121824995088859376862458155637", "139713436241461669335487719526")
# A source left out is left out whole; the X-rays and the CT of each fold go together.
HELD_OUT = (("nih/cxr", "sarscov2/ct"), ("ieee8023/cxr", "ieee8023/ct", "luna16/ct"), ("ucsd_covid_ct/ct",))
SUFFIXES, LEAST_BYTES = {".jpg", ".jpeg", ".png", ".webp"}, 6000
MOST_PER_PACKAGE, PAGES, SIDE, COMPONENTS, HIDDEN = 250, 300, 320, 24, 48
# Shares of real images of left-out sources that each limit may refuse; the sum over faults stays under 1 %.
KIND_BUDGET, FAULT_BUDGET, DISTANCE_BUDGET, LEAST_KIND, LEAST_CERTAINTY = 0.001, 0.0005, 0.001, 0.2, 0.5


@dataclass(frozen=True)
class Row:
    """One described image: what it shows, how it is, where from, and whose (for intervals)."""

    features: NDArray[np.float32]
    kind: str
    state: str
    source: str
    unit: str
    is_test: bool = False


@dataclass(frozen=True)
class Item:
    """One image to describe; ``index`` seeds what is done to it."""

    path: str
    kind: str
    source: str
    unit: str
    index: int
    state: str = FINE
    is_test: bool = False


def small(values: Grey) -> Grey:
    """The image with its longer side at most :data:`SIDE`."""
    scale = SIDE / max(values.shape)
    if scale >= 1:
        return values
    size = tuple(max(32, round(side * scale)) for side in values.shape[::-1])
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX), dtype=np.float32)


def cut(values: Grey, rng: np.random.Generator, least: float, most: float) -> Grey:
    """A window of a random share of both sides, anywhere."""
    height, width = (max(32, round(side * rng.uniform(least, most))) for side in values.shape)
    top, left = (
        rng.integers(0, max(1, values.shape[0] - height + 1)),
        rng.integers(0, max(1, values.shape[1] - width + 1)),
    )
    return values[top : top + height, left : left + width]


def blurred(values: Grey, rng: np.random.Generator) -> Grey:
    """Out of focus by 3 to 6 % of the shorter side."""
    radius = rng.uniform(0.03, 0.06) * min(values.shape)
    return (
        np.asarray(
            Image.fromarray((values * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius)), np.float32
        )
        / 255
    )


def lungless(values: Grey, rng: np.random.Generator) -> Grey:
    """A slice as below the lung: what is dark inside the body becomes tissue with some texture."""
    from scipy.ndimage import binary_fill_holes, gaussian_filter

    # Half way to the brightest tissue: a wide window shows lung at a third of it.
    tissue = values > 0.55 * np.quantile(values, 0.9)
    body = binary_fill_holes(tissue)
    level = float(np.median(values[tissue])) if tissue.any() else 0.5
    texture = gaussian_filter(rng.normal(0, 1, values.shape), 1.5) * rng.uniform(0.02, 0.1)
    filled = np.where(body & ~tissue, level + texture, values)
    return np.clip(gaussian_filter(filled, 0.7), 0, 1).astype(np.float32)


FAULTS: dict[str, Callable[[Grey, np.random.Generator], Grey]] = {
    "rotated left": lambda v, _: np.rot90(v),
    "rotated right": lambda v, _: np.rot90(v, -1),
    "upside down": lambda v, rng: np.rot90(v, 2) if rng.random() < 0.5 else v[::-1],
    "inverted": lambda v, _: 1 - v,
    "blurred": blurred,
    "cropped": lambda v, rng: cut(v, rng, 0.3, 0.5),
    "too bright": lambda v, rng: np.clip(v * rng.uniform(2.2, 3.5) + 0.1, 0, 1),
    "too dark": lambda v, rng: np.clip((v - 0.5) * rng.uniform(0.6, 1.2), 0, 1),
}


def widened(values: Grey, rng: np.random.Generator) -> Grey:
    """In a wider window: as Hounsfield units are shown, where air is at 0.23, not at black."""
    lift = rng.uniform(0.1, 0.3)
    return np.asarray(lift + (1 - lift) * values, dtype=np.float32)


def varied(values: Grey, rng: np.random.Generator) -> Grey:
    """A harmless change: mirrored, slightly cropped, another exposure."""
    values = cut(values, rng, 0.88, 1)
    return (values[:, ::-1] if rng.random() < 0.5 else values) ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))


def described(values: Grey) -> NDArray[np.float32]:
    """Features of a grey image."""
    return content.content_features(Pixels(np.ascontiguousarray(values, dtype=np.float32))).astype(np.float32)


def rows_of(item: Item) -> list[Row]:
    """One image as it is, harmlessly changed, and with each fault."""
    rng = np.random.default_rng(item.index)
    try:
        values = small(read_raster(Path(item.path), at_least_px=SIDE).values)
    except ImageError:
        return []

    def row(changed: Grey, kind: str, state: str) -> Row:
        return Row(described(changed), kind, state, item.source, item.unit, item.is_test)

    found = [row(values, item.kind, item.state)]
    if item.kind in {OTHER, LUNGLESS}:
        if min(values.shape) > 100 and not item.source.startswith("new:"):
            found += [row(varied(cut(values, rng, 0.4, 0.9), rng), item.kind, "changed") for _ in range(5)]
            found.append(row(1 - values, OTHER, "changed"))
        return found
    if item.is_test and item.state != FINE:
        return found
    if item.state != FINE:
        return found + [row(varied(values, rng), item.kind, item.state) for _ in range(20)]
    found.append(row(varied(values, rng), item.kind, "varied"))
    modality = Modality(item.kind)
    found += [row(change(values, rng), item.kind, name) for name, change in FAULTS.items() if name in STATES[modality]]
    if modality is Modality.CT:
        found.append(row(values[::-1], item.kind, "varied"))
        found += [row(widened(values, rng), item.kind, "varied") for _ in range(2)]
        for change in (lambda v: v, lambda v: widened(v, rng), lambda v: cut(v, rng, 0.5, 0.9)):
            found.append(row(change(lungless(values, rng)), LUNGLESS, "made"))
    return found


def family(record: ImageRecord) -> str:
    """Where an image came from first: darkcovidnet took its COVID-19 radiographs from ieee8023, the rest from NIH."""
    source = str(record.source)
    if source == "darkcovidnet":
        source = "ieee8023" if record.label is Finding.COVID else "nih"
    return f"{source}/{record.modality}"


def chest_items(data: Path) -> Iterator[Item]:
    """Every chest image of the manifests; half of the side views are only measured."""
    laterals = 0
    for name in ("cxr.csv", "ct-all.csv"):
        manifest = read_manifest(data / name, check_patients=False)
        for index, record in enumerate(manifest):
            unit = record.patient_id or record.group or record.path
            is_test = record.split is Split.TEST
            kind, state, source = record.modality.value, FINE, family(record)
            if record.view == "L":
                laterals += 1
                state, is_test = LATERAL, is_test or laterals % 2 == 0
            if any(part in record.path for part in LUNGLESS_SLICES):
                kind, source = LUNGLESS, "luna16 without lung"
            yield Item(str(manifest.file(record)), kind, source, unit, index, state, is_test)


def phantom_items(folder: Path) -> Iterator[Item]:
    """Invented patients, which the demo screens."""
    sizes = ((24, 192, 384, 101), (12, 96, 128, 102), (12, 64, 64, 103), (12, 256, 512, 104))
    for patients, ct_size, xray_size, seed in sizes:
        options = PhantomOptions(patients=patients, seed=seed, slices=8, ct_size=ct_size, xray_size=xray_size)
        manifest = write_cohort(options, folder / str(seed), workers=2)
        for index, record in enumerate(manifest):
            yield Item(
                str(manifest.file(record)),
                record.modality.value,
                f"phantom/{record.modality}",
                str(record.patient_id),
                index,
            )


def picture_items(pictures: Path, packages: tuple[str, ...], prefix: str) -> Iterator[Item]:
    """Pictures of packages, evenly taken where there are many."""
    for package in packages:
        pictures_of = (path for path in (pictures / package).rglob("*") if path.suffix.lower() in SUFFIXES)
        found = sorted(path for path in pictures_of if path.is_file() and path.stat().st_size > LEAST_BYTES)
        for index, path in enumerate(found[:: max(1, len(found) // MOST_PER_PACKAGE)]):
            yield Item(str(path), OTHER, prefix + package, str(path), index)


def page_items(pictures: Path, fonts: tuple[str, ...], folder: Path, prefix: str) -> Iterator[Item]:
    """Pages of text in random layouts, drawn into ``folder``."""
    rng = np.random.default_rng(len(prefix))
    faces = sorted(path for name in fonts for path in (pictures / name).rglob("*.ttf"))
    words = Path(__file__).read_text(encoding="utf-8").split()
    folder.mkdir()
    for index in range(PAGES if not prefix else PAGES // 3):
        paper, ink = (int(rng.integers(200, 256)), int(rng.integers(0, 80)))
        if rng.random() < 0.2:
            paper, ink = ink, paper
        page = Image.new("L", (int(rng.integers(300, 900)), int(rng.integers(300, 1100))), paper)
        draw, size, margin = ImageDraw.Draw(page), int(rng.integers(9, 48)), int(rng.integers(5, 80))
        face = ImageFont.truetype(str(faces[rng.integers(len(faces))]), size)
        for top in range(margin, page.height - margin, int(size * rng.uniform(1.1, 1.8))):
            if rng.random() < 0.9:
                draw.text((margin, top), " ".join(rng.choice(words, 4 + 400 // size)), ink, font=face)
        path = folder / f"{index}.png"
        page.save(path)
        yield Item(str(path), OTHER, f"{prefix}pages of text", str(path), index)


def head_items(pictures: Path, folder: Path) -> Iterator[Item]:
    """Slices of the head CT of the package, in a bone and a soft window."""
    folder.mkdir()
    for matrix in (pictures / HEAD_PACKAGE).rglob("matrix.dat"):
        volume = np.memmap(matrix, np.int16, "r", shape=HEAD_SHAPE)
        for index in range(0, HEAD_SHAPE[0], 3):
            for low, high in ((-1350, 150), (-100, 200), (-500, 1300)):
                grey = np.clip((volume[index].astype(np.float32) - low) / (high - low), 0, 1)
                path = folder / f"{index}-{low}.png"
                Image.fromarray((grey * 255).astype(np.uint8)).save(path)
                yield Item(str(path), OTHER, "head CT", "head CT", index)


def gather(data: Path, pictures: Path) -> list[Row]:
    """Describe everything."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        items = [
            *chest_items(data),
            *phantom_items(scratch / "phantom"),
            *picture_items(pictures, FIT_PACKAGES, ""),
            *picture_items(pictures, NEW_PACKAGES, "new:"),
            *page_items(pictures, FIT_FONTS, scratch / "pages", ""),
            *page_items(pictures, NEW_FONTS, scratch / "new-pages", "new:"),
            *head_items(pictures, scratch / "head"),
        ]
        with get_context("spawn").Pool(2) as pool:
            return [row for rows in pool.imap(rows_of, items, chunksize=16) for row in rows]


class Table:
    """All rows as arrays."""

    def __init__(self, rows: list[Row]) -> None:
        self.features = np.array([row.features for row in rows])
        self.kind, self.state, self.source, self.unit = (
            np.array([getattr(row, name) for row in rows]) for name in ("kind", "state", "source", "unit")
        )
        self.is_test = np.array([row.is_test for row in rows])
        self.is_new = np.char.startswith(self.source, "new:")


def network(x: Grey, y: NDArray[np.int64], outputs: int) -> Network:
    """Fit one hidden layer; every class counts alike up to a fivefold repeat."""
    rng = np.random.default_rng(0)
    counts = np.bincount(y, minlength=outputs)
    chosen = [
        np.repeat(np.flatnonzero(y == one), min(5, max(1, round(counts.max() / counts[one] / 2))))
        for one in range(outputs)
        if counts[one]
    ]
    order = rng.permutation(np.concatenate(chosen))
    model = MLPClassifier(
        (HIDDEN,), alpha=0.3, batch_size=256, learning_rate_init=2e-3, max_iter=14, random_state=0, tol=0
    )
    model.fit(x[order], y[order])
    outer, bias = np.zeros((HIDDEN, outputs), np.float32), np.full(outputs, -30, np.float32)
    outer[:, model.classes_], bias[model.classes_] = model.coefs_[1], model.intercepts_[1]
    return Network(model.coefs_[0].astype(np.float32), model.intercepts_[0].astype(np.float32), outer, bias)


def fit(table: Table, chosen: NDArray[np.bool_]) -> ContentModel:
    """Networks and crowds of some rows; the limits refuse nothing yet."""
    mean, scale = table.features[chosen].mean(axis=0), table.features[chosen].std(axis=0) + 1e-3
    none = dict.fromkeys(Modality, np.full(len(KINDS), 2, np.float32))
    model = ContentModel(mean, scale, None, {}, {}, none, {}, dict.fromkeys(Modality, np.inf))  # type: ignore[arg-type]
    x = model.standardised(table.features).astype(np.float32)
    kinds = np.array([KINDS.index(kind) for kind in table.kind])
    # What hardly shows a chest any more teaches nothing of what a chest looks like.
    clear = chosen & ~np.isin(table.state, ["blurred", "cropped", "too bright", "too dark"])
    model = replace(model, kind=network(x[clear], kinds[clear], len(KINDS)))
    for modality in Modality:
        names = STATES[modality]
        own = chosen & (table.kind == modality.value)
        state = np.array([names.index(one) if one in names else 0 for one in table.state[own]])
        model.states[modality] = network(x[own], state, len(names))
        crowd = x[own & np.isin(table.state, [FINE, "varied"])]
        centre = crowd.mean(axis=0)
        _, values, axes = np.linalg.svd(crowd - centre, full_matrices=False)
        deviation = values[:COMPONENTS] / np.sqrt(len(crowd))
        model.crowds[modality] = Crowd(centre, (axes[:COMPONENTS] / deviation[:, None]).T.astype(np.float32))
        model.most_fault[modality] = np.full(len(names) - 1, 2, np.float32)
    return model


def real(table: Table, modality: Modality) -> NDArray[np.bool_]:
    """Unchanged frontal or axial images of real chests."""
    return (table.kind == modality.value) & (table.state == FINE) & ~np.char.startswith(table.source, "phantom")


def limits(model: ContentModel, table: Table, folds: list[tuple[NDArray[np.bool_], ContentModel]]) -> ContentModel:
    """Limits that so few real images of left-out sources pass."""
    most, fault, far = {}, {}, {}
    for modality in Modality:
        kind, shares, distance = [], [], []
        for left_out, fold in folds:
            x = fold.standardised(table.features[left_out & real(table, modality)])
            kind.append(fold.kind(x))
            shares.append(fold.states[modality](x)[:, 1:])
            distance.append(fold.crowds[modality].distance(x))
        highest = np.quantile(np.concatenate(kind), 1 - KIND_BUDGET, axis=0)
        most[modality] = np.maximum(LEAST_KIND, highest).astype(np.float32)
        most[modality][KINDS.index(modality.value)] = 1
        fault[modality] = np.maximum(
            LEAST_CERTAINTY, np.quantile(np.concatenate(shares), 1 - FAULT_BUDGET, axis=0)
        ).astype(np.float32)
        far[modality] = float(np.quantile(np.concatenate(distance), 1 - DISTANCE_BUDGET))
    return replace(model, most_kind=most, most_fault=fault, most_distance=far)


class Share:
    """The share of refused images, for the bootstrap."""

    def __init__(self, refused: NDArray[np.bool_]) -> None:
        self.refused = refused.astype(float)

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Under weights of shape (R, N)."""
        return {"refused": weights @ self.refused / weights.sum(axis=1)}

    def denominators(self) -> dict[str, NDArray[np.bool_]]:
        """Over all images."""
        return {"refused": np.ones(len(self.refused), dtype=bool)}


def tell(name: str, refused: list[str | None], units: NDArray[np.str_]) -> None:
    """Print the share refused, with its interval and the commonest reasons."""
    hit = np.array([one is not None for one in refused])
    one = bootstrap(Share(hit), units.tolist())["refused"]
    reasons = [why.split(":")[0] for why in refused if why]
    common = ", ".join(
        f"{reason} {reasons.count(reason)}" for reason in sorted(set(reasons), key=reasons.count)[::-1][:4]
    )
    print(
        f"  {name:<44} {len(hit):5} images  refused {one.value:7.2%} [{one.low:.2%}, {one.high:.2%}]  {common}",
        flush=True,
    )


def measure(table: Table, rows: NDArray[np.bool_], model: ContentModel) -> None:
    """Refusals of some rows, by source and by what was done."""
    for source in np.unique(table.source[rows]):
        of_source = rows & (table.source == source)
        for state in np.unique(table.state[of_source]):
            own = of_source & (table.state == state)
            # A slice without lung is taken for the chest CT it may be given as; other pictures come unsaid.
            told = {OTHER: None, LUNGLESS: Modality.CT}
            said = [told[kind] if kind in told else Modality(kind) for kind in table.kind[own]]
            why = [
                model.why_unfit(one.astype(float), kind) for one, kind in zip(table.features[own], said, strict=True)
            ]
            tell(f"{source}, {state}", why, table.unit[own])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="keep the described rows here between runs")
    parser.add_argument("--write", action="store_true", help="replace the model of the package")
    parser.add_argument("--test", action="store_true", help="measure the test rows with the model of the package")
    arguments = parser.parse_args()
    if arguments.cache and arguments.cache.exists():
        import pickle

        table = pickle.loads(arguments.cache.read_bytes())  # noqa: S301 - made by this script
    else:
        table = Table(gather(arguments.data, arguments.pictures))
        if arguments.cache:
            import pickle

            arguments.cache.write_bytes(pickle.dumps(table))
    print(f"{len(table.source)} rows, {len(np.unique(table.source))} sources", flush=True)
    if arguments.test:
        measure(table, table.is_test, content.content_model())
        return
    usable = ~table.is_test & ~table.is_new
    folds = []
    for sources in HELD_OUT:
        left_out = np.isin(table.source, sources)
        folds.append((left_out & usable, fit(table, usable & ~left_out)))
        print("fitted without", ", ".join(sources), flush=True)
    model = limits(fit(table, usable), table, folds)
    for (left_out, fold), sources in zip(folds, HELD_OUT, strict=True):
        print("left out:", ", ".join(sources))
        measure(
            table,
            left_out,
            replace(fold, most_kind=model.most_kind, most_fault=model.most_fault, most_distance=model.most_distance),
        )
    print("pictures of packages and fonts not used, and the rest of what was used:")
    measure(table, table.is_new, model)
    measure(table, usable & (np.char.startswith(table.source, "phantom") & (table.state == FINE)), model)
    for modality in Modality:
        print(modality, "limits", model.most_kind[modality], model.most_distance[modality], model.most_fault[modality])
    if arguments.write:
        stored = {
            name: values.astype(np.float16 if values.size > 500 else np.float32)
            for name, values in model.arrays().items()
        }
        np.savez_compressed(Path(content.__file__).with_name(content.MODEL_FILE), **stored)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
