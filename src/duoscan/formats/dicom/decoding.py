"""Pixel data → stored values; compressed pixel data is decoded in a process of its own."""

from __future__ import annotations

import atexit
import math
import os
import subprocess
import sys
from threading import Lock, Timer
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.cells import values_of_cells
from duoscan.formats.dicom.decoder_process import read_message, write_message
from duoscan.formats.dicom.jpeg_extended import get_decoder
from duoscan.formats.limits import MAX_DECODED_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

SECONDS_AT_LEAST = 2
"""Processor time that any decoding may take."""

BYTES_A_SECOND = 4_000_000
"""Of stored values that a decoder must make; the slowest, JPEG 2000, makes ten times as many."""

# A decoder that waits for something uses no processor time; a busy machine may well take this much longer.
_WALL_FACTOR = 10

# PS3.5 A.4.11: high-throughput JPEG 2000, lossless, lossless by resolution, and any.
_HIGH_THROUGHPUT = frozenset({f"1.2.840.10008.1.2.4.{number}" for number in (201, 202, 203)})

# pydicom takes the lowest BitsStored bits whatever HighBit says, and makes frames of what lies behind those stated.
_OWN_OPTIONS: dict[str, Any] = {"correct_unused_bits": False, "allow_excess_frames": False}

_EXPORT_PLAIN = "export it as Explicit VR Little Endian"


def decode_pixels(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Stored values of a data set, without what else their cells hold; see :func:`decode_cells`.

    Raises:
        UnsupportedImageError: As there, or HighBit contradicts BitsStored.
        UnreadableImageError: As there.
        Exception: As there.
    """
    return values_of_cells(decode_cells(dataset, path), dataset, path)


def decode_cells(dataset: Dataset, path: Path) -> NDArray[Any]:
    """Pixel cells of a data set as they are stored; luminance and chroma become red, green and blue.

    Args:
        dataset: With its pixel data and file meta information.
        path: The file, for messages.

    Returns:
        shape (H, W), (N, H, W), (H, W, C) or (N, H, W, C).

    Raises:
        UnsupportedImageError: No decoder knows the transfer syntax, or none can make sense of the pixel data.
        UnreadableImageError: More would be decoded than fits, or the decoder crashed, stalled or took too much memory.
        Exception: Whatever else pydicom raises about attributes or pixel data that are wrong.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
        size = _decoded_bytes(dataset, path)
        if decoder.is_native:
            return decoder.as_array(dataset, **_OWN_OPTIONS)[0]
        return _decode_elsewhere(dataset, size, path)
    except RuntimeError as error:  # no decoder for the syntax, or every decoder gave up
        extra = "pip install 'duoscan[htj2k]', or " if syntax in _HIGH_THROUGHPUT else ""
        raise UnsupportedImageError(
            path, f"pixel data in transfer syntax '{syntax.name}' cannot be decoded; {extra}{_EXPORT_PLAIN}"
        ) from error


def _decoded_bytes(dataset: Dataset, path: Path) -> int:
    """Size of the stored values that the attributes claim."""
    keywords = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
    counts = [int(dataset.get(keyword) or 1) for keyword in keywords]
    size = math.prod(counts) * max(1, -(-int(dataset.get("BitsAllocated") or 8) // 8))
    if size > MAX_DECODED_BYTES:
        claim = " × ".join(f"{count} {keyword}" for count, keyword in zip(counts, keywords, strict=True) if count > 1)
        raise UnreadableImageError(
            path, f"claims {claim}, {size // 2**20} MiB; at most {MAX_DECODED_BYTES // 2**20} MiB are decoded"
        )
    return size


def _decode_elsewhere(dataset: Dataset, size: int, path: Path) -> NDArray[Any]:
    from pydicom.pixels.utils import as_pixel_options

    options = {name: _plain(value) for name, value in as_pixel_options(dataset, pixel_keyword="PixelData").items()}
    options |= _OWN_OPTIONS | {"transfer_syntax_uid": str(dataset.file_meta.TransferSyntaxUID)}
    worker = _take()
    try:
        answer, content = worker.ask(options, dataset.PixelData, SECONDS_AT_LEAST + size // BYTES_A_SECOND)
    except BaseException as error:
        worker.stop()
        if isinstance(error, EOFError | OSError | ValueError):
            raise UnreadableImageError(
                path,
                f"its compressed pixel data make the decoder crash, stall or overflow, so they are damaged; "
                f"{_EXPORT_PLAIN}",
            ) from error
        raise
    _give_back(worker)
    if "error" in answer:
        _raise(str(answer["error"]), path)
    values = np.frombuffer(bytearray(content), dtype=np.dtype(str(answer["dtype"])))
    return values.reshape([int(side) for side in answer["shape"]])


def _plain(value: Any) -> Any:
    """A value as JSON; offset tables are two strings of bytes."""
    if isinstance(value, tuple):
        return [bytes(part).hex() for part in value]
    return int(value) if isinstance(value, int) else str(value)


def _raise(kind: str, path: Path) -> None:
    """Raise what the decoder's process raised."""
    if kind == "unsupported":
        raise RuntimeError
    if kind == "MemoryError":
        raise UnreadableImageError(path, "its compressed pixel data need too much memory, so they are damaged")
    raise UnreadableImageError(path, f"damaged pixel data ({kind}); export it again")


class _Worker:
    """One decoding process."""

    def __init__(self) -> None:
        # Whatever can be imported here can be imported there, also where a caller changed the path.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "duoscan.formats.dicom.decoder_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            process_group=0,  # Ctrl-C is for the command, which stops this one
        )

    def ask(self, options: dict[str, Any], content: bytes, seconds: int) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for the answer.

        Raises:
            EOFError: The process died or was stopped.
            OSError: The same, before it took the request.
            ValueError: It answered nonsense.
        """
        assert self._process.stdin is not None  # noqa: S101  (opened above)
        assert self._process.stdout is not None  # noqa: S101
        stalled = Timer(_WALL_FACTOR * seconds, self._process.kill)
        stalled.daemon = True
        stalled.start()
        try:
            write_message(self._process.stdin, options | {"seconds": seconds}, content)
            return read_message(self._process.stdout)
        finally:
            stalled.cancel()

    def stop(self) -> None:
        """End the process and wait for it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what could not be sent any more
                    continue


_idle: list[_Worker] = []
_lost: list[_Worker] = []
_lock = Lock()


def _take() -> _Worker:
    """A worker that nobody uses; each thread that decodes at the same time has its own."""
    with _lock:
        return _idle.pop() if _idle else _Worker()


def _give_back(worker: _Worker) -> None:
    with _lock:
        _idle.append(worker)


@atexit.register
def _stop_all() -> None:
    while _idle:
        _idle.pop().stop()


def _forget() -> None:
    """In a fork: the workers belong to the parent, and two processes must not talk to one of them."""
    global _lock  # noqa: PLW0603  (the old one may be held by a thread that was not forked)
    _lock = Lock()
    # Kept, for the clean-up of a subprocess that still runs would warn.
    _lost.extend(_idle)
    _idle.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
