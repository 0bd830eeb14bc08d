"""Complete studies → results in their place, each set of images once."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.cases.stored import read_screening
from duoscan.errors import ScreeningError
from duoscan.worklist.journal import Case, Delivery, Journal, Result, State, Study
from duoscan.worklist.screener_process import ANSWER_FILE, OBJECTS_FILE, Job, ScreenerProcess

if TYPE_CHECKING:
    from duoscan.worklist.config import NodeConfig
    from duoscan.worklist.log import EventLog
    from duoscan.worklist.spool import Spool

_DAY_S = 86_400.0
_FIRST_RETRY_S = 10.0


class Screening:
    """Takes complete studies from the journal, one at a time.

    Args:
        spool: Where files lie.
        journal: Its own connection.
        process: That screens.
        config: When a study is complete, how it is screened, and what is made of it.
        log: For events.
    """

    def __init__(
        self, spool: Spool, journal: Journal, process: ScreenerProcess, config: NodeConfig, log: EventLog
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._process = process
        self._settings = config.study
        self._objects = config.destination.objects
        self._log = log

    def recover(self) -> None:
        """What was being screened when the node stopped: complete results are taken, the rest is due again."""
        for study in self._journal.studies_in(State.SCREENING):
            if not self._has_results(study, study.image_set):
                self._journal.put_back(
                    study.key, State.RECEIVING, now=time.time(), retry_at=0, reason="", attempts=study.attempts
                )

    def step(self) -> bool:
        """Screen the next complete study; whether there was one."""
        now = time.time()
        study = self._journal.next_to_screen(now)
        if study is None:
            return False
        case = self._journal.case_of(study, now=now, memory_s=self._settings.memory_days * _DAY_S)
        if self._journal.was_screened(case):
            self._journal.put_back(study.key, State.SENDING, now=now, retry_at=0, reason=study.reason, attempts=0)
            return True
        self._journal.begin_screening(case, now=now)
        if self._has_results(study, case.image_set):
            return True
        self._log.write("screening", uids={"study": study.uid}, objects=len(case.objects))
        try:
            self._screen(case)
        except (ScreeningError, OSError) as error:
            if self._process.is_closed:
                return False  # the node is being stopped; the study is due again at the next start
            self._spool.clear_staging()
            self._failed(study, str(error))
        else:
            self._finish(study, case.image_set, Delivery.WAITING)
        return True

    def _has_results(self, study: Study, image_set: str) -> bool:
        """Take results that were complete before their record was lost; they may have been sent, too."""
        if not self._spool.results(study.key, image_set).exists():
            return False
        self._finish(study, image_set, Delivery.OFFERED)
        return True

    def _screen(self, case: Case) -> None:
        staged = Path(tempfile.mkdtemp(dir=self._spool.staging))
        files = [(study, self._spool.object_file(study, name)) for study, name in case.objects]
        own = case.study.key
        job = Job(
            study_uid=case.study.uid,
            patient=case.study.patient_id or own,
            own=tuple(path for study, path in files if study == own),
            others=tuple(path for study, path in files if study != own),
            need_ct=self._need_ct(case),
            objects=self._objects,
            out=staged,
        )
        self._process.screen(job, timeout_s=self._settings.timeout_s)
        self._spool.keep_results(staged, own, case.image_set)

    def _need_ct(self, case: Case) -> bool:
        return {"always": True, "never": False, "acquired": case.has_ct}[self._settings.need_ct]

    def _finish(self, study: Study, image_set: str, delivery: Delivery) -> None:
        folder = self._spool.results(study.key, image_set)
        (case,) = read_screening(folder / ANSWER_FILE)
        made = json.loads((folder / OBJECTS_FILE).read_text(encoding="utf-8"))
        results = [Result(one["uid"], f"{image_set}/{one['path']}", delivery) for one in made["objects"]]
        reason = "; ".join([case.reason_elsewhere, *made["problems"]])
        self._journal.finish_screening(study, image_set, case.answer, reason, results, now=time.time())
        self._log.write("screened", uids={"study": study.uid}, results=len(results))

    def _failed(self, study: Study, reason: str) -> None:
        attempts, now = study.attempts + 1, time.time()
        given_up = attempts >= self._settings.attempts
        self._journal.put_back(
            study.key,
            State.FAILED if given_up else State.RECEIVING,
            now=now,
            retry_at=now + _FIRST_RETRY_S * 2**study.attempts,
            reason=reason,
            attempts=attempts,
        )
        self._log.write("failed" if given_up else "screening-failed", uids={"study": study.uid}, attempts=attempts)
