"""Three invented hospitals: textured pictures, each unlike the others, whose middle is brighter the sicker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality

SIDE = 96
MIDDLE = {Finding.NORMAL: 0.0, Finding.PNEUMONIA: 0.18, Finding.COVID: 0.36}
PER_CLASS = 10


def picture(number: int, label: Finding, hospital: int) -> Image.Image:
    """Rectangles that no other picture has, the hospital's own exposure, and the disease in the middle."""
    rng = np.random.default_rng([number, hospital])
    grey = np.full((SIDE, SIDE), 0.15 + 0.05 * hospital)
    for _ in range(50):
        top, left = rng.integers(0, SIDE - 8, size=2)
        height, width = rng.integers(4, 24, size=2)
        grey[top : top + height, left : left + width] += rng.normal(0, 0.06)
    grey[30:66, 30:66] += MIDDLE[label] + rng.normal(0, 0.05)
    return Image.fromarray((grey.clip(0, 1) * 255).astype(np.uint8))


def write_hospitals(root: Path, count: int = 3) -> Manifest:
    """Sources ``h0``, ``h1``, …, each with so many patients of every class, one picture each."""
    records = []
    for hospital in range(count):
        for number in range(PER_CLASS * len(MIDDLE)):
            label = list(MIDDLE)[number % len(MIDDLE)]
            path = f"h{hospital}/{number:02d}.png"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            picture(number, label, hospital).save(root / path)
            records.append(
                ImageRecord(
                    path=path,
                    modality=Modality.CXR,
                    label=label,
                    source=f"h{hospital}",
                    patient_id=f"h{hospital}:{number}",
                )
            )
    return Manifest(root, tuple(records))


def plant_copy(manifest: Manifest, path: str, source: str, **changes: object) -> Manifest:
    """Save one picture again, smaller in bytes, as another source's own image of another patient."""
    found = next(record for record in manifest if record.path == path)
    name = f"{source}/copy-of-{path.replace('/', '-')}.jpg"
    with Image.open(manifest.file(found)) as picture:
        picture.save(manifest.root / name, quality=80)
    fields: dict[str, object] = {"path": name, "source": source, "patient_id": f"{source}:copy"}
    return manifest.replace([*manifest, found.model_copy(update=fields | changes)])
