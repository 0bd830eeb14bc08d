"""What the node takes, from whom, and what is on the disk when it says so."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from duoscan.archives.send import Peer, send_files
from duoscan.archives.tls import Tls
from duoscan.errors import InputError, UnreachableError
from duoscan.terms import Modality
from duoscan.worklist.journal import Journal, SentObject, StudyState
from duoscan.worklist.log import EventLog
from duoscan.worklist.received import read_received
from duoscan.worklist.spool import Spool, file_key
from listening import Running, listening
from node_parts import calling, cohort, store, wait_until

# pynetdicom leaves the sockets of connections that came to nothing to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cohort(tmp_path_factory.mktemp("cohort") / "c")


@pytest.fixture
def listen(brightness_bundles: dict[Modality, Path], tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(listening(tmp_path / "spool", brightness_bundles, **changes))
    gc.collect()


def test_what_is_acknowledged_is_on_the_disk_as_it_was_sent(listen: Any, files: list[Path]) -> None:
    node = listen()
    with calling(node.port) as association:
        assert association.send_c_echo().Status == 0x0000
    assert store(node.port, files) == [0x0000] * len(files)
    kept = {str(one.SOPInstanceUID): one for one in map(dcmread, node.kept())}
    for path in files:
        sent = dcmread(path)
        assert kept[sent.SOPInstanceUID] == sent
        assert kept[sent.SOPInstanceUID].file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert list((node.spool.root / "incoming").iterdir()) == []
    assert node.journal.counts()[StudyState.RECEIVING] == 6


def test_the_file_and_its_name_are_on_the_disk_before_the_answer(
    listen: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of what is done, down to the journal's entry, which is the last thing before success."""
    node, order = listen(), []
    real = {name: getattr(Spool, name) for name in ("write_incoming", "keep")}
    synced: list[str] = []
    real_fsync = os.fsync
    monkeypatch.setattr("duoscan.worklist.spool.os.fsync", lambda handle: (synced.append(""), real_fsync(handle)))
    for name, function in real.items():

        def spy(*arguments: Any, name: str = name, function: Any = function) -> Any:
            result = function(*arguments)
            order.append((name, len(synced)))
            return result

        monkeypatch.setattr(Spool, name, spy)
    real_add = Journal.add
    monkeypatch.setattr(Journal, "add", lambda *a, **k: (order.append(("add", len(synced))), real_add(*a, **k))[1])
    assert store(node.port, files[:1]) == [0x0000]
    # One fsync for the content, two for the names: of the study's new folder and of the file in it.
    assert order == [("write_incoming", 1), ("keep", 3), ("add", 3)]


def test_the_same_object_again_is_acknowledged_and_other_content_is_not(listen: Any, files: list[Path]) -> None:
    node = listen()
    assert store(node.port, [files[0], files[0]]) == [0x0000, 0x0000]
    before = node.kept()[0].read_bytes()
    changed = dcmread(files[0])
    changed.ImageComments = "something else"
    with calling(node.port) as association:
        assert association.send_c_store(changed).Status == 0x0111
    assert [path.read_bytes() for path in node.kept()] == [before]
    assert '"repeated"' in node.log.getvalue()


@pytest.mark.parametrize(
    ("keyword", "value", "status"),
    [
        ("StudyInstanceUID", "../../etc/passwd", 0xC000),
        ("StudyInstanceUID", "..", 0xC000),
        ("StudyInstanceUID", "", 0xC000),
        ("StudyInstanceUID", "1." + "2" * 80, 0xC000),
        ("SOPInstanceUID", "1.2.3", 0xA900),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1", 0xA900),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
def test_what_names_no_object_or_another_is_refused(
    listen: Any, files: list[Path], keyword: str, value: str, status: int
) -> None:
    node = listen()
    (image,) = [one for one in map(dcmread, files[:4]) if one.Modality == "CT"][:1]
    stated = image.SOPInstanceUID
    image[keyword].value = value
    with calling(node.port) as association:
        assert send_as(association, image, stated).Status == status
        assert association.send_c_echo().Status == 0x0000  # and the association goes on
    assert node.kept() == []
    assert sorted(path.name for path in node.spool.root.iterdir() if path.is_dir()) == [
        "incoming",
        "results",
        "staging",
        "studies",
    ]


def send_as(association: Any, dataset: Dataset, uid: str) -> Dataset:
    """C-STORE of a data set under the UIDs of a CT image, whatever it says itself."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return send_bytes(association, buffer.getvalue(), uid)


def send_bytes(association: Any, content: bytes, uid: str) -> Dataset:
    """C-STORE of bytes that pynetdicom would not send by itself."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = CTImageStorage, uid
    request.DataSet = io.BytesIO(content)
    context = next(one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    found = Dataset()
    found.Status = answer.Status
    return found


def test_bytes_that_are_no_data_set_are_refused(listen: Any) -> None:
    node = listen()
    nested = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x06\x00SQ\x00\x00\xff\xff\xff\xff" * 5000
    with calling(node.port) as association:
        for content in (b"\0" * 8, b"rubbish" * 99, b"\x08\x00\x06\x00SQ\x00\x00\xff\xff\xff\xff" + nested):
            assert send_bytes(association, content, generate_uid()).Status == 0xC000
    assert node.kept() == []


def test_another_patient_in_the_same_study_is_refused(listen: Any, files: list[Path]) -> None:
    node = listen()
    assert store(node.port, files[:1]) == [0x0000]
    stranger = dcmread(files[0])
    stranger.PatientID, stranger.SOPInstanceUID = "somebody-else", generate_uid()
    stranger.file_meta.MediaStorageSOPInstanceUID = stranger.SOPInstanceUID
    with calling(node.port) as association:
        assert association.send_c_store(stranger).Status == 0xA900


def test_own_results_that_come_back_are_not_taken_for_new_images(listen: Any, files: list[Path]) -> None:
    node = listen()
    image = read_received(files[0])
    node.journal.add(image, "", now=0, quiet_s=0)
    case = node.journal.next_to_screen(now=0, memory_s=0)
    other = dcmread(files[1])
    node.journal.finish_screening(case, [SentObject(str(other.SOPInstanceUID), image.study, "x")], "", {}, now=0)
    assert store(node.port, [files[1]]) == [0x0000]
    assert node.kept() == []


def test_a_study_that_is_closed_meanwhile_takes_nothing(
    listen: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are deleted after the record of it, so an object that comes in between must not be acknowledged."""
    node = listen()
    slices = [path for path in files if dcmread(path).Modality == "CT"]
    assert store(node.port, slices[:1]) == [0x0000]
    study = read_received(slices[0]).study
    real = Spool.keep

    def keep(self: Spool, temporary: Path, key: str, name: str) -> None:
        real(self, temporary, key, name)
        node.journal.put_back(study, StudyState.REPORTED, now=0, retry_at=0, reason="", attempts=0)
        assert node.journal.remove_finished(before=1) == [study]

    monkeypatch.setattr(Spool, "keep", keep)
    assert store(node.port, slices[1:2]) == [0xC100]


def test_a_full_disk_refuses_and_leaves_nothing(
    listen: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = listen()

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("duoscan.worklist.spool.os.fsync", full)
        assert store(node.port, files[:1]) == [0xA700]
    assert node.kept() == []
    assert list((node.spool.root / "incoming").iterdir()) == []
    assert store(node.port, files[:1]) == [0x0000]


def test_an_almost_full_disk_refuses(listen: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    node = listen(listen__min_free_mb=10)
    monkeypatch.setattr(Spool, "free_bytes", lambda _self: 10 * 2**20)
    assert store(node.port, files[:1]) == [0xA700]


def test_an_object_that_is_too_large_ends_the_association(listen: Any, files: list[Path]) -> None:
    node = listen(listen__max_object_mb=1)
    large = dcmread(files[0])
    large.add_new(0x00091001, "OB", b"\0" * (2 * 2**20))
    with calling(node.port) as association:
        assert association.send_c_store(large).get("Status") is None
    assert node.kept() == []
    assert "object too large" in node.log.getvalue()
    assert store(node.port, files[:1]) == [0x0000]


def test_a_peer_that_does_not_wait_for_answers_is_cut_off(
    listen: Any, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every object it sends ahead would be in memory at once."""
    node = listen()
    real = Spool.write_incoming
    monkeypatch.setattr(Spool, "write_incoming", lambda *a: (time.sleep(0.5), real(*a))[1])
    request = C_STORE()
    request.MessageID, request.Priority, request.AffectedSOPClassUID = 1, 2, CTImageStorage
    with calling(node.port) as association:
        context = next(one for one in association.accepted_contexts if one.abstract_syntax == CTImageStorage)
        for _ in range(8):
            request.AffectedSOPInstanceUID, request.DataSet = generate_uid(), io.BytesIO(b"0" * 1000)
            association.dimse.send_msg(request, context.context_id)
        wait_until(lambda: not association.is_established)
    assert "does not wait for answers" in node.log.getvalue()


def test_a_length_that_lies_is_not_believed(listen: Any) -> None:
    """A PDU that says it is 4 GB long; nothing near that is allocated and the connection ends."""
    node = listen()
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as raw:
        raw.sendall(struct.pack(">BBL", 0x04, 0, 0xFFFFFFF0) + b"\0" * 64)
        wait_until_ended(raw)
    with calling(node.port) as association:
        assert association.is_established


def wait_until_ended(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        while connection.recv(4096):
            pass


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"listen__calling": ["FRIEND"]}, {"calling_title": "STRANGER"}),
        ({}, {"called": "ANOTHER"}),
        ({"listen__peers": ["10.0.0.0/8"]}, {}),
    ],
)
def test_strangers_get_no_association(listen: Any, changes: dict[str, Any], options: dict[str, Any]) -> None:
    node = listen(**changes)
    with calling(node.port, **options) as association:
        assert not association.is_established
    wait_until(lambda: "refused" in node.log.getvalue() or "rejected" in node.log.getvalue())


def test_who_was_rejected_and_why_stands_in_the_log(listen: Any) -> None:
    node = listen(listen__calling=["FRIEND"])
    with calling(node.port, "STRANGER") as association:
        assert association.is_rejected
    wait_until(lambda: "rejected" in node.log.getvalue())
    (line,) = [one for one in map(json.loads, node.log.getvalue().splitlines()) if one["event"] != "stored"]
    assert (line["event"], line["calling"], line["called"]) == ("association-rejected", "STRANGER", "DUOSCAN")
    assert line["reason"] == association.acceptor.primitive.reason_str


def test_friends_get_one(listen: Any) -> None:
    node = listen(listen__calling=["FRIEND"], listen__peers=["127.0.0.0/8"])
    with calling(node.port, "FRIEND") as association:
        assert association.is_established


def test_what_is_no_image_is_not_negotiated(listen: Any) -> None:
    node = listen()
    entity = AE("SENDER")
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.88.33", ExplicitVRLittleEndian)  # Comprehensive SR
    entity.add_requested_context(CTImageStorage, "1.2.840.10008.1.2.1.99")  # deflated
    association = entity.associate("127.0.0.1", node.port, ae_title="DUOSCAN")
    assert [one.abstract_syntax for one in association.accepted_contexts] == ["1.2.840.10008.1.1"]
    association.release()


def test_several_associations_at_once_up_to_a_limit(listen: Any, files: list[Path]) -> None:
    node = listen(listen__max_associations=3)
    with ExitStack() as stack:
        open_ones = [stack.enter_context(calling(node.port)) for _ in range(3)]
        assert all(one.is_established for one in open_ones)
        with calling(node.port) as one_more:
            assert one_more.is_rejected
        for association, path in zip(open_ones, files, strict=False):
            assert association.send_c_store(dcmread(path)).Status == 0x0000
    assert len(node.kept()) == 3


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tls]:
    """Two authorities; ``node`` and ``friend`` are of one, ``stranger`` shows a certificate of the other."""
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    found = {}
    for name, authority in (("node", ours), ("friend", ours), ("stranger", theirs)):
        made = authority.issue_cert("127.0.0.1")
        made.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
        found[name] = Tls(certificate=folder / f"{name}.pem", key=folder / f"{name}.pem", ca=folder / "ca.pem")
    return found


def test_tls_with_certificates_on_both_sides(listen: Any, certificates: dict[str, Tls], files: list[Path]) -> None:
    node = listen(listen__tls=certificates["node"])
    friend = (certificates["friend"].client_context(), "127.0.0.1")
    assert store(node.port, files[:1], tls_args=friend) == [0x0000]
    nameless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nameless.load_verify_locations(certificates["friend"].ca)
    for context in (certificates["stranger"].client_context(), nameless):
        with calling(node.port, tls_args=(context, "127.0.0.1"), timeout_s=3) as association:
            assert not association.is_established
    with calling(node.port, timeout_s=3) as plain:
        assert not plain.is_established
    assert node.log.getvalue().count('"reason": "TLS"') == 3


def test_results_are_sent_over_tls(listen: Any, certificates: dict[str, Tls], files: list[Path]) -> None:
    node = listen(listen__tls=certificates["node"])
    peer = Peer("DUOSCAN", "127.0.0.1", node.port)
    send_files(files[:1], peer, tls=certificates["friend"])
    assert len(node.kept()) == 1
    with pytest.raises(UnreachableError):
        send_files(files[1:2], peer, tls=certificates["stranger"], timeout_s=3)
    elsewhere = Peer("DUOSCAN", "localhost", node.port)  # not the name in its certificate
    with pytest.raises(UnreachableError):
        send_files(files[1:2], elsewhere, tls=certificates["friend"], timeout_s=3)
    with pytest.raises(UnreachableError, match="no such host"):
        send_files(files[1:2], Peer("DUOSCAN", "nowhere.invalid", 104), timeout_s=3)


def test_a_peer_that_stalls_in_the_handshake_holds_up_nobody(
    listen: Any, certificates: dict[str, Tls], files: list[Path]
) -> None:
    node = listen(listen__tls=certificates["node"])
    with socket.create_connection(("127.0.0.1", node.port)):
        friend = (certificates["friend"].client_context(), "127.0.0.1")
        assert store(node.port, files[:1], tls_args=friend) == [0x0000]


def test_tls_files_that_are_not_there(listen: Any, tmp_path: Path) -> None:
    nothing = Tls(certificate=tmp_path / "a", key=tmp_path / "b", ca=tmp_path / "c")
    with pytest.raises(InputError, match="cannot be used"):
        listen(listen__tls=nothing)


def test_a_port_that_is_taken(listen: Any) -> None:
    node = listen()
    with pytest.raises(InputError, match="cannot listen"):
        listen(listen__port=node.port)


def test_names_on_disk_are_hashes(listen: Any, files: list[Path]) -> None:
    node = listen()
    store(node.port, files[:1])
    image = dcmread(files[0])
    assert [path.relative_to(node.spool.root / "studies") for path in node.kept()] == [
        Path(file_key(image.StudyInstanceUID)) / f"{file_key(image.SOPInstanceUID)}.dcm"
    ]


def test_the_log_names_nobody(listen: Any, files: list[Path]) -> None:
    node = listen()
    store(node.port, files)
    log = node.log.getvalue()
    assert log.count('"stored"') == len(files)
    for image in map(dcmread, files):
        for value in (image.PatientID, str(image.PatientName), image.StudyInstanceUID, image.SOPInstanceUID):
            assert value not in log


def test_the_log_names_uids_when_asked(files: list[Path]) -> None:
    stream = io.StringIO()
    EventLog(b"k", identifiers=True, stream=stream).write("stored", uids={"study": "1.2.3"}, bytes=4)
    assert '"study": "1.2.3"' in stream.getvalue()
