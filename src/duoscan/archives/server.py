"""pynetdicom's server, made to withstand peers that stall, flood or lie about lengths."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from socketserver import BaseServer
from typing import TYPE_CHECKING, Any

from pynetdicom.transport import ThreadedAssociationServer

from duoscan.archives.deadlines import Deadline

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_CONNECTIONS_BEYOND_ASSOCIATIONS = 8
_GOODBYE_S = 2.0


class BoundedServer(ThreadedAssociationServer):  # type: ignore[misc]
    """As its base, except that no peer holds up the loop that accepts connections, or takes all of them.

    What comes over the connections is bounded by :class:`duoscan.archives.associations.Bounds`.

    Args:
        arguments: Of the base class.
        tls: Where connections are secured; the handshake is done in the connection's own thread.
        admits: Whether an address may connect; others are cut off before a byte is read.
        on_refused: Called with the reason where a connection ends before it is an association.
        timeout_s: For the handshake.
        most_of_address: Connections that one address may hold.
        options: Of the base class.
    """

    daemon_threads = True  # a handshake under way does not hold up the end of the process

    def __init__(
        self,
        *arguments: Any,
        tls: ssl.SSLContext | None,
        admits: Callable[[str], bool],
        on_refused: Callable[[str], None],
        timeout_s: float,
        most_of_address: int,
        **options: Any,
    ) -> None:
        self._tls = tls
        self._admits = admits
        self._on_refused = on_refused
        self._timeout_s = timeout_s
        self._most_of_address = most_of_address
        self._beginning: Counter[str] = Counter()  # connections by address that are no associations yet
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = self.socket.accept()
        connection.settimeout(self._timeout_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # answers are small and must not be held back
        return connection, address

    def verify_request(self, _request: socket.socket, client_address: Any) -> bool:
        """Whether the peer may go on."""
        if not self._admits(client_address[0]):
            self._on_refused("address")
            return False
        if self._connections_of(client_address[0]) >= self._most_of_address:
            self._on_refused("too many connections of one address")
            return False
        # Beyond the limit they would be rejected one by one; so many more are a flood.
        if len(self.active_associations) >= self.ae.maximum_associations + _CONNECTIONS_BEYOND_ASSOCIATIONS:
            self._on_refused("too many connections")
            return False
        with self._lock:
            self._beginning[client_address[0]] += 1
        return True

    def _connections_of(self, address: str) -> int:
        with self._lock:
            beginning = self._beginning[address]
        associations = [one for one in self.active_associations if one.requestor.address == address]
        return beginning + len(associations)

    def shutdown(self) -> None:
        """Accept nothing more and end what is open; the base wants a server that the entity itself has started."""
        BaseServer.shutdown(self)
        self.server_close()
        # Whoever is in the middle of a PDU does not hear that it is over; then its connection is shut.
        associations, by = self.active_associations, time.monotonic() + _GOODBYE_S
        for association in associations:
            if association.dul.socket is not None and association.dul.socket.socket is not None:
                Deadline(association.dul.socket.socket, by)
        for association in associations:
            association.abort()

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:
        """Secure the connection, then serve it."""
        try:
            self._begin(request, client_address)
        finally:
            with self._lock:
                self._beginning[client_address[0]] -= 1

    def _begin(self, request: socket.socket, client_address: Any) -> None:
        if self._tls is not None:
            try:
                request = self._tls.wrap_socket(request, server_side=True)
            except OSError:  # ssl.SSLError and timeouts too
                self._on_refused("TLS")
                self.shutdown_request(request)
                return
        super().process_request_thread(request, client_address)
