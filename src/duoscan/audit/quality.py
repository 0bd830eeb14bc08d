"""Are the images of a manifest fit to be answered? Counts by reason, from the pixels alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run
from duoscan.errors import ImageError
from duoscan.imaging.quality.pixel_checks import why_unfit
from duoscan.imaging.reader import read_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.manifest.records import Manifest

NAME = "quality"
TITLE = "Image quality"
UNREADABLE = "unreadable"
_EXAMPLES = 5


def audit_quality(manifest: Manifest, *, on_image: Callable[[], None] | None = None) -> AuditResult:
    """Count the images that are unfit, by reason.

    Gross faults are found: too small, no contrast, saturated, noise. Whether an image shows a chest is not asked.

    Args:
        manifest: Records whose files are read.
        on_image: Called after each image.
    """
    if not manifest.records:
        return not_run(NAME, TITLE, "The manifest holds no image.")
    counts: Counter[str] = Counter()
    examples: list[tuple[str, ...]] = []
    for record in manifest.records:
        try:
            why = why_unfit(read_image(manifest.file(record)))
        except ImageError as error:
            why = f"{UNREADABLE}: {error}"
        if why is not None:
            kind = why.split(":", 1)[0]
            counts[kind] += 1
            if counts[kind] <= _EXAMPLES:
                examples.append((record.path, why))
        if on_image is not None:
            on_image()
    total, unfit = len(manifest.records), counts.total()
    facts = {"images": total, "unfit": unfit, "by_reason": dict(counts)}
    if not unfit:
        return AuditResult(NAME, TITLE, Level.PASS, (f"No gross fault in {total} images.",), facts)
    reason = f"{unfit} of {total} images are unfit; look at them, and repair or leave them out."
    table = AuditTable(f"Unfit images, at most {_EXAMPLES} a reason", ("path", "reason"), tuple(examples))
    return AuditResult(NAME, TITLE, Level.WARN, (reason,), facts, (table,))
