"""Slices and heatmaps as pictures: decoded once, windowed here, kept within bounds."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from dataclasses import dataclass
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from duoscan.cases.stored import read_maps
from duoscan.errors import InputError
from duoscan.formats.limits import stretch
from duoscan.formats.reader import read_image
from duoscan.imaging.heatmap import colours, on_image, relative

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.formats.image import Pixels
    from duoscan.imaging.contract import PreprocessingContract
    from duoscan.imaging.heatmap import SeenMap

_MOST_SIDE = 2048
_HELD_BYTES = 128 * 2**20
_HELD_MAPS = 4
_DRAWN_AT_ONCE = 2
_FASTEST = 1  # of PNG's compressions
_LARGEST = 100_000.0


@dataclass(frozen=True)
class Window:
    """Which values are shown from black to white.

    Attributes:
        centre: In HU; of a radiograph in hundredths of its range.
        width: Above 0.
        is_inverted: Bright for dark.
    """

    centre: float
    width: float
    is_inverted: bool = False

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Window | None:
        """Of the parameters of an address; ``None`` where they name none.

        Raises:
            InputError: They are no numbers, or beyond all images.
        """
        if "c" not in query and "w" not in query:
            return None
        try:
            centre, width = float(query["c"]), float(query["w"])
        except (KeyError, ValueError) as error:
            raise InputError("c, w: write two numbers, the window's centre and width") from error
        if not (abs(centre) <= _LARGEST and 0 < width <= _LARGEST):
            raise InputError(f"c, w: beyond {_LARGEST:g}, or no width")
        return cls(centre, width, query.get("i") == "1")


LUNG = Window(-600, 1500)
WHOLE = Window(50, 100)


class Renderer:
    """Draws.

    Args:
        cache: Folder of finished pictures.
        cache_bytes: Most that lie there; the longest unused go first.
    """

    def __init__(self, cache: Path, cache_bytes: int) -> None:
        self._cache = cache
        self._most = cache_bytes
        self._lock = Lock()
        self._drawing = BoundedSemaphore(_DRAWN_AT_ONCE)
        self._pixels: OrderedDict[str, Pixels] = OrderedDict()
        self._maps: OrderedDict[str, dict[str, SeenMap]] = OrderedDict()
        self._written = 0
        self._prune()

    def slice(self, path: Path, window: Window | None) -> bytes:
        """A slice or radiograph, grey, as PNG.

        Raises:
            ImageError: It cannot be decoded.
        """
        name = f"slice {path.name} {window}"
        return self._kept(name) or self._keep(name, self._draw(path, window))

    def _draw(self, path: Path, window: Window | None) -> bytes:
        with self._drawing:
            pixels = self._decoded(path)
            used = window or (LUNG if pixels.is_hu else WHOLE)
            scale = 1.0 if pixels.is_hu else 0.01
            low, high = (used.centre - used.width / 2) * scale, (used.centre + used.width / 2) * scale
            grey = np.rint(stretch(pixels.values, low, high) * 255).astype(np.uint8)
            return _png(Image.fromarray(255 - grey if used.is_inverted else grey))

    def heat(self, path: Path, activation: SeenMap, contract: PreprocessingContract, name: str) -> bytes:
        """Where the model looked, to be laid over :meth:`slice`; more opaque where it is stronger.

        Args:
            path: The image.
            activation: Its map.
            contract: Of the model.
            name: Names the map among all.

        Raises:
            ImageError: The image cannot be decoded.
        """
        if (kept := self._kept(name)) is not None:
            return kept
        with self._drawing:
            shown = activation._replace(values=relative(activation.values))
            strength = np.clip(on_image(shown, self._decoded(path), contract), 0, 1)
            layers = np.dstack([colours(strength), strength * 255])
            drawn = _png(Image.fromarray(np.rint(layers).astype(np.uint8)))
        return self._keep(name, drawn)

    def maps(self, path: Path) -> dict[str, SeenMap]:
        """The activation maps of a case."""
        with self._lock:
            if path.name in self._maps:
                self._maps.move_to_end(path.name)
                return self._maps[path.name]
        found = read_maps(path)
        with self._lock:
            self._maps[path.name] = found
            while len(self._maps) > _HELD_MAPS:
                self._maps.popitem(last=False)
        return found

    def _decoded(self, path: Path) -> Pixels:
        with self._lock:
            if path.name in self._pixels:
                self._pixels.move_to_end(path.name)
                return self._pixels[path.name]
        pixels = read_image(path)
        with self._lock:
            self._pixels[path.name] = pixels
            while sum(one.values.nbytes for one in self._pixels.values()) > _HELD_BYTES and len(self._pixels) > 1:
                self._pixels.popitem(last=False)
        return pixels

    def _file(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        return self._cache / digest[:2] / f"{digest}.png"

    def _kept(self, name: str) -> bytes | None:
        path = self._file(name)
        try:
            content = path.read_bytes()
            os.utime(path)  # used just now
        except OSError:
            return None
        return content

    def _keep(self, name: str, content: bytes) -> bytes:
        path = self._file(name)
        path.parent.mkdir(exist_ok=True)
        half = path.with_suffix(f".{os.urandom(4).hex()}")
        half.write_bytes(content)
        half.replace(path)
        with self._lock:
            self._written += len(content)
            is_due = self._written > self._most // 10
        if is_due:
            self._prune()
        return content

    def _prune(self) -> None:
        """Remove the longest unused pictures beyond the bound."""
        found = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._cache.glob("*/*"))
        total = sum(size for _, size, _ in found)
        for _, size, path in found:
            if total <= self._most:
                break
            path.unlink(missing_ok=True)
            total -= size
        self._written = 0


def _png(picture: Image.Image) -> bytes:
    if max(picture.size) > _MOST_SIDE:
        picture.thumbnail((_MOST_SIDE, _MOST_SIDE), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=_FASTEST)
    return stream.getvalue()
