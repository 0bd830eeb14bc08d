"""A DICOMweb service that misbehaves in every way we can think of; what a good one does, Orthanc shows elsewhere."""

from __future__ import annotations

import io
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest
import trustme
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from duoscan.archives.archive import Access, Limits, StudyQuery
from duoscan.archives.credentials import VARIABLE, read_access, read_authorization
from duoscan.archives.http import REPETITIONS
from duoscan.archives.multipart import split_parts
from duoscan.archives.opening import open_archive
from duoscan.archives.web import WebArchive
from duoscan.errors import InputError, TransferError
from duoscan.interfaces.cli import main
from duoscan.quiet import quiet

STUDY = "1.2.826.0.1.3680043.8.498.1"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Service:
    """A server that gives one prepared answer after the other, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, str | None, int]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                service.asked.append((self.command, self.path, self.headers.get("Authorization"), len(body)))
                answer = service.answers.pop(0) if len(service.answers) > 1 else service.answers[0]
                answer(self)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # we hang up early
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def archive(self, access: Access | None = None, **limits: float) -> WebArchive:
        return WebArchive(self.url, access or Access(), Limits(**limits), backoff_s=0.001)  # type: ignore[arg-type]


@pytest.fixture
def service() -> Iterator[Service]:
    one = Service()
    yield one
    one.server.shutdown()
    one.server.server_close()


def said(
    body: bytes = b"", *, status: int = 200, kind: str = "application/dicom+json", length: int | None = None
) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def listed(instances: int | None = None) -> Answer:
    study: dict[str, object] = {"0020000D": {"vr": "UI", "Value": [STUDY]}}
    if instances is not None:
        study["00201208"] = {"vr": "IS", "Value": [instances]}
    return said(json.dumps([study]).encode())


def dataset(uid: str = f"{STUDY}.1", study: str = STUDY, size: int = 16) -> pydicom.Dataset:
    one = pydicom.Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = CTImageStorage
    with quiet:
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = uid
    one.StudyInstanceUID, one.PatientID = study, "CANARY"
    one.add_new("PixelData", "OB", bytes(size))
    return one


def encoded(one: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    with quiet:
        one.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def parts(*bodies: bytes, end: bytes = b"\r\n--edge--\r\n", **options: int) -> Answer:
    head = b"--edge\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"\r\n".join(head + one for one in bodies) + end
    return said(body, kind='multipart/related; type="application/dicom"; boundary=edge', **options)


def instances(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number}.dcm" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(encoded(dataset(f"{STUDY}.{number + 1}")))
    return paths


def failing(status: int) -> Answer:
    return said(b"patient CANARY is unknown", status=status, kind="text/plain")


def test_a_busy_service_is_asked_again(service: Service) -> None:
    service.answers = [failing(503), failing(502), listed(3)]
    (found,) = service.archive().find(StudyQuery())
    assert (found.study_uid, found.instances) == (STUDY, 3)
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("status", "requests", "advice"),
    [(503, 1 + REPETITIONS, "HTTP status 503"), (401, 1, "credentials"), (404, 1, "address")],
)
def test_errors_tell_what_to_do_and_name_nobody(service: Service, status: int, requests: int, advice: str) -> None:
    service.answers = [failing(status)]
    with pytest.raises(TransferError, match=advice) as caught:
        service.archive(Access("Bearer SECRET")).find(StudyQuery(patient_id="CANARY"))
    assert len(service.asked) == requests
    assert "CANARY" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_credentials_are_sent(service: Service) -> None:
    service.answers = [listed()]
    service.archive(Access("Bearer SECRET")).find(StudyQuery())
    assert [one[2] for one in service.asked] == ["Bearer SECRET"]


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"a":', b"[1, 2]", b'[{"0020000D": 7}]'])
def test_what_is_no_dicom_is_said_to_be_none(service: Service, body: bytes) -> None:
    service.answers = [said(body)]
    with pytest.raises(TransferError, match="no DICOM|not a DICOMweb service"):
        service.archive().find(StudyQuery())


@pytest.mark.parametrize("uid", ["../../../outside", "/etc/passwd", "a" * 64, "con\\..\\x"])
def test_a_hostile_uid_names_no_file(service: Service, tmp_path: Path, uid: str) -> None:
    service.answers = [listed(1), parts(encoded(dataset(uid)))]
    (written,) = service.archive().fetch(STUDY, tmp_path / "in")
    assert written.parent == tmp_path / "in"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert written.stem.isalnum()
    with quiet:
        assert pydicom.dcmread(written).SOPInstanceUID == dataset(uid).SOPInstanceUID


@pytest.mark.parametrize(
    ("answer", "limits", "why"),
    [
        (parts(encoded(dataset(study="1.2.3"))), {}, "another study"),
        (parts(encoded(dataset(size=4_000_000))), {"instance_bytes": 1_000_000}, "larger than allowed"),
        (parts(*[encoded(dataset(f"1.2.{n}", size=900_000)) for n in range(8)]), {"study_bytes": 3_000_000}, "larger"),
        (parts(*[encoded(dataset(f"1.2.{n}")) for n in range(3)]), {"instances": 2}, "more than 2 instances"),
        (parts(encoded(dataset()), end=b"", length=10_000), {}, "broke off"),
        (parts(b"no dicom at all"), {}, "no DICOM"),
        (parts(encoded(dataset())[:200]), {}, "no DICOM"),
        (parts(encoded(dataset())), {}, "1 of 5 instances came"),
    ],
)
def test_what_is_fetched_is_not_trusted(
    service: Service, tmp_path: Path, answer: Answer, limits: dict[str, float], why: str
) -> None:
    service.answers = [listed(5), answer]
    with pytest.raises(TransferError, match=why):
        service.archive(**limits).fetch(STUDY, tmp_path)


def described(uid: str, instances: int) -> dict[str, object]:
    return {"0020000D": {"vr": "UI", "Value": [uid]}, "00201208": {"vr": "IS", "Value": [instances]}}


def test_a_service_that_names_other_studies_too(service: Service, tmp_path: Path) -> None:
    other = described("1.2.3", 1)
    service.answers = [said(json.dumps([other, described(STUDY, 5)]).encode()), parts(encoded(dataset()))]
    with pytest.raises(TransferError, match="1 of 5 instances came"):
        service.archive().fetch(STUDY, tmp_path)
    service.answers = [said(json.dumps([other]).encode()), parts(encoded(dataset()))]
    with pytest.raises(TransferError, match="the study is not there among the 1 it names"):
        service.archive().fetch(STUDY, tmp_path)


def test_a_service_that_never_ends_is_left(service: Service, tmp_path: Path) -> None:
    stopped = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=edge')
        handler.end_headers()
        try:
            handler.wfile.write(b"--edge\r\n\r\n")
            while True:
                handler.wfile.write(b"x" * 2**20)
                handler.wfile.flush()
        except OSError:
            stopped.set()

    service.answers = [listed(), drip]
    with pytest.raises(TransferError, match="took more than 0.1 s"):
        service.archive(seconds=0.1).fetch(STUDY, tmp_path)
    assert stopped.wait(20)


@pytest.mark.parametrize(("count", "code"), [(999, 0), (1000, 1), (1001, 1)])
def test_a_list_that_may_be_cut_says_so(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, code: int
) -> None:
    studies = [{"0020000D": {"vr": "UI", "Value": [f"{STUDY}.{number}"]}} for number in range(count)]
    service.answers = [said(json.dumps(studies).encode())]
    found = tmp_path / "found.json"
    with pytest.raises(SystemExit) as ended:
        main(["pacs", "find", service.url, "--json", str(found)])
    assert int(ended.value.code or 0) == code
    assert len(json.loads(found.read_text())) == min(count, 1000)
    assert ("1000 studies are shown" in capsys.readouterr().err) == bool(code)


def test_storing_again_after_an_error_sends_the_file_again(service: Service, tmp_path: Path) -> None:
    (tmp_path / "one.dcm").write_bytes(encoded(dataset(size=3_000_000)))
    confirmed = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [f"{STUDY}.1"]}}]}}
    service.answers = [failing(503), said(json.dumps(confirmed).encode())]
    service.archive().store([tmp_path / "one.dcm"])
    assert len(service.asked) == 2
    assert service.asked[0][3] == service.asked[1][3] > 3_000_000


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}, "failure reason 0xA700"),
        ({}, "not confirmed"),
    ],
)
def test_an_instance_that_is_not_confirmed_is_not_stored(
    service: Service, tmp_path: Path, answer: dict[str, object], why: str
) -> None:
    (tmp_path / "one.dcm").write_bytes(encoded(dataset()))
    service.answers = [said(json.dumps(answer).encode())]
    with pytest.raises(TransferError, match=f"one.dcm: not stored; {why}"):
        service.archive().store([tmp_path / "one.dcm"])


def test_nobody_there(service: Service) -> None:
    archive = service.archive()
    service.server.server_close()
    service.server.shutdown()
    with pytest.raises(TransferError, match="no connection"):
        archive.find(StudyQuery(patient_id="CANARY"))


def test_parts_are_found_wherever_the_body_is_cut() -> None:
    contents = [b"", b"one", b"\r\n--edg", b"\r\n\r\n-", b"\r" * 9, b"--edge"]
    heads = [b"A: b\r\n", b"", b"A: b\r\nC: d\r\n", b"", b"", b"A: b\r\n"]
    parted = b"".join(b"\r\n--edge\r\n" + one + b"\r\n" + two for one, two in zip(heads, contents, strict=True))
    for body in (parted + b"\r\n--edge--\r\n", parted[2:] + b"\r\n--edge--", b"preamble" + parted + b"\r\n--edge-- x"):
        for size in range(1, len(body) + 1):
            chunks = (body[begin : begin + size] for begin in range(0, len(body), size))
            assert [b"".join(part) for part in split_parts(chunks, b"edge")] == contents
    with pytest.raises(TransferError, match="ends in the middle"):
        list(map(list, split_parts(iter([parted]), b"edge")))


def test_certificates_are_verified_and_shown(service: Service, tmp_path: Path) -> None:
    authority, ca_file, ours = trustme.CA(), tmp_path / "ca.pem", tmp_path / "ours.pem"
    authority.cert_pem.write_to_path(ca_file)
    authority.issue_cert("duoscan.test").private_key_and_cert_chain_pem.write_to_path(ours)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
    service.answers = [listed()]
    url = service.url.replace("http://", "https://")
    with pytest.raises(TransferError, match="--ca-file"):
        WebArchive(url, backoff_s=0.001).find(StudyQuery())
    with pytest.raises(TransferError):
        WebArchive(url, Access(ca_file=ca_file), backoff_s=0.001).find(StudyQuery())
    assert service.asked == []
    assert len(WebArchive(url, Access("", ca_file, ours, ours), backoff_s=0.001).find(StudyQuery())) == 1


@pytest.mark.parametrize(
    ("address", "authorization", "why"),
    [
        ("https://me:secret@pacs.example.org/dicom-web", "", "--auth-file"),
        ("http://pacs.example.org/dicom-web", "Bearer abc", "in clear"),
        ("https://", "", "no address"),
        ("https://host:port/", "", "no address"),
        ("ftp://pacs.example.org", "", "TITLE@host:port"),
    ],
)
def test_addresses_that_are_refused(address: str, authorization: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        open_archive(address, Access(authorization))
    assert "secret" not in str(caught.value)


def test_tls_to_a_dicom_peer_needs_all_three_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--ca-file, --certificate and --certificate-key"):
        open_archive("PACS@127.0.0.1:104", Access(ca_file=tmp_path))


def test_certificates_that_cannot_be_used_are_found_before_anything_is_screened(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(InputError, match="give PEM files that belong together"):
        open_archive("PACS@127.0.0.1:104", Access("", empty, empty, empty))


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name both"):
        Access(certificate=tmp_path)


def test_credentials_come_from_a_file_of_ours_or_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("basic user:pass word\n", encoding="utf-8")
    file.chmod(0o600)
    # user:pass word in base64
    assert read_authorization(file, {}) == "Basic dXNlcjpwYXNzIHdvcmQ="
    assert read_authorization(None, {VARIABLE: "Bearer abc.def"}) == "Bearer abc.def"
    assert read_authorization(None, {}) == ""
    file.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_authorization(file, {})
    with pytest.raises(InputError, match="cannot be read"):
        read_authorization(tmp_path / "none", {})


def test_credentials_are_not_for_a_dicom_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "auth"
    file.write_text("bearer abc", encoding="utf-8")
    file.chmod(0o600)
    with pytest.raises(SystemExit) as ended:
        main(["pacs", "find", "PACS@127.0.0.1:104", "--auth-file", str(file)])
    assert ended.value.code == 2
    assert f"{file}: credentials are for an https:// address" in capsys.readouterr().err
    assert read_access("https://pacs.test/dicom-web", file).authorization == "Bearer abc"
    monkeypatch.setenv(VARIABLE, "bearer abc")  # may be there for another archive
    assert read_access("PACS@127.0.0.1:104").authorization == ""


@pytest.mark.parametrize("line", ["secret", "basic secret", "bearer ", "bearer a b", "digest a:b", "bearer a\nX: y"])
def test_lines_that_are_no_credentials(line: str) -> None:
    with pytest.raises(InputError, match="holds no credentials") as caught:
        read_authorization(None, {VARIABLE: line})
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(Access("Basic secret"))


def test_a_service_that_only_stores_is_taken_to_have_nothing(service: Service, tmp_path: Path) -> None:
    (path,) = instances(tmp_path, 1)
    for status in (404, 405):
        service.answers = [said(status=status)]
        assert service.archive().holds([path]) == set()
    service.answers = [said(status=403)]
    with pytest.raises(TransferError, match="HTTP status 403"):
        service.archive().holds([path])
    uid = str(pydicom.dcmread(path).SOPInstanceUID)
    service.answers = [said(json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}}]).encode())]
    assert service.archive().holds([path]) == {path}
    service.answers = [said(json.dumps([{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}]).encode())]
    assert service.archive().holds([path]) == set()


def test_an_instance_that_is_refused_does_not_keep_back_the_rest(service: Service, tmp_path: Path) -> None:
    paths = instances(tmp_path, 2)
    stored: list[Path] = []
    uid = str(pydicom.dcmread(paths[1]).SOPInstanceUID)
    answer = {"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": [uid]}}]}}
    service.answers = [said(status=409), said(json.dumps(answer).encode())]
    with pytest.raises(TransferError, match="HTTP status 409"):
        service.archive().store(paths, stored.append)
    assert stored == paths[1:]
