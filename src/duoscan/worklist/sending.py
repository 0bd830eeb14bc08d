"""Results → the destination, each object once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from duoscan.errors import TransferError, UnreachableError
from duoscan.worklist.journal import Delivery, Journal, ReceivedStudy, SentObject, StudyState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duoscan.archives.archive import Destination
    from duoscan.worklist.log import EventLog
    from duoscan.worklist.spool import Spool

_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 600.0
_UNREACHABLE_RETRY_S = 15.0


class Sending:
    """Takes screened studies from the journal, one at a time.

    Args:
        spool: Where results lie.
        journal: Its own connection.
        destination: Where they go.
        attempts: Refusals before a study is given up; a destination that does not answer is waited for.
        log: For events.
    """

    def __init__(
        self, spool: Spool, journal: Journal, destination: Destination, *, attempts: int, log: EventLog
    ) -> None:
        self._spool = spool
        self._journal = journal
        self._destination = destination
        self._attempts = attempts
        self._log = log

    def step(self) -> bool:
        """Send the next study's results; whether there was one."""
        study = self._journal.next_to_send(time.time())
        if study is None:
            return False
        results = self._journal.unsent(study.key)
        try:
            if results:
                self._send(study, results)
        except (TransferError, OSError) as error:
            self._failed(study, error)
        else:
            state = self._journal.finish_sending(study.key, now=time.time())
            self._log.write(str(state), uids={"study": study.uid})
        return True

    def _send(self, study: ReceivedStudy, results: Sequence[SentObject]) -> None:
        found = {self._spool.results / one.path: one for one in results}
        doubtful = [path for path, one in found.items() if one.delivery is Delivery.OFFERED]
        # Said before the first byte leaves: after a crash, what is not marked was never sent.
        self._journal.deliver([one.uid for one in results], Delivery.OFFERED)

        def on_stored(path: Path) -> None:
            uid = found[path].uid
            self._journal.deliver([uid], Delivery.STORED)
            self._log.write("sent", uids={"study": study.uid, "object": uid})

        there = self._destination.holds(doubtful) if doubtful else set()
        for path in there:
            on_stored(path)
        if left := [path for path in found if path not in there]:
            self._destination.store(left, on_stored)

    def _failed(self, study: ReceivedStudy, error: TransferError | OSError) -> None:
        """Refusals are counted; a destination that does not answer is waited for without end."""
        now, attempts = time.time(), study.attempts
        if isinstance(error, UnreachableError):
            wait_s = _UNREACHABLE_RETRY_S
        else:
            wait_s = min(_FIRST_RETRY_S * 2**attempts, _LONGEST_RETRY_S)
            attempts += 1
        state = StudyState.FAILED if attempts >= self._attempts else StudyState.SENDING
        self._journal.put_back(study.key, state, now=now, retry_at=now + wait_s, reason=str(error), attempts=attempts)
        event = "failed" if state is StudyState.FAILED else "sending-failed"
        kind = type(error).__name__
        self._log.write(event, uids={"study": study.uid}, attempts=attempts, kind=kind)
