"""Are the images of a manifest fit to be answered? Counts by reason, from the pixels alone."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duoscan.audit.result import AuditResult, AuditTable, Level, not_run
from duoscan.audit.small_grey import shrunk_grey
from duoscan.errors import ImageError
from duoscan.formats.image import Pixels
from duoscan.imaging.quality.check import why_refused
from duoscan.processes import worker_processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from duoscan.manifest.records import Manifest
    from duoscan.terms import Modality

    Job = tuple[Path, Modality]

NAME = "quality"
TITLE = "Image quality"
UNREADABLE = "unreadable"
FEW = 0.01
"""Share of unfit images that the checks reach on sound ones as well; up to it there is no warning."""

_EXAMPLES = 5
_AT_LEAST_PX = 256

# Small arrays hold the interpreter lock, so threads gain nothing; a process takes half a second to start.
_WORTH_A_POOL = 400
_CHUNK = 32


def audit_quality(manifest: Manifest, *, on_image: Callable[[], None] | None = None, workers: int = 2) -> AuditResult:
    """Count the images that screening would refuse, by reason, e.g. no chest, rotated, or blurred.

    The same checks as at inference, on copies that are decoded smaller where the file allows it.

    Args:
        manifest: Records whose files are read.
        on_image: Called after each image.
        workers: Processes that read images.
    """
    if not manifest.records:
        return not_run(NAME, TITLE, "The manifest holds no image.")
    counts: Counter[str] = Counter()
    examples: list[tuple[str, ...]] = []
    jobs = [(manifest.file(record), record.modality) for record in manifest.records]
    with _judged(jobs, workers) as reasons:
        for record, why in zip(manifest.records, reasons, strict=True):
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


def _judge(job: Job) -> str | None:
    path, modality = job
    try:
        return why_refused(Pixels(shrunk_grey(path, _AT_LEAST_PX)), modality)
    except ImageError as error:
        return f"{UNREADABLE}: {error}"


@contextmanager
def _judged(jobs: list[Job], workers: int) -> Iterator[Iterator[str | None]]:
    """The reasons in order, found here or in a pool."""
    if workers <= 1 or len(jobs) < _WORTH_A_POOL:
        yield map(_judge, jobs)
        return
    with worker_processes(workers) as pool:
        yield pool.map(_judge, jobs, chunksize=_CHUNK)
