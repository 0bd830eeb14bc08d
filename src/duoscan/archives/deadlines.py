"""An end to a connection, whatever the other side does: time limits of a socket begin again with every byte."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress


class Deadline:
    """Shuts a connection at a moment, so that a read or write under way ends too.

    Args:
        connection: Connected; with TLS, too.
        by: Moment of ``time.monotonic``.
    """

    def __init__(self, connection: socket.socket, by: float) -> None:
        self._connection = connection
        self._timer = threading.Timer(max(0.0, by - time.monotonic()), self._shut)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Leave the connection alone."""
        self._timer.cancel()

    def _shut(self) -> None:
        with suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)  # that of a TLS socket changes its state, too
