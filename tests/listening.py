"""A listener of the node without the rest of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from duoscan.interfaces.node.listener import Listener
from duoscan.terms import Modality
from duoscan.worklist.journal import Journal
from duoscan.worklist.log import EventLog
from duoscan.worklist.spool import Spool
from node_parts import config


class Running:
    """A listener, where it stores, and what it logs."""

    def __init__(self, listener: Listener, spool: Spool, log: io.StringIO) -> None:
        self.listener, self.spool, self.log = listener, spool, log
        self.port = listener.port
        self.journal = Journal(spool.journal)

    def kept(self) -> list[Path]:
        return [path for _, _, path in self.spool.objects()]


@contextmanager
def listening(folder: Path, bundles: dict[Modality, Path], **changes: Any) -> Iterator[Running]:
    """Listen with the settings of tests, some of them changed."""
    told = config(folder, "NOBODY@127.0.0.1:1", bundles, **changes)
    spool, log = Spool(told.spool), io.StringIO()
    spool.root.mkdir(exist_ok=True)
    spool.prepare()
    listener = Listener(told, spool, EventLog(spool.key(), stream=log))
    listener.start()
    running = Running(listener, spool, log)
    try:
        yield running
    finally:
        listener.stop()
        running.journal.close()
