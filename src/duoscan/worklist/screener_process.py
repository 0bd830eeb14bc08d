"""Screening in a process of its own: a decoder that crashes, hangs or eats memory takes the listener nowhere."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from duoscan.errors import DuoscanError, InputError, ScreeningError
from duoscan.worklist.log import silence_libraries

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from duoscan.cases.screening import Screener
    from duoscan.results.write import ResultObject
    from duoscan.worklist.config import ModelsSection

ANSWER_FILE = "answer.json"
"""The stored case."""
MAPS_FILE = "maps.npz"
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Job:
    """One screening.

    Attributes:
        patient: All images are taken for this patient's.
        images: Of all studies.
        need_ct: Whether CT was asked for.
        objects: Which DICOM objects to make.
        out: Folder to make and write results into.
        names: How each image is named in the answers; by its path where there are none.
    """

    patient: str
    images: tuple[Path, ...]
    need_ct: bool
    objects: frozenset[ResultObject]
    out: Path
    names: tuple[str, ...] = ()


class ScreenerProcess:
    """The process, started when needed and again after it was lost.

    Args:
        models: What to screen with.
        scratch: Folder for temporary files; what a lost process leaves there is for the owner to remove.
    """

    def __init__(self, models: ModelsSection, scratch: Path) -> None:
        self._models = models
        self._scratch = scratch
        self._process: Any = None
        self._pipe: Connection | None = None
        self.is_closed = False

    def start(self) -> None:
        """Load the models.

        Raises:
            InputError: They cannot be used.
            ScreeningError: The process does not start.
        """
        context = multiprocessing.get_context("spawn")  # a fork would share the journal and the sockets
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, self._models, self._scratch), name="screener", daemon=True
        )
        self._process.start()
        other.close()
        if reason := self._receive(_START_TIMEOUT_S):
            self.stop()
            raise InputError(reason)

    def screen(self, job: Job, *, timeout_s: float) -> None:
        """Screen one case; its results are in the job's folder when this returns.

        Raises:
            ScreeningError: It failed, took too long, or the process was lost.
        """
        if self._process is None and not self.is_closed:
            self.start()
        if self._pipe is None:
            raise ScreeningError("the screening process was stopped")
        try:
            self._pipe.send(job)
        except OSError as error:
            self.stop()
            raise ScreeningError("the screening process was lost; see the system's log for its end") from error
        if reason := self._receive(timeout_s):
            raise ScreeningError(reason)

    def _receive(self, timeout_s: float) -> str:
        """The process's word: empty when all is well, else why not."""
        if self._pipe is None:
            raise ScreeningError("the screening process was stopped")
        try:
            if self._pipe.poll(timeout_s):
                return str(self._pipe.recv())
        except (EOFError, OSError) as error:
            self.stop()
            raise ScreeningError("the screening process was lost (crash or lack of memory)") from error
        self.stop()
        raise ScreeningError(f"not done after {timeout_s:g} s; stopped")

    def close(self) -> None:
        """End the process for good; may be called from another thread, whose screening then fails."""
        self.is_closed = True
        self.stop()

    def stop(self) -> None:
        """End the process, whatever it does; the next screening starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(_STOP_TIMEOUT_S)


def _serve(pipe: Connection, models: ModelsSection, scratch: Path) -> None:
    """Body of the process."""
    silence_libraries()
    tempfile.tempdir = str(scratch)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        screener = _screener(models)
    except DuoscanError as error:
        pipe.send(str(error))
        return
    pipe.send("")
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        pipe.send(_screened(screener, job))


def _end_with_parent() -> None:
    """Where the node is killed, nobody waits for the answer any more."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
    os._exit(1)


def _screener(models: ModelsSection) -> Screener:
    from duoscan.cases.screening import Screener
    from duoscan.policies.policy import named_policy

    return Screener(
        models.xray_bundle,
        models.ct_bundle,
        xray_threshold=models.xray_threshold,
        ct_threshold=models.ct_threshold,
        policy=named_policy(models.policy) if models.policy else None,
        check_quality=models.check_quality,
        keep_pixels=False,
    )


def _screened(screener: Screener, job: Job) -> str:
    """Empty, or why there is no answer."""
    try:
        write_case(screener, job)
    except DuoscanError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a fault in one case must not end the process; the node reports it
        return f"{type(error).__name__}: {error}"
    return ""


def write_case(screener: Screener, job: Job) -> None:
    """Screen; write the stored case, its activation maps, and a folder of results for each study that was answered."""
    from duoscan.cases.find import FoundImage
    from duoscan.cases.stored import write_maps, write_screening
    from duoscan.manifest.patient_rules import PatientRules
    from duoscan.results.sources import ActivationKeeper
    from duoscan.results.write import write_results

    maps = ActivationKeeper()
    if job.names:
        named = zip(job.images, job.names, strict=True)
        found = [FoundImage(path, name, job.patient) for path, name in named]
        screening = screener.screen_found(found, need_ct=job.need_ct, on_image=maps.add)
    else:
        rules = PatientRules({str(path): (job.patient, None) for path in job.images})
        screening = screener.screen(job.images, rules=rules, need_ct=job.need_ct, on_image=maps.add)
    if job.objects:
        write_results(screening, {}, maps.maps, job.out, objects=job.objects)
    write_screening(screening, job.out / ANSWER_FILE)
    write_maps(maps.maps, job.out / MAPS_FILE)
