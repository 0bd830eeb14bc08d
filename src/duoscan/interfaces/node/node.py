"""The node as a whole: recovery, the listener and two loops."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from duoscan.errors import ImageError
from duoscan.interfaces.node.listener import Listener, file_digest
from duoscan.worklist.journal import Journal, StudyState
from duoscan.worklist.log import EventLog, place
from duoscan.worklist.received import read_received
from duoscan.worklist.screener_process import ScreenerProcess
from duoscan.worklist.screening import CaseScreening
from duoscan.worklist.sending import Sending
from duoscan.worklist.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from duoscan.archives.archive import Destination
    from duoscan.worklist.config import NodeConfig

_IDLE_S = 0.2
_CLEAN_EVERY_S = 3600.0
_STOP_S = 30.0
_DAY_S = 86_400.0


class Node:
    """A running node.

    Args:
        config: What it was told.
        destination: Where results go; the configured peer where ``None``.
        stream: Of the log; standard error where ``None``.

    Raises:
        InputError: Another node has the spool, or it cannot be used.
    """

    def __init__(
        self, config: NodeConfig, *, destination: Destination | None = None, stream: TextIO | None = None
    ) -> None:
        self._config = config
        self._spool = Spool(config.spool)
        self._lock = self._spool.lock()
        self._spool.prepare()
        self._journal = Journal(self._spool.journal)
        self._log = EventLog(self._spool.key(), identifiers=config.log_identifiers, stream=stream)
        self._process = ScreenerProcess(config.models, self._spool.staging)
        self._screening = CaseScreening(self._spool, self._journal, self._process, config, self._log)
        to = destination or config.destination.open()
        attempts = config.destination.attempts
        self._sending = Sending(self._spool, self._journal, to, attempts=attempts, log=self._log)
        self._listener = Listener(config, self._spool, self._log)
        self._stopping = threading.Event()
        self._has_failed = False
        self._is_stopped = False
        self._cleaned = 0.0
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True)
            for name, step in (("screening", self._screen_or_clean), ("sending", self._sending.step))
        ]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._listener.port

    def start(self) -> None:
        """Recover, then accept and work.

        Raises:
            InputError: A model, an address or a TLS file cannot be used.
        """
        self._process.start()
        for study in self._journal.studies_in(StudyState.REMOVED):
            self._spool.remove(study.key)
        recovered = self._register_files()
        self._journal.wait_anew(now=time.time(), quiet_s=self._config.study.quiet_s)
        self._listener.start()
        for thread in self._threads:
            thread.start()
        self._log.write("started", port=self.port, recovered=recovered, tls=self._config.listen.tls is not None)

    def wait(self) -> bool:
        """Return once the node was told to stop, or met a fault; whether all is well."""
        self._stopping.wait()
        return not self._has_failed

    def ask_to_stop(self) -> None:
        """Have :meth:`wait` return; may be called from a signal handler."""
        self._stopping.set()

    def stop(self) -> None:
        """Stop in good order, once; what is under way is taken up at the next start."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._stopping.set()
        self._listener.stop()
        self._process.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_STOP_S)
        self._journal.close()
        os.close(self._lock)
        self._log.write("stopped")

    def _loop(self, step: Callable[[], bool]) -> None:
        """Work until told to stop; a fault of the node itself ends all of it, since a half-dead node loses reports."""
        try:
            while not self._stopping.is_set():
                if not step():
                    self._stopping.wait(_IDLE_S)
        except Exception as error:  # noqa: BLE001 - logged, and wait() tells
            self._has_failed = True
            self.log_fault(error)
            self._stopping.set()

    def log_fault(self, error: BaseException) -> None:
        """Write a fault to the log: what kind and where, since its text may quote a data set."""
        self._log.write("fault", kind=type(error).__name__, where=place(error))

    def _screen_or_clean(self) -> bool:
        now = time.time()
        if self._config.study.keep_days and now - self._cleaned > _CLEAN_EVERY_S:
            self._cleaned = now
            before = now - self._config.study.keep_days * _DAY_S
            for key in self._journal.remove_finished(before=before):
                self._spool.remove(key)
            self._spool.remove_results(before=before, but=self._journal.unfinished())
        return self._screening.step()

    def _register_files(self) -> int:
        """Files whose record was lost with the power are recorded again; how many."""
        count = 0
        for study, name, path in self._spool.objects():
            if self._journal.digest(study, name) is not None:
                continue
            try:
                received = read_received(path)
            except ImageError:
                self._log.write("unreadable-file", uids={"file": f"{study}/{name}"})
                continue
            if (received.study, received.name) == (study, name):
                quiet_s = self._config.study.quiet_s
                self._journal.add(received, file_digest(path), now=time.time(), quiet_s=quiet_s)
                count += 1
        return count
