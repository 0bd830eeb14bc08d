"""Bounds on what a DICOM peer can have us hold, for associations that it opens and for those that we do.

pynetdicom believes the length a PDU states, waits for its bytes without end as long as some come, and keeps a message
in memory until its last fragment is there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PDU = 2**18
"""What peers are told they may send at once (PS3.8 D.1), in bytes."""

MAX_COMMAND_BYTES = 2**16
"""Longest command set; it holds a dozen short elements (PS3.7 E.1)."""

SLOWEST_BYTES_A_SECOND = 2**14
"""A message that comes in more slowly than that on the whole is given up."""

_PDU_HEADER = 6
_IS_COMMAND, _IS_LAST = 0b01, 0b10  # PS3.8 E.2
_MESSAGES_AHEAD = 2  # nobody negotiated more than one at a time (PS3.7 D.3.3.3)


class BoundedReads:
    """Reads of pynetdicom's that end: a PDU is no longer than the peer was told, and is there in time.

    Args:
        connection: pynetdicom's ``AssociationSocket``; its ``recv`` is replaced.
        pdu_s: Time for each PDU from its first byte on; for the first one, which opens the association, from now on.
    """

    def __init__(self, connection: Any, pdu_s: float) -> None:
        self._connection, self._pdu_s = connection, pdu_s
        self._by: float | None = time.monotonic() + pdu_s
        self._is_header = True
        connection.recv = self._receive

    def _receive(self, count: int) -> bytearray:
        """As the method it replaces: so many bytes, or less where the connection ends.

        Raises:
            OSError: The PDU is too long, or did not come in time.
        """
        if count > LONGEST_PDU + _PDU_HEADER:
            raise ConnectionAbortedError
        by = self._by if self._by is not None else time.monotonic() + self._pdu_s
        # pynetdicom asks for a header and for the rest of the PDU in turn.
        self._by = by if self._is_header else None
        self._is_header = not self._is_header
        connection = self._connection.socket
        content = bytearray(count)
        view, filled = memoryview(content), 0
        try:
            while filled < count:
                left_s = by - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
                connection.settimeout(left_s)
                read = connection.recv_into(view[filled:])
                if not read:
                    return content[:filled]
                filled += read
        finally:
            connection.settimeout(self._pdu_s)  # of writes
        return content


@dataclass
class _Message:
    """What has come of the message that is coming in."""

    size: int = 0
    since: float = field(default_factory=time.monotonic)


class MessageBounds:
    """Ends associations whose messages are too large, too slow or sent ahead; a handler of ``EVT_PDU_RECV``.

    Args:
        most_bytes: Longest data set.
        slack_s: What a message may take beyond its share of time; see :data:`SLOWEST_BYTES_A_SECOND`.
        on_ended: Called with the association and the reason before it is aborted.
    """

    def __init__(self, most_bytes: int, slack_s: float, on_ended: Callable[[Any, str], None]) -> None:
        self._most_bytes, self._slack_s, self._on_ended = most_bytes, slack_s, on_ended
        self._messages: WeakKeyDictionary[Any, _Message] = WeakKeyDictionary()

    def __call__(self, event: Any) -> None:
        """Look at one PDU, before pynetdicom takes it apart."""
        association = event.assoc
        for item in getattr(event.pdu, "presentation_data_value_items", ()):
            if item.presentation_data_value and (reason := self._wrong(association, item.presentation_data_value)):
                self._end(association, reason)
                return
        if association.dimse.msg_queue.qsize() > _MESSAGES_AHEAD:
            self._end(association, "does not wait for answers")

    def _wrong(self, association: Any, fragment: bytes) -> str:
        """Count a fragment; why the message is not waited for any longer."""
        message = self._messages.setdefault(association, _Message())
        message.size += len(fragment)
        if message.size > (MAX_COMMAND_BYTES if fragment[0] & _IS_COMMAND else self._most_bytes):
            return "object too large"
        if time.monotonic() - message.since > self._slack_s + message.size / SLOWEST_BYTES_A_SECOND:
            return "object too slow"
        if fragment[0] & _IS_LAST:
            del self._messages[association]
        return ""

    def _end(self, association: Any, reason: str) -> None:
        self._on_ended(association, reason)
        association.abort()
