"""A DICOM peer that attacks whoever asks it: what it makes us hold in memory or wait for."""

from __future__ import annotations

import io
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_FIND_RSP, C_GET_RSP, C_STORE_RQ
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as Find
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as Get
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as Move

from costs import MOST_BYTES, STUDY, Caller
from duoscan.archives.archive import Limits, StudyQuery
from duoscan.archives.retrieve import PeerArchive
from duoscan.archives.send import Peer
from duoscan.errors import TransferError
from node_parts import free_port

LIMITS = {"instance_bytes": 400 * 2**20, "instances": 1000}
ZEROS = bytes(2**17)
Attack = Callable[[Any, int], Iterator[bytes]]


def pdus(message: Any, primitive: Any, context_id: int) -> bytes:
    """A message as it goes over the network."""
    message.primitive_to_message(primitive)
    sent = b""
    for one in message.encode_msg(context_id, 2**14):
        pdu = P_DATA_TF()
        pdu.from_primitive(one)
        sent += pdu.encode()
    return sent


def fragment(context_id: int, content: bytes, control: int = 0) -> bytes:
    """A PDU with a piece of a data set (PS3.8 E.2); more follow, unless ``control`` says otherwise."""
    size = len(content)
    return struct.pack(">BBLLBB", 4, 0, size + 6, size + 2, context_id, control) + content


def storing(context_id: int) -> bytes:
    """The command of a C-STORE request; its data set follows."""
    request = C_STORE()
    request.MessageID, request.Priority, request.AffectedSOPClassUID = 1, 2, CTImageStorage
    request.AffectedSOPInstanceUID, request.DataSet = f"{STUDY}.1", io.BytesIO(b"\0\0")
    whole = pdus(C_STORE_RQ(), request, context_id)
    return whole[: len(whole) - 14]  # without the fragment of two bytes


def found(context_id: int, identifier: bytes) -> bytes:
    answer = C_FIND()
    answer.MessageIDBeingRespondedTo, answer.Status = 1, 0xFF00
    answer.AffectedSOPClassUID, answer.Identifier = Find, io.BytesIO(identifier)
    return pdus(C_FIND_RSP(), answer, context_id)


def element(group: int, number: int, content: bytes) -> bytes:
    return struct.pack("<HHL", group, number, len(content)) + content


DESCRIBED = element(0x0020, 0x000D, STUDY.encode() + b"\0")


def endless_object(association: Any, _context_id: int) -> Iterator[bytes]:
    context_id = context_of(association, CTImageStorage)
    yield storing(context_id)
    while True:
        yield fragment(context_id, ZEROS)


def object_of_items(association: Any, _context_id: int) -> Iterator[bytes]:
    context_id = context_of(association, CTImageStorage)
    yield storing(context_id)
    yield fragment(context_id, struct.pack("<HH2s2xL", 0x0007, 0x0006, b"SQ", 0xFFFFFFFF))
    for _ in range(200):
        yield fragment(context_id, struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 2**14)
    yield fragment(context_id, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + DESCRIBED, 2)
    time.sleep(2)


def endless_progress(_association: Any, context_id: int) -> Iterator[bytes]:
    answer = C_GET()
    answer.MessageIDBeingRespondedTo, answer.Status, answer.AffectedSOPClassUID = 1, 0xFF00, Get
    answer.NumberOfRemainingSuboperations = 1
    sent = pdus(C_GET_RSP(), answer, context_id)
    while True:
        yield sent


def endless_command(_association: Any, context_id: int) -> Iterator[bytes]:
    while True:
        yield fragment(context_id, ZEROS, 1)


def endless_answer(_association: Any, context_id: int) -> Iterator[bytes]:
    whole = found(context_id, b"\0\0")
    yield whole[: len(whole) - 14]
    while True:
        yield fragment(context_id, ZEROS)


def endless_answers(_association: Any, context_id: int) -> Iterator[bytes]:
    sent = found(context_id, DESCRIBED) * 100
    while True:
        yield sent


def large_answers(_association: Any, context_id: int) -> Iterator[bytes]:
    sent = found(context_id, DESCRIBED + element(0x0010, 0x0020, b"x" * 60_000))
    while True:
        yield sent


def answer_of_items(_association: Any, context_id: int) -> Iterator[bytes]:
    whole = found(context_id, b"\0\0")
    yield whole[: len(whole) - 14]
    yield fragment(context_id, struct.pack("<HHL", 0x0007, 0x0006, 0xFFFFFFFF))
    for _ in range(200):
        yield fragment(context_id, struct.pack("<HHL", 0xFFFE, 0xE000, 0) * 2**14)
    yield fragment(context_id, struct.pack("<HHL", 0xFFFE, 0xE0DD, 0) + DESCRIBED, 2)
    time.sleep(2)


def context_of(association: Any, sop_class: str) -> int:
    return next(int(one.context_id) for one in association.accepted_contexts if one.abstract_syntax == sop_class)


class Hostile:
    """A peer that lists one study, and attacks when a question of one kind comes."""

    def __init__(self, question: str, attack: Attack) -> None:
        self._question, self._attack = question, attack
        self.syntaxes: list[str] = []
        entity = AE("PACS")
        for sop_class in (Find, Get, Move):
            entity.add_supported_context(sop_class)
        syntaxes = [DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian]
        entity.add_supported_context(CTImageStorage, syntaxes, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.peer = Peer("PACS", "127.0.0.1", int(self.server.socket.getsockname()[1]))

    def _flood(self, association: Any, context_id: int) -> None:
        with suppress(OSError, AttributeError):
            connection = association.dul.socket.socket
            connection.settimeout(20)
            for sent in self._attack(association, context_id):
                connection.sendall(sent)
        association.abort()

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        if self._question == "find":
            self._flood(event.assoc, event.context.context_id)
            return
        answer = Dataset()
        answer.StudyInstanceUID = STUDY
        yield 0xFF00, answer

    def _get(self, event: Any) -> Iterator[Any]:
        self._flood(event.assoc, event.context.context_id)
        yield 0

    def _move(self, event: Any) -> Iterator[Any]:
        port = int(self._question)
        entity = AE("PACS")
        entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", port, ae_title="DUOSCAN")
        self._flood(association, 1)
        yield "127.0.0.1", port
        yield 0


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    one = Caller()
    yield one
    one.close()


@pytest.fixture
def hostile() -> Iterator[Callable[..., Hostile]]:
    started: list[Hostile] = []

    def start(question: str, attack: Attack) -> Hostile:
        started.append(Hostile(question, attack))
        return started[-1]

    yield start
    for one in started:
        one.server.shutdown()


@pytest.mark.parametrize(
    ("question", "attack", "why"),
    [
        ("get", endless_object, "larger than allowed"),
        ("get", object_of_items, "no image needs"),
        ("get", endless_progress, "progress without end|does not wait for answers"),
        ("get", endless_command, "object too large"),
        ("get", endless_answers, "was not answered"),
        ("find", endless_answer, "object too large"),
        ("find", endless_answers, ""),
        ("find", large_answers, ""),
        ("find", answer_of_items, "object too large"),
        ("find", endless_command, "object too large"),
    ],
)
def test_what_a_peer_sends_costs_a_bounded_amount(
    hostile: Callable[..., Hostile], caller: Caller, tmp_path: Path, question: str, attack: Attack, why: str
) -> None:
    peer = str(hostile(question, attack).peer)
    cost = caller.find(peer, **LIMITS) if question == "find" else caller.fetch(peer, tmp_path, **LIMITS)
    assert re.search(why, cost.said)
    assert bool(cost.said) == bool(why)
    assert cost.peak < MOST_BYTES
    assert list(tmp_path.iterdir()) == []


def test_an_endless_object_that_a_peer_sends_to_our_port(
    hostile: Callable[..., Hostile], caller: Caller, tmp_path: Path
) -> None:
    port = free_port()
    cost = caller.fetch(str(hostile(str(port), endless_object).peer), tmp_path, move_port=port, **LIMITS)
    assert "larger than allowed" in cost.said
    assert cost.peak < MOST_BYTES
    assert list(tmp_path.iterdir()) == []


def test_the_deflated_syntax_is_not_offered(hostile: Callable[..., Hostile], tmp_path: Path) -> None:
    seen: list[str] = []

    def look(association: Any, _context_id: int) -> Iterator[bytes]:
        offered = association.requestor.requested_contexts
        seen.extend(str(syntax) for one in offered for syntax in one.transfer_syntax)
        yield b""

    with pytest.raises(TransferError):
        PeerArchive(hostile("get", look).peer, timeout_s=5).fetch(STUDY, tmp_path)
    assert ExplicitVRLittleEndian in seen
    assert DeflatedExplicitVRLittleEndian not in seen


@pytest.mark.parametrize("begin", [b"", struct.pack(">BBL", 2, 0, 200_000), struct.pack(">BBL", 4, 0, 0xFFFFFFF0)])
def test_a_peer_that_drips_instead_of_accepting_is_left(begin: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with suppress(OSError), connection:
                connection.sendall(begin or b"\x02")
                while True:
                    connection.sendall(b"\0")
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        peer = Peer("PACS", "127.0.0.1", int(listener.getsockname()[1]))
        with pytest.raises(TransferError, match="no association"):
            PeerArchive(peer, timeout_s=1).find(StudyQuery())


def test_a_peer_that_drips_an_answer_is_left_at_the_deadline(hostile: Callable[..., Hostile]) -> None:
    """Each PDU is whole and in time."""

    def drip(_association: Any, context_id: int) -> Iterator[bytes]:
        while True:
            yield fragment(context_id, b"\0", 1)
            time.sleep(0.1)

    archive = PeerArchive(hostile("find", drip).peer, Limits(answer_seconds=1.5), timeout_s=20)
    with pytest.raises(TransferError, match="took more than 1.5 s"):
        archive.find(StudyQuery())
