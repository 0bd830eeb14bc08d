"""Every image is opened once at import, so that what cannot be read is named before hours of training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.formats.reader import read_image
from duoscan.manifest.problems import manifest_error
from duoscan.manifest.readers.found import SkippedFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from pathlib import Path

    from duoscan.manifest.readers.found import Imported


def only_readable(imported: Imported, pool: Executor, on_image: Callable[[], None] = lambda: None) -> Imported:
    """The same without images that cannot be read, which are skipped with the reason.

    Args:
        imported: What a reader gave.
        pool: Where the images are read.
        on_image: Called after each image.

    Raises:
        ManifestError: None can be read.
    """
    manifest = imported.manifest

    def why_not(path: Path) -> str:
        try:
            read_image(path)
        except ImageError as error:
            return error.text
        finally:
            on_image()
        return ""

    reasons = list(pool.map(why_not, map(manifest.file, manifest)))
    judged = list(zip(manifest, reasons, strict=True))
    skipped = [SkippedFile(record.path, why) for record, why in judged if why]
    if judged and len(skipped) == len(judged):
        raise manifest_error(
            f"{manifest.root}: none of {len(judged)} images can be read; give other files",
            [f"{skip.name}: {skip.reason}" for skip in skipped],
        )
    kept = manifest.replace([record for record, why in judged if not why])
    return replace(imported, manifest=kept, skipped=(*imported.skipped, *skipped))
