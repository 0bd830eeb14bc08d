"""Kills a node again and again while a sender insists, and looks for what was lost or done twice."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread

from duoscan.terms import Modality
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.spool import Spool, file_key
from node_parts import Archive, calling, cohort, free_port, screenings

QUIET_S = 2.5
_COMMAND = "from duoscan.interfaces.cli import main; main()"
# Log event that arms the kill (or the launch, which no event tells) → longest delay after it, in seconds.
_RECEPTION = {"stored": 0.02}
_WORK = {"launch": 3.0, "screening": 0.15, "screened": 0.05, "sent": 0.02, "reported": 0.02}
_ARMING_S = 10.0  # an event that does not come may have come in an earlier life; the kill does not wait for it
_PATIENCE_S = 60.0
_SLOW_ADDRESS = "127.0.0.2"


@dataclass
class Outcome:
    """What a run showed.

    Attributes:
        kills: How many.
        during: Kills by what the node logged last before.
        acknowledged: Instances for which the sender had success.
        studies: How many were sent.
        dripped: Bytes that slow senders could send into PDUs that they claim to be long.
        problems: Everything that must not be; empty if all is well.
    """

    kills: int = 0
    during: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    studies: int = 0
    dripped: int = 0
    problems: list[str] = field(default_factory=list)


class Life:
    """One run of the node as a process of its own."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-c", _COMMAND, "node", "--config", str(config)]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.events: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                with contextlib.suppress(json.JSONDecodeError):
                    self.events.append(json.loads(line)["event"])
                self._changed.notify_all()

    def wait_for(self, event: str, count: int) -> None:
        """Return once so many such events have come, or none seem to come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.events.count(event) >= count, timeout=_ARMING_S)

    def end(self, number: int) -> None:
        os.kill(self._process.pid, number)
        self._process.wait(30)
        self._reader.join(30)
        assert self._process.stderr is not None
        self._process.stderr.close()


class Sender(threading.Thread):
    """Stores each patient's studies over one association, again and again until all of them are acknowledged."""

    def __init__(self, port: int, patients: list[list[Path]]) -> None:
        super().__init__(daemon=True)
        self.acknowledged: set[Path] = set()
        self.is_stopped = False
        self._port = port
        self._patients = patients

    def run(self) -> None:
        for files in self._patients:
            while not self.is_stopped and not self.acknowledged.issuperset(files):
                self._try(files)

    def _try(self, files: list[Path]) -> None:
        # pynetdicom notices that the node is gone by this time limit alone.
        with calling(self._port, timeout_s=1) as association:
            if not association.is_established:
                time.sleep(0.05)
                return
            for path in files:
                if path not in self.acknowledged and association.is_established:
                    with contextlib.suppress(RuntimeError):  # the node went away in between
                        if association.send_c_store(dcmread(path)).get("Status") == 0x0000:
                            self.acknowledged.add(path)


class SlowSender(threading.Thread):
    """Holds on to a connection by a byte now and then, from an address of its own; takes another when it is cut off.

    Args:
        port: Of the node.
        is_associated: Whether it drips into an association, and not into the request for one.
    """

    def __init__(self, port: int, *, is_associated: bool) -> None:
        super().__init__(daemon=True)
        self.dripped = 0
        self.is_stopped = False
        self._port, self._is_associated = port, is_associated

    def run(self) -> None:
        while not self.is_stopped:
            with contextlib.suppress(OSError, AttributeError):
                self._hold()
            time.sleep(0.1)

    def _hold(self) -> None:
        source = (_SLOW_ADDRESS, 0)
        if not self._is_associated:
            with socket.create_connection(("127.0.0.1", self._port), 1, source_address=source) as connection:
                self._drip(connection, 0x01)
            return
        with calling(self._port, timeout_s=1, bind_address=source) as association:
            if association.is_established:
                self._drip(association.dul.socket.socket, 0x04)

    def _drip(self, connection: socket.socket, kind: int) -> None:
        connection.sendall(struct.pack(">BBL", kind, 0, 200_000))  # PS3.8 9.3
        while not self.is_stopped:
            connection.sendall(b"\0")
            self.dripped += 1
            time.sleep(0.5)


def run_kills(folder: Path, bundles: dict[Modality, Path], *, seed: int, kills: int, slow_senders: int = 0) -> Outcome:
    """Send three patients' studies to a node that is killed at random, then let it finish.

    Args:
        folder: Empty; spool and cohort go there.
        bundles: Models.
        seed: Of all chance.
        kills: How many.
        slow_senders: That hold on meanwhile, every other one to an association.
    """
    rng = random.Random(seed)
    files = cohort(folder / "cohort", slices=6)
    studies, patients = _grouped(files, "StudyInstanceUID"), _grouped(files, "PatientID")
    archive = Archive()
    config = folder / "node.toml"
    port = free_port()
    config.write_text(_config(folder / "spool", archive.peer, port, bundles), encoding="utf-8")
    sender = Sender(port, list(patients.values()))
    slow = [SlowSender(port, is_associated=bool(number % 2)) for number in range(slow_senders)]
    outcome = Outcome(studies=len(studies))
    try:
        for one in (sender, *slow):
            one.start()
        for number in range(kills):
            moments = _RECEPTION if number < kills // 2 else _WORK
            outcome.during[_live_and_die(config, moments, rng)] += 1
            outcome.kills += 1
        last = Life(config)
        _let_finish(folder / "spool", sender, len(studies))
        last.end(signal.SIGTERM)
    finally:
        for one in (sender, *slow):
            one.is_stopped = True
        for one in (sender, *slow):
            one.join(30)
        archive.close()
    outcome.dripped = sum(one.dripped for one in slow)
    outcome.acknowledged = len(sender.acknowledged)
    spool = Spool(folder / "spool")
    outcome.problems = [*_lost(sender.acknowledged, spool), *_twice(archive, list(studies), len(patients), spool)]
    return outcome


def _grouped(files: list[Path], keyword: str) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for path in files:
        groups.setdefault(str(dcmread(path, stop_before_pixels=True)[keyword].value), []).append(path)
    return groups


def _config(spool: Path, peer: str, port: int, bundles: dict[Modality, Path]) -> str:
    return "\n".join(
        (
            f"spool = {json.dumps(str(spool))}",
            "[listen]",
            f"port = {port}",
            "min_free_mb = 0",
            'peers = ["127.0.0.0/8"]',
            "[study]",
            f"quiet_s = {QUIET_S}",
            "[destination]",
            f"address = {json.dumps(peer)}",
            "[models]",
            f"xray_bundle = {json.dumps(str(bundles[Modality.CXR]))}",
            f"ct_bundle = {json.dumps(str(bundles[Modality.CT]))}",
            "check_quality = false",
        )
    )


def _live_and_die(config: Path, moments: dict[str, float], rng: random.Random) -> str:
    """One life: wait for an event, then a moment, then kill; what the node had logged last."""
    life = Life(config)
    event = rng.choice(sorted(moments))
    if event != "launch":
        life.wait_for(event, rng.randint(1, 4) if event == "stored" else 1)
    time.sleep(rng.uniform(0, moments[event]))
    life.end(signal.SIGKILL)
    return life.events[-1] if life.events else "launch"


def _let_finish(spool: Path, sender: Sender, studies: int) -> None:
    sender.join(_PATIENCE_S)
    end = time.monotonic() + _PATIENCE_S
    journal = Journal(Spool(spool).journal)
    while journal.counts()[StudyState.REPORTED] < studies and time.monotonic() < end:
        time.sleep(0.1)
    journal.close()


def _lost(acknowledged: set[Path], spool: Spool) -> list[str]:
    """Acknowledged instances that are not on the disk as they were sent."""
    problems = []
    for path in sorted(acknowledged):
        sent = dcmread(path)
        kept = spool.object_file(file_key(sent.StudyInstanceUID), file_key(sent.SOPInstanceUID))
        if not kept.is_file() or _content(dcmread(kept)) != _content(sent):
            problems.append(f"{path.name} was acknowledged and is lost")
    return problems


def _content(dataset: Dataset) -> Any:
    return {element.tag: element.value for element in dataset}


def _twice(archive: Archive, studies: list[str], patients: int, spool: Spool) -> list[str]:
    """What was screened or reported twice, or never."""
    problems = [f"{uid} arrived {count} times" for uid, count in archive.arrivals.items() if count != 1]
    reports = Counter(str(one.StudyInstanceUID) for one in archive.reports())
    problems += [f"study {uid} has {reports[uid]} reports" for uid in studies if reports[uid] != 1]
    screened = screenings(spool)
    problems += [f"patient {key} was screened {count} times" for key, count in screened.items() if count != 1]
    if len(screened) != patients:
        problems.append(f"{len(screened)} of {patients} patients were screened")
    return problems
