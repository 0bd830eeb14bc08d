"""Results → the destination, each object once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from duoscan.errors import TransferError, UnreachableError
from duoscan.interfaces.dicom.archives import Access
from duoscan.interfaces.dicom.credentials import read_authorization
from duoscan.interfaces.dicom.send import Peer, send_files, stored_files
from duoscan.interfaces.dicom.web import WebArchive
from duoscan.interfaces.node.journal import Delivery, Journal, Result, State, Study

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duoscan.interfaces.dicom.tls import Tls
    from duoscan.interfaces.node.config import DestinationSection
    from duoscan.interfaces.node.log import EventLog
    from duoscan.interfaces.node.spool import Spool

_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 600.0
_UNREACHABLE_RETRY_S = 15.0


@dataclass(frozen=True)
class Outgoing:
    """An object to be sent.

    Attributes:
        uid: SOPInstanceUID.
        path: Its file.
        is_doubtful: It was being sent before and nobody knows whether it arrived.
    """

    uid: str
    path: Path
    is_doubtful: bool


class ResultDestination(Protocol):
    """Whatever takes results."""

    def send(self, objects: Sequence[Outgoing], on_stored: Callable[[Outgoing], None]) -> None:
        """Store objects; where it can be asked, what is doubtful is asked for before it is sent again.

        Args:
            objects: Of one study, in order.
            on_stored: To be called for each object once the destination has acknowledged it.

        Raises:
            UnreachableError: It does not answer.
            TransferError: It did not take some object.
        """


@dataclass(frozen=True)
class DicomDestination:
    """A DICOM peer: C-STORE, and C-FIND for what is doubtful.

    Attributes:
        peer: Which.
        timeout_s: For connecting and each answer.
        tls: Where the connection is to be secured.
    """

    peer: Peer
    timeout_s: float
    tls: Tls | None = None

    def send(self, objects: Sequence[Outgoing], on_stored: Callable[[Outgoing], None]) -> None:
        """See :class:`ResultDestination`."""
        doubtful = [one.path for one in objects if one.is_doubtful]
        there = stored_files(doubtful, self.peer, timeout_s=self.timeout_s, tls=self.tls) if doubtful else set()
        by_path = {one.path: one for one in objects}
        for path in doubtful:
            if path in there:
                on_stored(by_path[path])
        left = [one.path for one in objects if one.path not in there]
        if left:
            send_files(
                left,
                self.peer,
                timeout_s=self.timeout_s,
                tls=self.tls,
                on_stored=lambda path: on_stored(by_path[path]),
            )


@dataclass(frozen=True)
class WebDestination:
    """A DICOMweb service: STOW-RS, and QIDO-RS for what is doubtful.

    Attributes:
        archive: Which.
    """

    archive: WebArchive

    def send(self, objects: Sequence[Outgoing], on_stored: Callable[[Outgoing], None]) -> None:
        """See :class:`ResultDestination`."""
        refused = []
        for one in objects:
            try:
                if not (one.is_doubtful and self.archive.holds(one.path)):
                    self.archive.store([one.path])
            except UnreachableError:
                raise
            except TransferError as error:
                refused.append(error)
            else:
                on_stored(one)
        if refused:
            raise refused[0]


def destination_of(section: DestinationSection) -> ResultDestination:
    """The destination that is configured; nothing is sent yet.

    Raises:
        InputError: Its address, credentials or certificates cannot be used.
        MissingExtraError: dicomweb-client is not installed.
    """
    if section.is_web:
        access = Access(read_authorization(section.auth_file), section.ca_file)
        return WebDestination(WebArchive(section.address, access))
    if section.tls is not None:
        section.tls.client_context()  # now, and not at the first report
    return DicomDestination(Peer.parse(section.address), section.timeout_s, section.tls)


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
        self, spool: Spool, journal: Journal, destination: ResultDestination, *, attempts: int, log: EventLog
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

    def _send(self, study: Study, results: Sequence[Result]) -> None:
        outgoing = [
            Outgoing(one.uid, self._spool.results(study.key, one.path), one.delivery is Delivery.OFFERED)
            for one in results
        ]
        # Said before the first byte leaves: after a crash, what is not marked was never sent.
        self._journal.deliver([one.uid for one in results], Delivery.OFFERED)

        def on_stored(one: Outgoing) -> None:
            self._journal.deliver([one.uid], Delivery.STORED)
            self._log.write("sent", uids={"study": study.uid, "object": one.uid})

        self._destination.send(outgoing, on_stored)

    def _failed(self, study: Study, error: TransferError | OSError) -> None:
        """Refusals are counted; a destination that does not answer is waited for without end."""
        now, attempts = time.time(), study.attempts
        if isinstance(error, UnreachableError):
            wait_s = _UNREACHABLE_RETRY_S
        else:
            wait_s = min(_FIRST_RETRY_S * 2**attempts, _LONGEST_RETRY_S)
            attempts += 1
        state = State.FAILED if attempts >= self._attempts else State.SENDING
        self._journal.put_back(study.key, state, now=now, retry_at=now + wait_s, reason=str(error), attempts=attempts)
        event = "failed" if state is State.FAILED else "sending-failed"
        kind = type(error).__name__
        self._log.write(event, uids={"study": study.uid}, attempts=attempts, kind=kind)
