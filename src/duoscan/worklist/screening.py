"""Complete cases → results in their place, each set of images once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from duoscan.cases.stored import read_screening
from duoscan.errors import ScreeningError
from duoscan.files import parse_json, read_bytes
from duoscan.worklist.journal import Delivery, Journal, ReceivedCase, SentObject, StudyState
from duoscan.worklist.screener_process import ANSWER_FILE, Job, ScreenerProcess
from duoscan.worklist.spool import file_key

if TYPE_CHECKING:
    from duoscan.worklist.config import NodeConfig
    from duoscan.worklist.log import EventLog
    from duoscan.worklist.spool import Spool

_DAY_S = 86_400.0
_FIRST_RETRY_S = 10.0


class CaseScreening:
    """Takes complete cases from the journal, one at a time.

    Args:
        spool: Where files lie.
        journal: Its own connection.
        process: That screens.
        config: When a case is complete, how it is screened, and what is made of it.
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

    def step(self) -> bool:
        """Screen the next complete case; whether there was one."""
        case = self._journal.next_to_screen(now=time.time(), memory_s=self._settings.memory_days * _DAY_S)
        if case is None:
            return False
        folder = self._spool.results / case.key / case.image_set
        if folder.exists():  # complete before the record of it was lost; they may have been sent, too
            self._finish(case, folder, Delivery.OFFERED)
            return True
        uids = {"studies": [study.uid for study in case.studies]}
        self._log.write("screening", uids=uids, objects=sum(map(len, case.objects.values())))
        try:
            self._screen(case, folder)
        except (ScreeningError, OSError) as error:
            if self._process.is_closed:
                return False  # the node is being stopped; the case is due again at the next start
            self._spool.clear_staging()
            self._failed(case, str(error))
        else:
            self._finish(case, folder, Delivery.WAITING)
        return True

    def _screen(self, case: ReceivedCase, folder: Path) -> None:
        staged = Path(tempfile.mkdtemp(dir=self._spool.staging))
        has_ct = any(study.has_ct for study in case.studies)
        job = Job(
            patient=case.studies[0].patient_id or case.key,
            images=tuple(
                self._spool.object_file(study.key, name) for study, names in case.objects.items() for name in names
            ),
            need_ct={"always": True, "never": False, "acquired": has_ct}[self._settings.need_ct],
            objects=self._objects,
            out=staged,
        )
        self._process.screen(job, timeout_s=self._settings.timeout_s)
        self._spool.keep_results(staged, folder)

    def _finish(self, case: ReceivedCase, folder: Path, delivery: Delivery) -> None:
        (answer,) = read_screening(folder / ANSWER_FILE)
        results: list[SentObject] = []
        given_up: dict[str, str] = {}
        for path in sorted(folder.glob("*/study.json")):
            made = parse_json(read_bytes(path))
            study, place = file_key(made["study_instance_uid"]), path.parent.relative_to(self._spool.results)
            results += [
                SentObject(one["sop_instance_uid"], study, str(place / one["file"]), delivery)
                for one in made["objects"]
            ]
            if made["objects_failed"] and not made["objects"]:
                failed = ", ".join(f"{one['kind']} ({one['why']})" for one in made["objects_failed"])
                given_up[study] = f"answered, but nothing to send: its headers do not allow {failed}"
        self._journal.finish_screening(case, results, answer.reason_elsewhere, given_up, now=time.time())
        self._log.write("screened", uids={"studies": [study.uid for study in case.studies]}, results=len(results))

    def _failed(self, case: ReceivedCase, reason: str) -> None:
        now = time.time()
        for study in case.unscreened:
            attempts = study.attempts + 1
            given_up = attempts >= self._settings.attempts
            self._journal.put_back(
                study.key,
                StudyState.FAILED if given_up else StudyState.RECEIVING,
                now=now,
                retry_at=now + _FIRST_RETRY_S * 2**study.attempts,
                reason=reason,
                attempts=attempts,
            )
            self._log.write("failed" if given_up else "screening-failed", uids={"study": study.uid}, attempts=attempts)
