"""Orthanc as the PACS, over DICOM's own network and over DICOMweb.

Studies are stored there, found, fetched and screened; the results come back, are found again and say what they rest on.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from duoscan.archives.archive import Access, Archive, StudyQuery
from duoscan.archives.credentials import VARIABLE, read_authorization
from duoscan.archives.opening import open_archive
from duoscan.archives.send import Peer, send_files
from duoscan.errors import InputError, TransferError
from duoscan.interfaces.cli import main
from duoscan.phantom.cohort import write_cohort
from duoscan.phantom.plan import FileFormat, PhantomOptions
from duoscan.terms import Modality
from node_parts import free_port
from orthanc import CREDENTIALS, Orthanc, needs_orthanc, running_orthanc

OBJECTS = "sr,heatmap,seg,pmap,gsps"


@pytest.fixture(scope="module", params=["dimse", "web"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def move_port() -> int:
    """Where it may send to us."""
    return free_port()


@pytest.fixture(scope="module")
def pacs(way: str, move_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    allowed = {f"DicomAlwaysAllow{what}": True for what in ("Store", "Find", "Get", "Move")}
    known = {"duoscan": ["DUOSCAN", "127.0.0.1", move_port]}
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), DicomModalities=known, **allowed) as running:
        yield running


@pytest.fixture
def archive(pacs: Orthanc, way: str) -> Archive:
    return open_archive(pacs.address(way), Access(read_authorization(None, {VARIABLE: CREDENTIALS})))


def identities(paths: list[Path]) -> dict[str, bytes]:
    """SOPInstanceUID and pixels of each file."""
    return {str(one.SOPInstanceUID): one.get("PixelData", b"") for one in map(pydicom.dcmread, paths)}


def screen(incoming: Path, out: Path, address: str, bundles: dict[Modality, Path]) -> None:
    models = ["--xray-bundle", str(bundles[Modality.CXR]), "--ct-bundle", str(bundles[Modality.CT])]
    results = ["--dicom-out", str(out), "--dicom-objects", OBJECTS, "--send", address]
    with pytest.raises(SystemExit) as ended:
        main(["screen", str(incoming), "--need-ct-all", *results, *models])
    assert ended.value.code in {0, None}


@needs_orthanc
def test_store_screen_send_back_query_and_retrieve(
    pacs: Orthanc,
    way: str,
    archive: Archive,
    brightness_bundles: dict[Modality, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, CREDENTIALS)
    options = PhantomOptions(patients=3, seed=4, slices=6, ct_size=64, xray_size=96, formats=FileFormat.DICOM)
    write_cohort(options, tmp_path / "cohort", workers=1)
    sources = sorted((tmp_path / "cohort" / "dicom").rglob("*.dcm"))
    archive.store(sources)
    assert pacs.count() == len(sources) == 3 * (1 + 6)

    studies = archive.find(StudyQuery())
    assert len(studies) == 6
    assert {one.study_uid for one in archive.find(StudyQuery(modality="CT"))} < {one.study_uid for one in studies}
    for one in studies:
        archive.fetch(one.study_uid, tmp_path / "incoming")
    fetched = sorted((tmp_path / "incoming").glob("*.dcm"))
    assert identities(fetched) == identities(sources)

    screen(tmp_path / "incoming", tmp_path / "out", pacs.address(way), brightness_bundles)
    # Of three patients: a report a study; a heatmap and a presentation state an X-ray; three heatmaps, a segmentation
    # and a map a CT.
    made = 6 + 3 * (1 + 1) + 3 * (3 + 1 + 1)
    assert pacs.count() == len(sources) + made
    told = capsys.readouterr().out
    assert f"{tmp_path / 'out'}: {made} DICOM objects of 6 studies written" in told
    assert f"{pacs.address(way)}: {made} files stored" in told

    known = {uid: study for study, uid in map(study_and_instance, sources)}
    reported = archive.find(StudyQuery(modality="SR"))
    assert len(reported) == 6
    for one in [next(study for study in reported if kind in study.modalities) for kind in ("CT", "CR")]:
        expected = {"SR", "CT", "OT", "SEG"} if "CT" in one.modalities else {"SR", "CR", "OT", "PR"}
        assert set(one.modalities) >= expected
        back = [pydicom.dcmread(path) for path in archive.fetch(one.study_uid, tmp_path / "back" / one.study_uid)]
        assert len(back) == one.instances == (6 + 6 if "CT" in one.modalities else 1 + 3)
        for result in back:
            if str(result.SOPInstanceUID) in known:
                continue
            rests_on = referenced(result)
            assert rests_on
            assert {known[uid] for uid in rests_on} == {one.study_uid}

    # Answering and sending once more adds nothing.
    screen(tmp_path / "incoming", tmp_path / "again", pacs.address(way), brightness_bundles)
    assert pacs.count() == len(sources) + made


def study_and_instance(path: Path) -> tuple[str, str]:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return str(header.StudyInstanceUID), str(header.SOPInstanceUID)


def referenced(dataset: pydicom.Dataset) -> set[str]:
    """The instances an object refers to, wherever it does."""
    return {str(one.value) for one in dataset.iterall() if one.keyword == "ReferencedSOPInstanceUID"}


@needs_orthanc
def test_the_command_finds_fetches_and_stores(
    pacs: Orthanc,
    way: str,
    move_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(VARIABLE, CREDENTIALS)
    options = PhantomOptions(patients=3, seed=9, slices=4, ct_size=32, xray_size=32, formats=FileFormat.DICOM)
    write_cohort(options, tmp_path / "cohort", workers=1)
    address = pacs.address(way)
    assert run(["pacs", "store", address, str(tmp_path / "cohort" / "dicom")]) == 0
    found = tmp_path / "found.json"
    arguments = ["--patient", "phantom-9-0001", "--modality", "ct", "--date", "20200101-20200102", "--json", str(found)]
    assert run(["pacs", "find", address, *arguments]) == 0
    (study,) = json.loads(found.read_text(encoding="utf-8"))
    assert study["instances"] == 4
    assert run(["pacs", "fetch", address, study["study_uid"], "--out", str(tmp_path / "in")]) == 0
    assert len(list((tmp_path / "in").glob("*.dcm"))) == 4
    if way == "dimse":
        port = str(move_port)
        arguments = [
            "pacs",
            "fetch",
            address,
            study["study_uid"],
            "--out",
            str(tmp_path / "moved"),
            "--move-port",
            port,
        ]
        assert run(arguments) == 0
        assert identities(list((tmp_path / "moved").glob("*"))) == identities(list((tmp_path / "in").glob("*")))
    said = capsys.readouterr().out
    assert "15 files stored" in said
    assert "study 1 of 1: 4 instances" in said


def test_a_picture_is_not_stored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"PNG")
    assert run(["pacs", "store", "NOBODY@127.0.0.1:1", str(picture)]) == 2
    assert "picture.png; only such are stored" in capsys.readouterr().err


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@needs_orthanc
def test_a_study_that_is_not_there(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="the study is not there"):
        archive.fetch("1.2.3.4.5", tmp_path)
    assert archive.find(StudyQuery(patient_id="nobody")) == []


@pytest.mark.parametrize("uid", ["../../etc", "1.2/studies", "", "1" * 65, "1.2.3\n"])
def test_what_names_no_study(uid: str, tmp_path: Path) -> None:
    for address in ("ORTHANC@127.0.0.1:4242", "https://127.0.0.1/dicom-web"):
        with pytest.raises(InputError, match="StudyInstanceUID"):
            open_archive(address).fetch(uid, tmp_path)


@pytest.mark.parametrize(
    "query", [StudyQuery(date="2020-01-01"), StudyQuery(modality="C T"), StudyQuery(study_uid="1.2/x")]
)
def test_what_no_archive_understands(query: StudyQuery) -> None:
    for address in ("ORTHANC@127.0.0.1:4242", "https://127.0.0.1/dicom-web"):
        with pytest.raises(InputError):
            open_archive(address).find(query)


def test_a_peer_that_is_not_there(tmp_path: Path) -> None:
    options = PhantomOptions(patients=3, seed=4, slices=4, ct_size=32, xray_size=32, formats=FileFormat.DICOM)
    write_cohort(options, tmp_path / "cohort", workers=1)
    one = next((tmp_path / "cohort" / "dicom").rglob("*.dcm"))
    with pytest.raises(TransferError, match="no association"):
        send_files([one], Peer("NOBODY", "127.0.0.1", free_port()), timeout_s=2)
    gc.collect()


@pytest.mark.parametrize(
    "text", ["ORTHANC", "A@host", "A@host:0", "A@host:70000", "much-too-long-a-title@host:104", ""]
)
def test_what_names_no_peer(text: str) -> None:
    with pytest.raises(InputError, match="TITLE@host:port"):
        Peer.parse(text)
