"""A DICOMweb service that attacks: what it makes us send elsewhere, hold in memory or wait for."""

from __future__ import annotations

import gzip
import io
import json
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
import trustme
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from costs import MOST_BYTES, STUDY, Caller
from duoscan.archives.archive import Access, Limits, StudyQuery
from duoscan.archives.web import WebArchive
from duoscan.errors import TransferError

Behaviour = Callable[[socket.socket, bytes], None]
FIND, FETCH = "find", "fetch"


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    one = Caller()
    yield one
    one.close()


class Attacker:
    """Behaves as told once it has the head of a request; what was asked for is kept."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[bytes] = []
        self._behave, self._tls = behave, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/dicom-web"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(4096)
                    if not piece:
                        return
                    head += piece
                self.heads.append(head)
                self._behave(connection, head)
                while connection.recv(2**16):  # a connection with unread bytes would be reset
                    pass

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def attacker() -> Iterator[Callable[..., Attacker]]:
    started: list[Attacker] = []

    def start(behave: Behaviour, tls: ssl.SSLContext | None = None) -> Attacker:
        started.append(Attacker(behave, tls))
        return started[-1]

    yield start
    for one in started:
        one.close()


def head(status: int = 200, kind: str = "application/dicom+json", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", *(f"{key}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).replace("_", "-").encode()


def endless(begin: bytes, piece: bytes) -> Behaviour:
    def behave(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(piece)

    return behave


def dripping(begin: bytes, piece: bytes = b"x") -> Behaviour:
    def behave(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return behave


LISTED = json.dumps([{"0020000D": {"vr": "UI", "Value": [STUDY]}}]).encode()


def sending(behave: Behaviour) -> Behaviour:
    """Lists the study, and behaves when it is fetched."""

    def answer(connection: socket.socket, asked: bytes) -> None:
        if asked.startswith(b"GET /dicom-web/studies?"):
            connection.sendall(head(Content_Length=str(len(LISTED))) + LISTED)
        else:
            behave(connection, asked)

    return answer


MULTIPART = head(kind='multipart/related; type="application/dicom"; boundary=edge')
PART = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"


def one_part(content: Callable[[], bytes]) -> Behaviour:
    def behave(connection: socket.socket, _head: bytes) -> None:
        connection.sendall(MULTIPART + PART + content() + b"\r\n--edge--\r\n")

    return behave


def dicom(syntax: str = ExplicitVRLittleEndian) -> pydicom.Dataset:
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{STUDY}.1"
    one.StudyInstanceUID, one.PatientID = STUDY, "CANARY"
    return one


def encoded(one: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def deflated() -> bytes:
    """Three gigabytes of pixels in as many megabytes."""
    whole = encoded(dicom(DeflatedExplicitVRLittleEndian))
    (length,) = struct.unpack_from("<L", whole, 140)  # of the file meta information, PS3.10 7.1
    inner = zlib.decompress(whole[144 + length :], -zlib.MAX_WBITS)
    size, block = 3 * 2**30, bytes(2**24)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(inner + struct.pack("<HH2s2xL", 0x7FE0, 0x10, b"OB", size))
    piece = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)  # stands on its own, so it can be repeated
    return whole[: 144 + length] + packed + piece + _repeatable(block) * (size // len(block) - 1) + packer.flush()


def _repeatable(block: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)


def items(count: int) -> bytes:
    """A sequence of unknown length with so many empty items, before the UIDs."""
    plain = encoded(dicom())
    begins = plain.index(b"\x08\x00\x16\x00")
    item, end = struct.pack("<HHL", 0xFFFE, 0xE000, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    sequence = struct.pack("<HH2s2xL", 0x0007, 0x0006, b"SQ", 0xFFFFFFFF)
    return plain[:begins] + sequence + item * count + end + plain[begins:]


def long_element(size: int) -> bytes:
    plain = encoded(dicom())
    begins = plain.index(b"\x08\x00\x16\x00")
    return plain[:begins] + struct.pack("<HH2s2xL", 0x0007, 0x0006, b"OB", 0xFFFFFFFF) + bytes(size)


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """The file of an authority, and what a service needs to show a certificate of it."""
    authority, ca_file = trustme.CA(), tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return ca_file, context


@pytest.mark.parametrize(
    "ask",
    [
        lambda archive, _path, _out: archive.find(StudyQuery(patient_id="CANARY")),
        lambda archive, _path, out: archive.fetch(STUDY, out),
        lambda archive, path, _out: archive.store([path]),
        lambda archive, path, _out: archive.holds([path]),
    ],
    ids=["find", "fetch", "store", "holds"],
)
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed_and_nothing_is_taken_from_the_environment(
    attacker: Callable[..., Attacker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    ask: Callable[[WebArchive, Path, Path], object],
    certified: tuple[Path, ssl.SSLContext],
) -> None:
    """From https to http on another port; the other one also is the proxy that the environment names."""
    ca_file, context = certified
    other = attacker(lambda connection, _: connection.sendall(head(Content_Length=str(len(LISTED))) + LISTED))
    target = f"{other.url}/studies?PatientID=CANARY"
    named = attacker(lambda to, _: to.sendall(head(status, Location=target, Content_Length="0")), context)
    (tmp_path / "netrc").write_text("default login somebody password SECRET\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
        monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{other.port}")
    path = tmp_path / "one.dcm"
    path.write_bytes(encoded(dicom()))
    archive = WebArchive(named.url, Access(ca_file=ca_file), backoff_s=0.001)
    with pytest.raises(TransferError, match="it sends us elsewhere") as caught:
        ask(archive, path, tmp_path / "out")
    assert other.heads == []
    assert len(named.heads) == 1
    assert b"authorization" not in named.heads[0].lower()
    assert "CANARY" not in str(caught.value)


ZEROS = bytes(2**20)
GZIPPED = gzip.compress(bytes(2**28), 1)


@pytest.mark.parametrize(
    ("way", "behave", "why"),
    [
        pytest.param(FETCH, sending(one_part(deflated)), "deflated", id="deflated part"),
        pytest.param(FETCH, sending(endless(MULTIPART + PART, ZEROS)), "larger than allowed", id="endless part"),
        pytest.param(FETCH, sending(endless(MULTIPART, ZEROS)), "no multipart", id="endless preamble"),
        pytest.param(FETCH, sending(endless(MULTIPART, PART + b"\r\n")), "no DICOM", id="endless parts"),
        pytest.param(FETCH, sending(endless(MULTIPART + b"--edge\r\n", ZEROS)), "no multipart", id="endless headers"),
        pytest.param(FETCH, sending(one_part(lambda: items(4_000_000))), "no image needs", id="millions of items"),
        pytest.param(FETCH, sending(one_part(lambda: items(90_000))), "", id="items within bounds"),
        pytest.param(FETCH, sending(one_part(lambda: long_element(300 * 2**20))), "no DICOM", id="long element"),
        pytest.param(FIND, endless(head(200), ZEROS), "larger than 16 MiB", id="endless answer"),
        pytest.param(FIND, endless(head(503), ZEROS), "HTTP status 503", id="endless 503"),
        pytest.param(FIND, endless(head(404), ZEROS), "HTTP status 404", id="endless 404"),
        pytest.param(FIND, endless(head(307, Location="/x"), ZEROS), "elsewhere", id="endless 307"),
        pytest.param(
            FIND, endless(head(307, Location="/x", Content_Encoding="gzip"), GZIPPED), "elsewhere", id="gzip 307"
        ),
        pytest.param(FIND, endless(head(503, Content_Encoding="gzip"), GZIPPED), "503", id="gzip 503"),
        pytest.param(FIND, endless(head(Content_Encoding="gzip"), GZIPPED), "compressed", id="gzip"),
        pytest.param(FIND, endless(head(Content_Encoding="deflate"), ZEROS), "compressed", id="falsely compressed"),
        pytest.param(FIND, endless(b"HTTP/1.1 200 X\r\n", b"X-Y: " + b"z" * 60_000 + b"\r\n"), "broke off", id="heads"),
        pytest.param(FIND, endless(b"HTTP/1.1 200 ", b"x" * 2**20), "broke off", id="endless status line"),
    ],
)
def test_what_arrives_costs_a_bounded_amount(
    attacker: Callable[..., Attacker], caller: Caller, tmp_path: Path, way: str, behave: Behaviour, why: str
) -> None:
    url, limits = attacker(behave).url, {"instance_bytes": 400 * 2**20}
    cost = caller.find(url, **limits) if way == FIND else caller.fetch(url, tmp_path, **limits)
    assert why in cost.said
    assert bool(cost.said) == bool(why)
    assert cost.peak < MOST_BYTES
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("begin", "piece", "count"),
    [
        (b"[", b"[", 60_000_000),
        (b"[", b"[],", 20_000_000),
        (b"[", b"{},", 5_000_000),
        (b"[", b"1,", 8_000_000),
        (b'["', b"\\u4e00", 2_700_000),
        (b"", b'{"a":', 3_000_000),
    ],
    ids=["nested", "lists", "objects", "numbers", "text", "nested objects"],
)
def test_brackets_are_counted_before_they_are_parsed(
    attacker: Callable[..., Attacker], caller: Caller, begin: bytes, piece: bytes, count: int
) -> None:
    body = begin + piece * count
    service = attacker(lambda connection, _: connection.sendall(head(Content_Length=str(len(body))) + body))
    cost = caller.find(service.url)
    assert "larger than 16 MiB" in cost.said or "values" in cost.said or "no DICOM" in cost.said
    assert cost.peak < MOST_BYTES


@pytest.mark.parametrize(
    "behave",
    [
        dripping(b""),
        dripping(b"HTTP/1.1 200 X\r\nX-Y: "),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(head(Content_Length="1000000"), b" "),
        dripping(head(Transfer_Encoding="chunked")),
        dripping(head(Transfer_Encoding="chunked"), b"1\r\n \r\n"),
        dripping(head(Transfer_Encoding="chunked") + b"0\r\n", b"a: b\r\n"),
        dripping(head(), b" "),
    ],
    ids=["status", "header", "continue", "body", "chunk size", "chunks", "trailers", "until the end"],
)
def test_a_service_that_drips_is_left_at_the_deadline(attacker: Callable[..., Attacker], behave: Behaviour) -> None:
    archive = WebArchive(attacker(behave).url, limits=Limits(answer_seconds=0.4), backoff_s=0.001)
    with pytest.raises(TransferError, match="took more than 0.4 s|no connection|no DICOM"):
        archive.find(StudyQuery())


def test_repetitions_share_one_deadline(attacker: Callable[..., Attacker]) -> None:
    """Each answer would be in time."""

    def busy(connection: socket.socket, _head: bytes) -> None:
        time.sleep(0.3)
        connection.sendall(head(503, Content_Length="0"))

    slow = attacker(busy)
    with pytest.raises(TransferError, match="took more than 0.4 s"):
        WebArchive(slow.url, limits=Limits(answer_seconds=0.4), backoff_s=0.001).find(StudyQuery())
    assert len(slow.heads) == 2
