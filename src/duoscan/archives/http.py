"""HTTP to a service that is not trusted: what was asked for, from who was asked, and not for ever.

No redirect is followed, nothing is taken from the environment (proxies, ``.netrc``), nothing is decompressed, and what
is not wanted of an answer is not read. One connection a request.
"""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from duoscan.archives.deadlines import Deadline
from duoscan.errors import InputError, TransferError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from duoscan.archives.archive import Access

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10.0, 60.0
REPETITIONS = 3
BACKOFF_S = 0.5
_BUSY = (429, 500, 502, 503, 504)
_CHUNK = 2**20
_LONGEST_BOUNDARY = 70  # RFC 2046 5.1.1
_ADVICE = {
    401: "it does not know us; check the credentials",
    403: "it does not let us; check the credentials and the rights of the account",
    404: "not there; check the address and the study",
    413: "too large for it; ask its administrator",
}
_ELSEWHERE = "it sends us elsewhere, where we do not go; give the address of the service itself"


class HttpService:
    """A service under one address.

    Requests are tried again after connection errors and answers that say "busy". No error quotes the service or the
    request, because both may name a patient.

    Args:
        url: Base address.
        access: How to be let in.
        backoff_s: Pause before the second repetition of a request; doubles with each one.

    Raises:
        InputError: The certificates cannot be used.
    """

    def __init__(self, url: str, access: Access, backoff_s: float = BACKOFF_S) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._name, self._port, self._path = parts.hostname or "", parts.port, parts.path.rstrip("/")
        self._tls = _tls(access) if parts.scheme.lower() == "https" else None
        self._headers = {"Accept-Encoding": "identity", "Connection": "close"}
        if access.authorization:
            self._headers["Authorization"] = access.authorization
        self._pauses_s = (0.0, 0.0, *(backoff_s * 2**number for number in range(REPETITIONS - 1)))

    def ask(
        self, method: str, path: str, headers: Mapping[str, str], *, seconds: float, body: bytes | None = None
    ) -> Exchange:
        """The first answer that does not say "busy", or the last one.

        Args:
            method: ``GET`` or ``POST``.
            path: Below the base address, with the query.
            headers: Beside our own.
            seconds: For everything: repetitions, and reading the answer.
            body: What is sent.

        Raises:
            TransferError: There is none, or not in time.
        """
        by = time.monotonic() + seconds
        for number, pause_s in enumerate(self._pauses_s):
            time.sleep(max(0.0, min(pause_s, by - time.monotonic())))
            is_last = number == REPETITIONS
            exchange = Exchange(self._connection(), self.host, by, seconds)
            try:
                exchange.begin(method, self._path + path, {**self._headers, **headers}, body)
            except UnreachableError:
                if is_last:
                    raise
                continue
            if is_last or exchange.status not in _BUSY:
                return exchange
            exchange.close()
        raise AssertionError

    def _connection(self) -> HTTPConnection:
        if self._tls is None:
            return HTTPConnection(self._name, self._port, timeout=CONNECT_TIMEOUT_S)
        return HTTPSConnection(self._name, self._port, timeout=CONNECT_TIMEOUT_S, context=self._tls)


class Exchange:
    """One request and its answer; closes the connection when left.

    Args:
        connection: Not opened yet.
        host: For messages.
        by: Moment of ``time.monotonic`` at which all ends.
        seconds: The same as a duration, for messages.
    """

    def __init__(self, connection: HTTPConnection, host: str, by: float, seconds: float) -> None:
        self._connection, self._host, self._by, self._seconds = connection, host, by, seconds
        self._response: HTTPResponse
        self._left = ExitStack()  # to be closed

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def begin(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> None:
        """Send the request, and read as much of the answer as its head.

        Raises:
            TransferError: There is no answer.
        """
        connection = self._connection
        try:
            self._check_time()
            self._left.callback(connection.close)
            connection.connect()
            connection.sock.settimeout(READ_TIMEOUT_S)
            self._left.callback(Deadline(connection.sock, self._by).cancel)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had read all
                connection.request(method, target, body, headers)
            self._response = self._left.enter_context(connection.getresponse())
        except (OSError, HTTPException) as error:
            self.close()
            raise self._explained(error) from error

    def close(self) -> None:
        """Read no more."""
        self._left.close()

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._response.status

    @property
    def content_type(self) -> str:
        """Media type, in lower case."""
        return self._response.headers.get_content_type()

    @property
    def boundary(self) -> bytes:
        """What parts the bodies of ``multipart/related`` (RFC 2046 5.1.1); empty where none is stated."""
        stated = self._response.headers.get_param("boundary")
        if not isinstance(stated, str) or not stated.isascii() or len(stated) > _LONGEST_BOUNDARY:
            return b""
        return stated.encode()

    def check_status(self) -> None:
        """An answer that is none is not read.

        Raises:
            TransferError: The service refuses.
        """
        status = self.status
        if not 200 <= status < 300:
            advice = _ELSEWHERE if 300 <= status < 400 else _ADVICE.get(status, "see its log, and try again")
            raise TransferError(f"{self._host}: HTTP status {status}: {advice}")

    def chunks(self) -> Iterator[bytes]:
        """The body as it arrives; whoever reads it counts.

        Raises:
            TransferError: The service refuses, the body is compressed, breaks off or takes too long.
        """
        self.check_status()
        if self._response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise TransferError(f"{self._host}: its answer is compressed, unasked; ask its administrator")
        try:
            while chunk := self._response.read1(_CHUNK):
                self._check_time()
                yield chunk
        except (OSError, HTTPException) as error:
            raise self._explained(error) from error
        self._check_time()  # a connection that was shut looks like an answer without a stated length that has ended
        if self._response.length:  # what the head promised and did not come
            raise self._explained(ConnectionError())

    def read(self, most_bytes: int) -> bytes:
        """The whole body.

        Raises:
            TransferError: As of :meth:`chunks`, or it is larger.
        """
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > most_bytes:
                raise TransferError(f"{self._host}: the answer is larger than {most_bytes // 2**20} MiB; see its log")
        return bytes(body)

    def _check_time(self) -> None:
        if time.monotonic() >= self._by:
            raise self._explained(TimeoutError())

    def _explained(self, error: OSError | HTTPException) -> TransferError:
        """What to do about it."""
        if time.monotonic() >= self._by:
            return TransferError(f"{self._host}: the answer took more than {self._seconds:g} s; try again later")
        if isinstance(error, ssl.SSLCertVerificationError):
            return TransferError(f"{self._host}: its certificate is not trusted; name its authority, --ca-file")
        if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return TransferError(f"{self._host}: no secure connection; does it want a certificate of ours?")
        if isinstance(error, TimeoutError):
            return UnreachableError(f"{self._host}: no answer in time; try again later")
        return UnreachableError(f"{self._host}: no connection{_why_none(error)}")


def _why_none(error: OSError | HTTPException) -> str:
    """Why nobody could be reached, and what to do."""
    if isinstance(error, socket.gaierror):
        return ": no such host; check the name"
    if isinstance(error, ConnectionRefusedError):
        return ": nothing listens at that port; does it run?"
    return ", or it broke off; does it run? Try again"


def _tls(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
        if access.identity is not None:
            context.load_cert_chain(*access.identity)
    except OSError as error:  # ssl.SSLError too
        files = ", ".join(str(file) for file in (access.ca_file, access.certificate, access.key) if file)
        raise InputError(
            f"TLS files {files}: cannot be used ({error.strerror or type(error).__name__}); "
            "give PEM files that belong together"
        ) from error
    return context
