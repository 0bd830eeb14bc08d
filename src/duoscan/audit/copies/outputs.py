"""Copies as files: ``copies.csv``, the patients they join, what was dropped, and a page to look at them."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.audit.copies.signatures import read_small
from duoscan.errors import ImageError
from duoscan.files import write_text
from duoscan.rows import csv_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from duoscan.audit.copies.groups import Copies, CopyPair, Dropped
    from duoscan.manifest.records import ImageRecord, Manifest

_THUMBNAIL_PX = 220
_QUALITY = 80

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8886; margin-top: 1.5rem; break-inside: avoid; }
.group { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 220px; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
li { font-size: .9rem; overflow-wrap: anywhere; }
"""


def copies_csv(pairs: Iterable[CopyPair]) -> str:
    """The table ``path_a, path_b, kind, evidence``."""
    return csv_text(("path_a", "path_b", "kind", "evidence"), ((p.path_a, p.path_b, p.kind, p.evidence) for p in pairs))


def patients_csv(copies: Copies) -> str:
    """The table ``patient, same_as``: every id (or group) that shares an image with another one."""
    return csv_text(("patient", "same_as"), sorted(copies.merged_units.items()))


def dropped_csv(dropped: Iterable[Dropped]) -> str:
    """The table ``path, reason`` of what a manifest without copies leaves out."""
    return csv_text(("path", "reason"), ((one.path, one.reason) for one in dropped))


def write_copies(copies: Copies, folder: Path, *, with_images: bool = False) -> tuple[Path, ...]:
    """Write ``copies.csv`` and ``copies-patients.csv``, and on request the page ``copies.html``.

    Args:
        copies: What was found.
        folder: Where to; it is made.
        with_images: Whether the page is written. It holds thumbnails of the images, so it is as confidential as they.

    Returns:
        The files.
    """
    texts = {"copies.csv": copies_csv(copies.pairs), "copies-patients.csv": patients_csv(copies)}
    if with_images:
        texts["copies.html"] = copies_html(copies)
    for name, text in texts.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in texts)


def copies_html(copies: Copies) -> str:
    """All groups with thumbnails side by side, as one page that needs no network."""
    pairs: dict[str, list[CopyPair]] = {}
    for pair in copies.pairs:
        pairs.setdefault(pair.path_a, []).append(pair)
    conflicting = {group[0].path for group in copies.conflicting}
    sections = [
        _section(number, group, pairs, copies.manifest, conflicting=group[0].path in conflicting)
        for number, group in enumerate(copies.groups, start=1)
    ]
    images = sum(len(group) for group in copies.groups)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Copies</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Copies of one image</h1>\n"
        f"<p>{images} images in {len(sections)} groups. The page holds the images themselves; "
        "share it only where you may share them.</p>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def _section(
    number: int,
    group: Sequence[ImageRecord],
    pairs: dict[str, list[CopyPair]],
    manifest: Manifest,
    *,
    conflicting: bool,
) -> str:
    figures = "".join(_figure(record, manifest) for record in group)
    evidence = "".join(
        f"<li>{html.escape(pair.path_a)} and {html.escape(pair.path_b)}: {pair.kind}; {html.escape(pair.evidence)}</li>"
        for record in group
        for pair in pairs.get(record.path, ())
    )
    note = "<p><strong>The labels differ.</strong></p>" if conflicting else ""
    return (
        f'<section><h2>Group {number}</h2>{note}<div class="group">{figures}</div>'
        f"<details><summary>Evidence</summary><ul>{evidence}</ul></details></section>"
    )


def _figure(record: ImageRecord, manifest: Manifest) -> str:
    words = [str(word) for word in (record.source, record.label, record.split, record.patient_id) if word]
    caption = f"{html.escape(record.path)}<br>{html.escape(', '.join(words))}"
    try:
        picture = f'<img src="{_thumbnail(manifest.file(record))}" alt="{html.escape(record.path)}">'
    except (ImageError, OSError):
        picture = "<p>(cannot be read)</p>"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _thumbnail(path: Path) -> str:
    image = Image.fromarray(np.asarray(read_small(path)))
    image.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
