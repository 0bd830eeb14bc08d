"""Are the images of a manifest fit to be answered? Counts by reason, from the pixels alone."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run
from duoscan.audit.small_grey import shrunk_grey
from duoscan.errors import ImageError
from duoscan.imaging.contract import Pixels
from duoscan.imaging.quality.check import why_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from duoscan.manifest.records import ImageRecord, Manifest

NAME = "quality"
TITLE = "Image quality"
UNREADABLE = "unreadable"
FEW = 0.01
"""Share of unfit images that the checks reach on sound ones as well; up to it there is no warning."""

_EXAMPLES = 5
_AT_LEAST_PX = 256


def audit_quality(manifest: Manifest, *, on_image: Callable[[], None] | None = None, workers: int = 2) -> AuditResult:
    """Count the images that screening would refuse, by reason, e.g. no chest, rotated, or blurred.

    The same checks as at inference, on copies that are decoded smaller where the file allows it.

    Args:
        manifest: Records whose files are read.
        on_image: Called after each image.
        workers: Threads that read images.
    """
    if not manifest.records:
        return not_run(NAME, TITLE, "The manifest holds no image.")

    def judge(record: ImageRecord) -> str | None:
        try:
            return why_refused(Pixels(shrunk_grey(manifest.file(record), _AT_LEAST_PX)), record.modality)
        except ImageError as error:
            return f"{UNREADABLE}: {error}"

    counts: Counter[str] = Counter()
    examples: list[tuple[str, ...]] = []
    with ThreadPoolExecutor(workers) as pool:
        for record, why in zip(manifest.records, pool.map(judge, manifest.records), strict=True):
            if why is not None:
                kind = why.split(":", 1)[0]
                counts[kind] += 1
                if counts[kind] <= _EXAMPLES:
                    examples.append((record.path, why))
            if on_image is not None:
                on_image()
    total, unfit = len(manifest.records), counts.total()
    facts = {"images": total, "unfit": unfit, "by_reason": dict(counts.most_common())}
    table = AuditTable(f"Unfit images, at most {_EXAMPLES} a reason", ("path", "reason"), tuple(examples))
    tables = (table,) if unfit else ()
    if unfit <= FEW * total:
        reason = f"{unfit} of {total} images look unfit, which is within what the checks refuse of sound ones."
        return AuditResult(NAME, TITLE, Level.PASS, (reason,), facts, tables)
    reason = f"{unfit} of {total} images are unfit; look at them, and repair or leave them out."
    return AuditResult(NAME, TITLE, Level.WARN, (reason,), facts, tables)
