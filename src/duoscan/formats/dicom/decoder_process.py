"""The process that decodes compressed pixel data; run as a module, it serves one parent over its standard streams.

The native decoders (GDCM, libjpeg, OpenJPEG, CharLS) abort, stall or fill the memory on damaged codestreams. Here
they only take this process with them. It has its own limits of memory and processor time, reads requests that its
parent wrote, and answers with bytes, never with objects that a taken-over decoder could forge.

A message is a JSON object in one frame and bytes in a second; a frame is a length of eight bytes, little endian,
and that many bytes.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEMORY_BYTES = 768 * 2**20
"""What decoding may take beside the loaded libraries; checked by the kernel, on Linux."""

_LENGTH = struct.Struct("<Q")


def write_message(stream: IO[bytes], header: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Write one message and flush it."""
    for frame in (json.dumps(header).encode(), content):
        stream.write(_LENGTH.pack(len(frame)))
        stream.write(frame)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Raises:
        EOFError: The other side is gone.
        ValueError: What it wrote is no message.
    """
    header = json.loads(_read_frame(stream))
    if not isinstance(header, dict):
        msg = "no message"
        raise ValueError(msg)  # noqa: TRY004  (a wrong value of the right type, as json.loads raises it)
    return header, _read_frame(stream)


def _read_frame(stream: IO[bytes]) -> bytes:
    (length,) = _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))
    return _read_exactly(stream, length)


def _read_exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def main() -> None:
    """Decode until the parent closes the stream."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # Decoders print complaints, and those on standard output would break the protocol.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _load_decoders()
    _limit_memory(MEMORY_BYTES)
    while True:
        try:
            header, content = read_message(requests)
        except EOFError:
            return
        _limit_seconds(int(header.pop("seconds")))
        try:
            values = _decoded(header, content)
        except Exception as error:  # noqa: BLE001  (each is told to the parent, which raises it)
            kind = "unsupported" if isinstance(error, RuntimeError) else type(error).__name__
            write_message(answers, {"error": kind})
            continue
        write_message(answers, {"dtype": values.dtype.str, "shape": values.shape}, values.data.cast("B"))


def _decoded(options: dict[str, Any], content: bytes) -> NDArray[Any]:
    import numpy as np
    from pydicom.uid import UID

    from duoscan.formats.dicom.jpeg_extended import get_decoder

    decoder = get_decoder(UID(options.pop("transfer_syntax_uid")))
    offsets = options.pop("extended_offsets", None)
    if offsets is not None:
        options["extended_offsets"] = tuple(bytes.fromhex(part) for part in offsets)
    return np.ascontiguousarray(decoder.as_array(content, **options)[0])


def _load_decoders() -> None:
    """Import what decoding needs, so that the limit of memory is on top of it."""
    import logging
    import warnings

    import pydicom.pixels.decoders  # noqa: F401  (imports the decoders' libraries)

    warnings.simplefilter("ignore")
    logging.disable()


def _limit_memory(size: int) -> None:
    """Let the process take so much more than it has; no limit where the system cannot tell or set it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = _lower(pages * resource.getpagesize() + size, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_seconds(seconds: int) -> None:
    """Let the process use so much more processor time; a busy machine does not shorten it."""
    try:
        import resource
    except ImportError:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = _lower(int(usage.ru_utime + usage.ru_stime) + 1 + seconds, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def _lower(limit: int, hard: int) -> int:
    """The limit, or the one that the parent has set already; -1 is none."""
    return limit if hard < 0 else min(limit, hard)


if __name__ == "__main__":
    main()
