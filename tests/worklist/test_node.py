"""The node end to end, with a destination that counts what arrives."""

from __future__ import annotations

import gc
import io
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread

from duoscan.cases.stored import read_screening
from duoscan.errors import InputError, ScreeningError
from duoscan.interfaces.node.node import Node
from duoscan.results.write import DEFAULT_OBJECTS
from duoscan.terms import Modality
from duoscan.worklist.journal import Delivery, Journal, StudyState
from duoscan.worklist.screener_process import Job, ScreenerProcess
from duoscan.worklist.spool import Spool
from node_parts import Archive, cohort, config, free_port, screenings, store, wait_until

# pynetdicom leaves the sockets of connections that came to nothing to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Started:
    """A node and its log."""

    def __init__(self, node: Node, log: io.StringIO, spool: Path) -> None:
        self.node, self.log = node, log
        self.journal = Journal(Spool(spool).journal)

    @property
    def port(self) -> int:
        return self.node.port

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.getvalue().splitlines()]

    def screenings(self) -> list[int]:
        """Of each patient."""
        return list(screenings(self.node._spool).values())

    def has(self, state: StudyState, count: int = 1) -> bool:
        return self.journal.counts()[state] == count

    def stop(self) -> None:
        self.node.stop()
        self.journal.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return cohort(tmp_path_factory.mktemp("cohort") / "c")


@pytest.fixture
def archive() -> Iterator[Archive]:
    running = Archive()
    yield running
    running.close()


class SharedProcess(ScreenerProcess):
    """A process that outlives nodes, since its start takes longer than a test."""

    def start(self) -> None:
        if self._process is None:
            super().start()

    def close(self) -> None:
        """Another node follows."""


@pytest.fixture(scope="module")
def process(brightness_bundles: dict[Modality, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    scratch = tmp_path_factory.mktemp("scratch")
    shared = SharedProcess(config(scratch, "A@127.0.0.1:1", brightness_bundles).models, scratch)
    yield shared
    shared.stop()


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def start(
    archive: Archive,
    brightness_bundles: dict[Modality, Path],
    tmp_path: Path,
    process: SharedProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    started: list[Started] = []
    monkeypatch.setattr("duoscan.interfaces.node.node.ScreenerProcess", lambda _models, _scratch: process)

    def starter(**changes: Any) -> Started:
        while started:
            started.pop().stop()
        log = io.StringIO()
        node = Node(config(tmp_path / "spool", archive, brightness_bundles, **changes), stream=log)
        started.append(Started(node, log, tmp_path / "spool"))
        node.start()
        return started[-1]

    yield starter
    while started:
        started.pop().stop()


def start_with(start: Any, files: list[Path]) -> Started:
    """A node that has all of these files before the first of them is quiet, however slow the machine."""
    assert store(start(study__quiet_s=600).port, files) == [0x0000] * len(files)
    node: Started = start()
    return node


def of_patient(files: list[Path], number: int, modality: str) -> list[Path]:
    """One study's files."""
    headers = [(path, dcmread(path, stop_before_pixels=True)) for path in files]
    patient = sorted({str(one.PatientID) for _, one in headers})[number]
    return [path for path, one in headers if one.PatientID == patient and one.Modality == modality]


def answer_of(report: Dataset) -> str:
    """The case answer in a structured report."""
    text = report.to_json()
    return next(word for word in ("CT needed", "positive", "negative", "unreadable") if f'"{word}"' in text)


def test_every_study_is_reported_once(start: Any, archive: Archive, files: list[Path]) -> None:
    first = start(study__quiet_s=600)
    assert store(first.port, files) == [0x0000] * len(files)
    node = start()
    wait_until(lambda: node.has(StudyState.REPORTED, 6))
    studies = sorted({str(dcmread(path, stop_before_pixels=True).StudyInstanceUID) for path in files})
    assert sorted(str(one.StudyInstanceUID) for one in archive.reports()) == studies
    assert set(archive.arrivals.values()) == {1}
    assert node.screenings() == [1, 1, 1]
    assert node.events().count("screening") == 3
    # The same again changes nothing, and neither does another start.
    assert store(node.port, files) == [0x0000] * len(files)
    again = start()
    time.sleep(1)
    assert again.has(StudyState.REPORTED, 6)
    assert set(archive.arrivals.values()) == {1}
    log = "".join(one.log.getvalue() for one in (first, node, again))
    for image in map(dcmread, files):
        for value in (image.PatientID, str(image.PatientName), image.StudyInstanceUID, image.SOPInstanceUID):
            assert value not in log


def test_xray_and_ct_that_come_together_are_screened_once(
    start: Any, archive: Archive, files: list[Path], process: SharedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []
    real = process.screen
    monkeypatch.setattr(process, "screen", lambda job, **options: (jobs.append(job), real(job, **options)))
    together = of_patient(files, 0, "CT") + of_patient(files, 0, "CR")
    node = start_with(start, together)
    wait_until(lambda: node.has(StudyState.REPORTED, 2))
    assert [len(job.images) for job in jobs] == [len(together)]
    assert len(list(node.node._spool.results.rglob("answer.json"))) == 1
    reports = archive.reports()
    assert {str(one.StudyInstanceUID) for one in reports} == {str(dcmread(path).StudyInstanceUID) for path in together}
    assert len(reports) == 2
    assert set(archive.arrivals.values()) == {1}


def test_an_xray_is_reported_again_where_the_ct_changes_the_answer(
    start: Any, archive: Archive, files: list[Path]
) -> None:
    """The CT was acquired, so it was asked for: it is read whatever the X-ray said, and that is said too."""
    node = start_with(start, [path for path in files if dcmread(path).Modality == "CR"])
    wait_until(lambda: node.has(StudyState.REPORTED, 3))
    first = {str(one.StudyInstanceUID): one for one in archive.reports()}
    both = start_with(start, [path for path in files if dcmread(path).Modality == "CT"])
    wait_until(lambda: both.has(StudyState.REPORTED, 6))
    assert both.screenings() == [2, 2, 2]
    assert set(archive.arrivals.values()) == {1}
    on_ct = {str(one.PatientID): one for one in archive.reports() if one.StudyInstanceUID not in first}
    times = Counter(str(one.StudyInstanceUID) for one in archive.reports())
    for study, before in first.items():
        ct = on_ct[before.PatientID]
        is_changed = answer_of(ct) != answer_of(before)
        assert times[study] == 1 + is_changed
        if is_changed:
            (after,) = [
                one
                for one in archive.reports()
                if one.StudyInstanceUID == study and one.SOPInstanceUID != before.SOPInstanceUID
            ]
            assert (answer_of(before), answer_of(after)) == ("CT needed", answer_of(ct))
        assert "X-ray" in ct.to_json()
        assert "no X-ray" not in ct.to_json()
        # Its own images are its evidence.
        evidence = ct.CurrentRequestedProcedureEvidenceSequence
        assert {str(one.StudyInstanceUID) for one in evidence} == {str(ct.StudyInstanceUID)}
    assert set(times.values()) == {1, 2}


def test_another_patients_xray_is_no_part_of_it(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start()
    store(node.port, of_patient(files, 0, "CR"))
    wait_until(lambda: node.has(StudyState.REPORTED, 1))
    store(node.port, of_patient(files, 1, "CT"))
    wait_until(lambda: node.has(StudyState.REPORTED, 2))
    (report,) = [one for one in archive.reports() if "no X-ray" in one.to_json()]
    assert answer_of(report) in {"positive", "negative"}


def test_late_images_make_a_new_report(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start()
    slices = of_patient(files, 0, "CT")
    store(node.port, slices[:2])
    wait_until(lambda: node.has(StudyState.REPORTED))
    store(node.port, slices[2:])
    wait_until(lambda: len(archive.reports()) == 2)
    wait_until(lambda: node.has(StudyState.REPORTED))
    first, second = archive.reports()
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert set(archive.arrivals.values()) == {1}
    assert node.screenings() == [2]


def test_a_refused_study_is_given_up_and_blocks_no_other(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start(destination__attempts=1)
    bad = str(dcmread(of_patient(files, 0, "CR")[0]).StudyInstanceUID)
    archive.refuse = lambda dataset: 0xC123 if dataset.StudyInstanceUID == bad else 0x0000
    store(node.port, of_patient(files, 0, "CR") + of_patient(files, 1, "CR"))
    wait_until(lambda: node.has(StudyState.FAILED) and node.has(StudyState.REPORTED))
    (failed,) = node.journal.studies_in(StudyState.FAILED)
    assert failed.uid == bad
    assert "0xC123" in failed.reason
    # Taken up again it is sent, not screened again.
    archive.refuse = lambda _dataset: 0x0000
    assert node.journal.retry([], now=time.time()) == [failed.key]
    wait_until(lambda: node.has(StudyState.REPORTED, 2))
    assert node.screenings() == [1, 1]


def test_a_destination_that_is_away_is_waited_for(
    start: Any, archive: Archive, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duoscan.worklist.sending._UNREACHABLE_RETRY_S", 0.2)
    node = start(destination={"address": f"NOBODY@127.0.0.1:{free_port()}", "attempts": 1})
    store(node.port, of_patient(files, 0, "CR"))
    wait_until(lambda: node.events().count("sending-failed") >= 2)
    assert node.has(StudyState.SENDING)
    again = start()
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert set(archive.arrivals.values()) == {1}


def test_an_acknowledgement_that_was_lost_is_asked_for(start: Any, archive: Archive, files: list[Path]) -> None:
    """As after a crash between the destination's answer and the record of it: offered, there, not recorded."""
    node = start()
    store(node.port, of_patient(files, 0, "CR"))
    wait_until(lambda: node.has(StudyState.REPORTED))
    sent = dict(archive.arrivals)
    node.stop()
    journal = Journal(node.node._spool.journal)
    (study,) = journal.studies_in(StudyState.REPORTED)
    journal.deliver(sent, Delivery.OFFERED)
    journal.put_back(study.key, StudyState.SENDING, now=0, retry_at=0, reason="", attempts=0)
    assert archive.queries == 0
    again = start()
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert archive.queries == len(sent)
    assert archive.arrivals == sent
    # Had it not arrived, it would be sent.
    lost = next(iter(sent))
    del archive.objects[lost]
    journal.deliver(sent, Delivery.OFFERED)
    journal.put_back(study.key, StudyState.SENDING, now=0, retry_at=0, reason="", attempts=0)
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert archive.arrivals == sent | {lost: 2}
    journal.close()


def test_results_written_before_a_crash_are_not_made_again(
    start: Any, archive: Archive, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = start()
    with monkeypatch.context() as patched:

        def crash(*_: Any, **__: Any) -> None:
            raise MemoryError

        patched.setattr(Journal, "finish_screening", crash)
        store(node.port, of_patient(files, 0, "CR"))
        assert not node.node.wait()
    assert node.has(StudyState.RECEIVING)
    assert '"fault", "kind": "MemoryError", "where": "test_node.py:' in node.log.getvalue()
    again = start()
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert "screening" not in again.events()
    assert set(archive.arrivals.values()) == {1}


def test_a_lost_journal_reports_nothing_again(start: Any, archive: Archive, files: list[Path]) -> None:
    """Objects, results and the destination's answers are enough to tell what was done."""
    node = start()
    store(node.port, of_patient(files, 0, "CT"))
    wait_until(lambda: node.has(StudyState.REPORTED))
    node.stop()
    for path in node.node._spool.root.glob("journal.sqlite*"):
        path.unlink()
    again = start()
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert "screening" not in again.events()
    assert set(archive.arrivals.values()) == {1}


def test_results_that_somebody_deleted_are_given_up(start: Any, archive: Archive, files: list[Path]) -> None:
    archive.refuse = lambda _dataset: 0xA700
    node = start(destination__attempts=1)
    store(node.port, of_patient(files, 0, "CR"))
    wait_until(lambda: node.has(StudyState.FAILED))
    shutil.rmtree(node.node._spool.root / "results")
    node.journal.retry([], now=0)
    wait_until(lambda: node.has(StudyState.FAILED))
    (study,) = node.journal.studies_in(StudyState.FAILED)
    assert "No such file" in study.reason


def test_what_was_half_done_is_due_again(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start(study__quiet_s=60)
    store(node.port, of_patient(files, 0, "CR"))
    spool = node.node._spool
    (spool.staging / "half").mkdir()
    (spool.root / "incoming" / "half").write_bytes(b"half")
    again = start()
    assert list(spool.staging.iterdir()) == list((spool.root / "incoming").iterdir()) == []
    wait_until(lambda: again.has(StudyState.REPORTED))
    assert set(archive.arrivals.values()) == {1}


def test_files_without_a_record_are_found_again(start: Any, archive: Archive, files: list[Path]) -> None:
    """The journal's last records may go with the power; the files were confirmed by the disk."""
    node = start(study__quiet_s=60)
    store(node.port, of_patient(files, 0, "CT"))
    node.stop()
    spool = node.node._spool
    for path in spool.root.glob("journal.sqlite*"):
        path.unlink()
    (spool.root / "studies" / "0").mkdir()
    (spool.root / "studies" / "0" / "0.dcm").write_bytes(b"damaged")
    again = start()
    wait_until(lambda: again.has(StudyState.REPORTED))
    (unreadable,) = [line for line in again.log.getvalue().splitlines() if '"unreadable-file"' in line]
    assert json.loads(unreadable)["file"].startswith("#")
    assert len(archive.reports()) == 1


def test_a_study_with_nothing_to_answer_is_not_reported(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start()
    abdomen = []
    for path in of_patient(files, 0, "CR"):
        image = dcmread(path)
        image.BodyPartExamined = "KNEE"
        abdomen.append(node.node._spool.root / path.name)
        image.save_as(abdomen[-1])
    store(node.port, abdomen)
    wait_until(lambda: node.has(StudyState.UNANSWERED))
    (study,) = node.journal.studies_in(StudyState.UNANSWERED)
    assert "KNEE" in study.reason
    assert not archive.arrivals


def test_a_screening_that_kills_its_process_is_tried_again_then_given_up(
    start: Any, archive: Archive, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duoscan.worklist.screening._FIRST_RETRY_S", 0.1)
    node = start(study__attempts=2)
    bad = dcmread(of_patient(files, 0, "CR")[0])
    real = ScreenerProcess.screen

    def screen(self: ScreenerProcess, job: Job, *, timeout_s: float) -> None:
        if job.patient == bad.PatientID:
            if self._process is None:
                self.start()
            self._process.kill()
        real(self, job, timeout_s=timeout_s)

    monkeypatch.setattr(ScreenerProcess, "screen", screen)
    store(node.port, of_patient(files, 0, "CR") + of_patient(files, 1, "CR"))
    wait_until(lambda: node.has(StudyState.FAILED) and node.has(StudyState.REPORTED))
    (failed,) = node.journal.studies_in(StudyState.FAILED)
    assert failed.uid == bad.StudyInstanceUID
    assert failed.attempts == 2
    assert "process was lost" in failed.reason
    assert list(Spool(tmp_path / "spool").staging.iterdir()) == []


def test_a_screening_that_takes_too_long_is_stopped(
    brightness_bundles: dict[Modality, Path], files: list[Path], tmp_path: Path
) -> None:
    process = ScreenerProcess(config(tmp_path, "A@127.0.0.1:1", brightness_bundles).models, tmp_path)
    process.start()
    job = Job("p", tuple(files), need_ct=True, objects=DEFAULT_OBJECTS, out=tmp_path / "out")
    with pytest.raises(ScreeningError, match="not done after"):
        process.screen(job, timeout_s=0)
    process.screen(job, timeout_s=30)  # another process took its place
    (case,) = read_screening(tmp_path / "out" / "answer.json")
    assert (case.patient_id, len(case.images)) == ("p", len(files))
    process.close()


def test_the_screening_process_ends_with_a_node_that_is_killed(
    brightness_bundles: dict[Modality, Path], tmp_path: Path
) -> None:
    code = (
        "import sys, time\n"
        "from duoscan.worklist.config import ModelsSection\n"
        "from duoscan.worklist.screener_process import ScreenerProcess\n"
        "models = ModelsSection(xray_bundle=sys.argv[1], ct_bundle=sys.argv[2])\n"
        "process = ScreenerProcess(models, sys.argv[3])\n"
        "process.start()\n"
        "print(process._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    paths = [*(str(brightness_bundles[modality]) for modality in (Modality.CXR, Modality.CT)), str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", code, *paths], stdout=subprocess.PIPE, text=True) as node:
        assert node.stdout is not None
        child = int(node.stdout.readline())
        node.kill()

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(is_gone)


def test_an_answer_that_no_report_can_hold_is_given_up_and_not_silent(
    start: Any, archive: Archive, files: list[Path], tmp_path: Path
) -> None:
    image = dcmread(of_patient(files, 0, "CR")[0])
    image.PatientName = ["Doe^Jane", "Doe^John"]  # which no object that is made of it may have
    image.save_as(tmp_path / "odd.dcm")
    node = start_with(start, [tmp_path / "odd.dcm", *of_patient(files, 0, "CT")])
    wait_until(lambda: node.has(StudyState.FAILED) and node.has(StudyState.REPORTED))
    (failed,) = node.journal.studies_in(StudyState.FAILED)
    assert failed.uid == image.StudyInstanceUID
    assert failed.reason.startswith("answered, but nothing to send: its headers do not allow sr (")
    assert len(archive.reports()) == 1


def test_finished_studies_are_removed_and_stay_closed(start: Any, archive: Archive, files: list[Path]) -> None:
    node = start()
    slices = of_patient(files, 0, "CT")
    store(node.port, slices[:2])
    wait_until(lambda: node.has(StudyState.REPORTED))
    again = start(study__keep_days=1e-9)
    wait_until(lambda: again.has(StudyState.REMOVED))
    wait_until(lambda: not [*again.node._spool.objects(), *again.node._spool.results.glob("*/*")])
    assert store(again.port, slices) == [0x0000, 0x0000, 0xC100]
    assert len(archive.reports()) == 1
    # The patient's other studies are taken all the same.
    assert store(again.port, of_patient(files, 0, "CR")) == [0x0000]
    wait_until(lambda: len(archive.reports()) == 2)


def test_two_nodes_do_not_share_a_spool(start: Any, archive: Archive, brightness_bundles: Any, tmp_path: Path) -> None:
    start()
    with pytest.raises(InputError, match="another node runs"):
        Node(config(tmp_path / "spool", archive, brightness_bundles))


def test_others_cannot_read_the_spool(start: Any) -> None:
    root = start().node._spool.root
    assert root.stat().st_mode & 0o077 == 0
    assert (root / "key").stat().st_mode & 0o077 == 0
