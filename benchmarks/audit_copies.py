"""How many altered copies of real images the audit of copies finds, and what it costs as a data set grows.

python benchmarks/audit_copies.py recall MANIFEST [--images 60]
python benchmarks/audit_copies.py scale [--images 350] [--times 10]
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from duoscan.audit.copies.find import find_copies
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.manifest.table import read_manifest
from duoscan.terms import Modality


def cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Each edge loses 3 to 12 %."""
    left, top, right, bottom = rng.uniform(0.03, 0.12, 4)
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


def compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """JPEG of quality 30 to 70."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(rng.integers(30, 71)))
    return Image.open(io.BytesIO(stream.getvalue())).convert("L")


CHANGES = {
    "compressed": compressed,
    "cropped": cropped,
    "cropped, compressed": lambda image, rng: compressed(cropped(image, rng), rng),
    "half size": lambda image, _: image.resize((image.width // 2, image.height // 2)),
    "contrast": lambda image, _: image.point(lambda value: int(255 * (value / 255) ** 0.6)),
    "mirrored, cropped, compressed": lambda image, rng: compressed(ImageOps.mirror(cropped(image, rng)), rng),
}


def recall(manifest: Manifest, images: int) -> None:
    """Add altered copies of images spread over a manifest, and count those found."""
    rng = np.random.default_rng(0)
    places = np.linspace(0, len(manifest) - 1, min(images, len(manifest))).astype(int)
    originals = [manifest.records[place] for place in places]
    with tempfile.TemporaryDirectory() as folder:
        rows = [one.model_copy(update={"path": str(manifest.file(one).resolve())}) for one in originals]
        planted = []
        for number, original in enumerate(rows):
            for name, change in CHANGES.items():
                path = f"{folder}/{number} {name}.png"
                with Image.open(original.path) as image:
                    change(image.convert("L"), rng).save(path)
                planted.append((name, original.path, path))
        records = rows + [rows[0].model_copy(update={"path": path}) for _, _, path in planted]
        groups = find_copies(Manifest(Path(folder), tuple(records))).groups
    group_of = {record.path: number for number, group in enumerate(groups) for record in group}
    for name in CHANGES:
        own = [(one, other) for kind, one, other in planted if kind == name]
        found = sum(one in group_of and group_of[one] == group_of.get(other) for one, other in own)
        print(f"{name}: {found} of {len(own)}")


def noise_image(seed: int) -> Image.Image:
    """A made picture with structure of several sizes, 512 × 512."""
    rng = np.random.default_rng(seed)
    total = np.zeros((512, 512))
    for cell in (128, 32, 8, 2):
        small = Image.fromarray(rng.random((512 // cell, 512 // cell)).astype(np.float32))
        total += np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)) * cell**0.5
    return Image.fromarray((255 * (total - total.min()) / np.ptp(total)).astype(np.uint8))


def scale(images: int, times: int) -> None:
    """Time and peak memory at N and ``times`` N made images."""
    for count in (images, images * times):
        with tempfile.TemporaryDirectory() as folder:
            names = [f"{number}.jpg" for number in range(count)]
            for number, name in enumerate(names):
                noise_image(number).save(Path(folder) / name, quality=90)
            records = tuple(ImageRecord(path=name, modality=Modality.CXR) for name in names)
            start = time.perf_counter()
            found = len(find_copies(Manifest(Path(folder), records)).pairs)
            seconds = time.perf_counter() - start
        peaks = [resource.getrusage(who).ru_maxrss / 1e6 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        print(
            f"{count} images: {seconds:.1f} s, {1e3 * seconds / count:.0f} ms each, {found} pairs; "
            f"peak {peaks[0]:.2f} GB here, {peaks[1]:.2f} GB in the largest worker"
        )


def main() -> None:
    """Run what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["recall", "scale"])
    parser.add_argument("manifest", nargs="?")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--times", type=int, default=10)
    options = parser.parse_args()
    if options.what == "recall":
        if options.manifest is None:
            parser.error("recall needs a MANIFEST")
        recall(read_manifest(options.manifest, check_patients=False), options.images)
    else:
        scale(options.images, options.times)


if __name__ == "__main__":
    main()
