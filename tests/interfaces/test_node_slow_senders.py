"""Peers that send, but hardly: whoever else calls is served meanwhile, and they are sent away in the end."""

from __future__ import annotations

import gc
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from duoscan.terms import Modality
from listening import Running, listening
from node_parts import calling, cohort, wait_until

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SLOW, NORMAL = "127.0.0.1", "127.0.0.2"
ASSOCIATE, DATA = 0x01, 0x04


@pytest.fixture
def listen(brightness_bundles: dict[Modality, Path], tmp_path: Path) -> Iterator[Callable[..., Running]]:
    given = {"listen__peers": ["127.0.0.0/8"], "listen__timeout_s": 1}
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(listening(tmp_path, brightness_bundles, **(given | changes)))
    gc.collect()


class Dripping(threading.Thread):
    """Sends what it is given, then one byte after the other until it is cut off."""

    def __init__(self, connection: socket.socket, begin: bytes, pause_s: float = 0.1) -> None:
        super().__init__(daemon=True)
        self.connection, self._begin, self._pause_s = connection, begin, pause_s
        self.start()

    def run(self) -> None:
        try:
            self.connection.sendall(self._begin)
            while True:
                self.connection.sendall(b"\0")
                time.sleep(self._pause_s)
        except OSError:
            self.connection.close()


def claimed(kind: int, size: int = 200_000) -> bytes:
    """The first bytes of a PDU of such a size (PS3.8 9.3)."""
    return struct.pack(">BBL", kind, 0, size)


def is_served(port: int, path: Path) -> bool:
    """Whether another peer can verify and store."""
    with calling(port, bind_address=(NORMAL, 0)) as association:
        return bool(
            association.is_established
            and association.send_c_echo().get("Status") == 0x0000
            and association.send_c_store(dcmread(path)).get("Status") == 0x0000
        )


def is_accepted(port: int) -> bool:
    with calling(port, bind_address=(SLOW, 0)) as association:
        return bool(association.is_established)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cohort(tmp_path_factory.mktemp("cohort") / "c", patients=1)


def test_a_peer_that_drips_into_requests_is_cut_off_while_another_is_served(listen: Any, files: list[Path]) -> None:
    node = listen()
    drips = [
        Dripping(socket.create_connection((SLOW, node.port), source_address=(SLOW, 0)), claimed(ASSOCIATE))
        for _ in range(24)
    ]
    assert is_served(node.port, files[0])
    assert any(one.is_alive() for one in drips)
    wait_until(lambda: not any(one.is_alive() for one in drips), 20)
    assert "too many connections of one address" in node.log.getvalue()


@pytest.mark.parametrize("begin", [b"", claimed(DATA)[:3], claimed(DATA)])
def test_a_peer_that_drips_into_an_association_is_cut_off(listen: Any, files: list[Path], begin: bytes) -> None:
    node = listen()
    with ExitStack() as stack:
        held = [stack.enter_context(calling(node.port, bind_address=(SLOW, 0))) for _ in range(4)]
        assert all(one.is_established for one in held)
        drips = [Dripping(one.dul.socket.socket, begin or claimed(DATA, 6)) for one in held]
        assert is_served(node.port, files[0])
        wait_until(lambda: not any(one.is_alive() for one in drips), 20)


def test_a_message_in_tiny_pieces_is_cut_off(listen: Any, files: list[Path]) -> None:
    """Each PDU is whole and in time; the object would take for ever."""
    node = listen()
    with calling(node.port, bind_address=(SLOW, 0)) as association:
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
        piece = struct.pack(">BBLLBBB", DATA, 0, 7, 3, context.context_id, 0, 0)
        connection, is_cut = association.dul.socket.socket, threading.Event()

        def send() -> None:
            try:
                while True:
                    connection.sendall(piece)
                    time.sleep(0.2)
            except OSError:
                is_cut.set()

        threading.Thread(target=send, daemon=True).start()
        assert is_served(node.port, files[0])
        assert is_cut.wait(20)
    assert "object too slow" in node.log.getvalue()


def test_one_address_holds_so_many_associations_and_no_more(listen: Any, files: list[Path]) -> None:
    node = listen(listen__max_associations=4, listen__max_associations_per_address=2)
    with ExitStack() as stack:
        held = [stack.enter_context(calling(node.port, bind_address=(SLOW, 0))) for _ in range(3)]
        assert [one.is_established for one in held] == [True, True, False]
        assert is_served(node.port, files[0])
    wait_until(lambda: is_accepted(node.port))


def test_the_end_waits_for_no_slow_sender(listen: Any) -> None:
    node = listen(listen__timeout_s=60)
    with ExitStack() as stack:
        held = [stack.enter_context(calling(node.port, bind_address=(SLOW, 0))) for _ in range(3)]
        drips = [Dripping(one.dul.socket.socket, claimed(DATA)) for one in held]
        drips.append(
            Dripping(socket.create_connection((SLOW, node.port), source_address=(SLOW, 0)), claimed(ASSOCIATE))
        )
        time.sleep(0.5)  # they are in the middle of it
        end = threading.Thread(target=node.listener.stop)
        end.start()
        wait_until(lambda: not end.is_alive(), 20)
        wait_until(lambda: not any(one.is_alive() for one in drips), 20)
