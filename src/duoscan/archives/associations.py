"""Bounds on what a DICOM peer can have us hold, for associations that it opens and for those that we do.

pynetdicom believes the length a PDU states, waits for its bytes without end as long as some come, and keeps a message
in memory until its last fragment is there.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from duoscan.archives.deadlines import Deadline
from duoscan.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PDU = 2**18
"""What peers are told they may send at once (PS3.8 D.1), in bytes."""

MAX_COMMAND_BYTES = 2**16
"""Longest command set; it holds a dozen short elements (PS3.7 E.1)."""

SLOWEST_BYTES_A_SECOND = 2**14
"""A message that comes in more slowly than that on the whole is given up."""

MAX_ANSWER_BYTES = 2**16
"""Longest data set of a message that carries no object; a study is described in a kilobyte."""

MESSAGES_AHEAD = 2
"""Messages a peer may send before it has our answer; nobody negotiated more than one at a time (PS3.7 D.3.3.3)."""

DAMAGED = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, OSError, NotImplementedError)
"""What pydicom and the disk raise over a peer's data."""

_PDU_HEADER = 6
_PREAMBLE = bytes(128) + b"DICM"
_IS_COMMAND, _IS_LAST = 0b01, 0b10  # PS3.8 E.2


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


class Bounds:
    """Of associations that we open or accept; an association that is beyond one of them is aborted.

    Args:
        timeout_s: For connecting, each PDU and each write, and what a message may take beyond its share of time; see
            :data:`SLOWEST_BYTES_A_SECOND`.
        most_bytes: Longest data set of a message.
        most_ahead: Messages that wait for us to read them.
        seconds: For all of an association that we open; ``None`` sets no end.
        on_ended: Called with the association and the reason before it is aborted.
    """

    def __init__(
        self,
        timeout_s: float,
        *,
        most_bytes: int = MAX_ANSWER_BYTES,
        most_ahead: int = MESSAGES_AHEAD,
        seconds: float | None = None,
        on_ended: Callable[[Any, str], None] = lambda _association, _reason: None,
    ) -> None:
        self.timeout_s = timeout_s
        self._most_bytes, self._most_ahead, self._seconds, self._on_ended = most_bytes, most_ahead, seconds, on_ended
        self._messages: WeakKeyDictionary[Any, _Message] = WeakKeyDictionary()
        self._deadline: Deadline | None = None
        self._ended = ""
        self._by = math.inf

    @property
    def handlers(self) -> list[tuple[Any, Callable[[Any], None]]]:
        """What pynetdicom is to call."""
        from pynetdicom import evt

        return [(evt.EVT_CONN_OPEN, self._on_open), (evt.EVT_PDU_RECV, self._on_pdu)]

    @property
    def problem(self) -> str:
        """Why an association was ended here, which its user sees as no answer; empty where none was."""
        return f"it took more than {self._seconds:g} s" if time.monotonic() >= self._by else self._ended

    def restart(self, association: Any, seconds: float) -> None:
        """The time of an association that we opened begins anew."""
        self.cancel()
        self._seconds, self._by = seconds, time.monotonic() + seconds
        if association.dul.socket is not None and association.dul.socket.socket is not None:
            self._deadline = Deadline(association.dul.socket.socket, self._by)

    def cancel(self) -> None:
        """The association has ended."""
        if self._deadline is not None:
            self._deadline.cancel()

    def _on_open(self, event: Any) -> None:
        BoundedReads(event.assoc.dul.socket, self.timeout_s)
        if self._seconds is not None:
            self.restart(event.assoc, self._seconds)

    def _on_pdu(self, event: Any) -> None:
        """Look at one PDU, before pynetdicom takes it apart."""
        association = event.assoc
        for item in getattr(event.pdu, "presentation_data_value_items", ()):
            if item.presentation_data_value and (reason := self._wrong(association, item.presentation_data_value)):
                self._end(association, reason)
                return
        if association.dimse.msg_queue.qsize() > self._most_ahead:
            self._end(association, "does not wait for answers")

    def _wrong(self, association: Any, fragment: bytes) -> str:
        """Count a fragment; why the message is not waited for any longer."""
        message = self._messages.setdefault(association, _Message())
        message.size += len(fragment)
        if message.size > (MAX_COMMAND_BYTES if fragment[0] & _IS_COMMAND else self._most_bytes):
            return "object too large"
        if time.monotonic() - message.since > self.timeout_s + message.size / SLOWEST_BYTES_A_SECOND:
            return "object too slow"
        if fragment[0] & _IS_LAST:
            del self._messages[association]
        return ""

    def _end(self, association: Any, reason: str) -> None:
        self._ended = self._ended or reason
        self._on_ended(association, reason)
        association.abort()
        association.dimse.msg_queue.put((None, None))  # whoever waits for a message, waits no longer


def file_head(sop_class: Any, uid: Any, syntax: str) -> bytes:
    """Preamble and file meta information (PS3.10 clause 7.1) for a data set as it came."""
    from pydicom.uid import generate_uid
    from pynetdicom.dsutils import create_file_meta, encode_file_meta

    with quiet:  # a peer's odd UIDs
        meta = create_file_meta(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax=syntax,
            implementation_uid=generate_uid(entropy_srcs=["duoscan", "implementation"]),
            implementation_version="DUOSCAN",
        )
        return _PREAMBLE + bytes(encode_file_meta(meta))
