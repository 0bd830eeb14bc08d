"""Takes jobs from the store and does them; any number of workers share one store.

A worker may be killed at any moment: its lease runs out, another takes the job up, and what was half made is seen by
nobody.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.cases.screening import Screener, model_used
from duoscan.cases.stored import read_screening
from duoscan.errors import DuoscanError, ScreeningError
from duoscan.policies.policy import named_policy
from duoscan.terms import Modality
from duoscan.worklist.screener_process import ANSWER_FILE, MAPS_FILE, Job
from duoscan.worklist.splitting import split_upload
from duoscan.worklist.store.cases import (
    add_images,
    case_images,
    fail_screening,
    finish_screening,
    read_case,
)
from duoscan.worklist.store.database import new_id
from duoscan.worklist.store.queue import JobKind, JobState, beat, give_back, take
from duoscan.worklist.store.trail import record
from duoscan.worklist.store.uploads import fail_splitting, finish_splitting, stated_patient, uploaded_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duoscan.worklist.config import ModelsSection
    from duoscan.worklist.screener_process import ScreenerProcess
    from duoscan.worklist.store.queue import TakenJob
    from duoscan.worklist.store.store import Store

LEASE_S = 60.0
_MOST_ATTEMPTS = 3
_MOST_LOST = 20
"""Leases that run out before a job is taken to be what kills its workers."""
_FIRST_RETRY_S = 2.0
_ACTOR = "worker"


def setup_digest(models: ModelsSection) -> str:
    """Names all that makes an answer beside the images: models, policy, thresholds, quality check.

    Raises:
        InputError: The models cannot be used.
    """
    screener = Screener(
        models.xray_bundle,
        models.ct_bundle,
        xray_threshold=models.xray_threshold,
        ct_threshold=models.ct_threshold,
        policy=named_policy(models.policy) if models.policy else None,
    )
    parts = [model_used(screener.bundle(modality)).identity for modality in Modality]
    parts += [screener.policy.model_dump_json(), str(models.check_quality)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


class Worker:
    """One worker.

    Args:
        store: Where jobs and images are.
        process: That screens; its scratch folder is the store's.
        setup: Of the models it screens with.
        lease_s: For how long a job is its own without a sign of life.
        timeout_s: A screening that takes longer is stopped.
        at: Called by the name of each step before it is done; tests stop there.
    """

    def __init__(
        self,
        store: Store,
        process: ScreenerProcess,
        setup: str,
        *,
        lease_s: float = LEASE_S,
        timeout_s: float = 900.0,
        at: Callable[[str], None] = lambda _step: None,
    ) -> None:
        self._store = store
        self._database = store.database
        self._process = process
        self._setup = setup
        self._lease_s = lease_s
        self._timeout_s = timeout_s
        self._at = at
        self._name = new_id()

    def step(self) -> bool:
        """Do the next job; whether there was one."""
        self._at("take")
        with self._database.write() as connection:
            job = take(connection, self._name, now=time.time(), lease_s=self._lease_s)
        if job is None:
            return False
        self._at("taken")
        if job.attempts > _MOST_LOST:
            self._failed(job, "every worker that took it was lost; see the log of the system", most_attempts=1)
            return True
        folder = Path(tempfile.mkdtemp(dir=self._store.scratch))
        try:
            with self._alive(job):
                if job.kind is JobKind.SPLIT:
                    self._split(job, folder)
                else:
                    self._screen(job, folder)
        except (DuoscanError, OSError) as error:
            if self._process.is_closed:
                self._put_back(job)
            else:
                self._failed(job, str(error), most_attempts=_MOST_ATTEMPTS)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return True

    @contextmanager
    def _alive(self, job: TakenJob) -> Iterator[None]:
        """Renew the lease meanwhile."""
        ended = threading.Event()

        def beats() -> None:
            while not ended.wait(self._lease_s / 3):
                with self._database.write() as connection:
                    if not beat(connection, job, now=time.time(), lease_s=self._lease_s):
                        return

        thread = threading.Thread(target=beats, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _split(self, job: TakenJob, folder: Path) -> None:
        with self._database.read() as connection:
            files, stated = uploaded_files(connection, job.subject), stated_patient(connection, job.subject)
        arrived = split_upload(files, stated, self._store.blobs, folder)
        self._at("split")
        now = time.time()
        with self._database.write() as connection:
            if not finish_splitting(connection, job, arrived.remark, now=now):
                return
            # In one order everywhere, so that two transactions never wait for each other.
            for patient, images in sorted(arrived.patients.items()):
                case = add_images(connection, patient, images, setup=self._setup, now=now)
                record(connection, actor=_ACTOR, action="arrive", subject=case, now=now, images=len(images))
            self._at("storing")
        self._at("stored")

    def _screen(self, job: TakenJob, folder: Path) -> None:
        with self._database.read() as connection:
            case = read_case(connection, job.subject)
            images = case_images(connection, job.subject)
        if case is None or not images:
            raise ScreeningError("the case has no image")
        out = folder / "out"
        out.mkdir()
        wanted = Job(
            patient=case.patient_id,
            images=tuple(self._store.blobs.path(image.blob) for image in images),
            names=tuple(image.name for image in images),
            need_ct=case.need_ct,
            objects=frozenset(),
            out=out,
        )
        self._process.screen(wanted, timeout_s=self._timeout_s)
        self._at("screened")
        screening = read_screening(out / ANSWER_FILE)
        maps = self._store.blobs.keep(out / MAPS_FILE, MAPS_FILE)
        self._at("kept")
        now = time.time()
        with self._database.write() as connection:
            if finish_screening(connection, job, screening, maps, now=now):
                answer = str(screening.cases[0].answer)
                record(connection, actor=_ACTOR, action="screen", subject=job.subject, now=now, answer=answer)
            self._at("storing")
        self._at("stored")

    def _failed(self, job: TakenJob, reason: str, *, most_attempts: int) -> None:
        now = time.time()
        with self._database.write() as connection:
            state = give_back(connection, job, reason, now=now, retry_s=_FIRST_RETRY_S, most_attempts=most_attempts)
            if state is not JobState.FAILED:
                return
            if job.kind is JobKind.SPLIT:
                fail_splitting(connection, job, reason)
            else:
                fail_screening(connection, job, reason, now=now)
            record(connection, actor=_ACTOR, action="give up", subject=job.subject, now=now)

    def _put_back(self, job: TakenJob) -> None:
        """The worker is stopped; another goes on."""
        with self._database.write() as connection:
            give_back(connection, job, "", now=time.time(), retry_s=0, most_attempts=job.attempts + 1)
