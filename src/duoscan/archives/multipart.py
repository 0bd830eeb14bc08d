"""The parts of a ``multipart`` body (RFC 2046 5.1.1) while it arrives; none is ever in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_HEADER_BYTES = 2**14


def split_parts(chunks: Iterator[bytes], boundary: bytes) -> Iterator[Iterator[bytes]]:
    """The content of each part, piece by piece; to be read up before the next part is asked for.

    Args:
        chunks: The body.
        boundary: As its content type states it.

    Raises:
        TransferError: It has another form, or ends in the middle.
    """
    body = _Body(chunks)
    _skip(body, b"\r\n--" + boundary)
    while body.peek(2) != b"--":
        _skip(body, b"\r\n\r\n")
        yield body.until(b"\r\n--" + boundary)


def _skip(body: _Body, mark: bytes) -> None:
    skipped = 0
    for piece in body.until(mark):
        skipped += len(piece)
        if skipped > _MOST_HEADER_BYTES:
            raise TransferError("what it answers is no multipart; see its log")


class _Body:
    """What has arrived and is not yet read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._waiting = bytearray(b"\r\n")  # the first boundary may do without

    def until(self, mark: bytes) -> Iterator[bytes]:
        """What lies before a mark, which is taken, too."""
        keep = len(mark) - 1  # its beginning may have arrived
        while (at := self._waiting.find(mark)) < 0:
            if len(self._waiting) > keep:
                yield bytes(self._waiting[: len(self._waiting) - keep])
                del self._waiting[: len(self._waiting) - keep]
            self._arrive()
        yield bytes(self._waiting[:at])
        del self._waiting[: at + len(mark)]

    def peek(self, size: int) -> bytes:
        """The next bytes, which stay."""
        while len(self._waiting) < size:
            self._arrive()
        return bytes(self._waiting[:size])

    def _arrive(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise TransferError("what it answers ends in the middle; try again")
        self._waiting += chunk
