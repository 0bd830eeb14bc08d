"""Stores of a reading room, and what screens for them without a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from duoscan.cases.screening import Screener
from duoscan.terms import Modality
from duoscan.worklist.config import ModelsSection
from duoscan.worklist.screener_process import Job, ScreenerProcess, write_case
from duoscan.worklist.store.accounts import Role, account_named, add_account
from duoscan.worklist.store.store import Store
from duoscan.worklist.store.uploads import UploadedFile, add_file, begin_upload, complete_upload
from duoscan.worklist.worker import Worker

POSTGRES = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
SETUP = "setup"


class InlineProcess(ScreenerProcess):
    """Screens where it is called, without the check that drawn images are chests."""

    def __init__(self, bundles: dict[Modality, Path], scratch: Path) -> None:
        super().__init__(ModelsSection(), scratch)
        self.screener = Screener(bundles[Modality.CXR], bundles[Modality.CT], check_quality=False)
        self.screened: list[Job] = []

    def screen(self, job: Job, *, timeout_s: float) -> None:
        self.screened.append(job)
        write_case(self.screener, job)


def worker(store: Store, bundles: dict[Modality, Path]) -> Worker:
    return Worker(store, InlineProcess(bundles, store.scratch), SETUP)


def work_off(one: Worker) -> int:
    """Do all that is due; how many steps that took."""
    steps = 0
    while one.step():
        steps += 1
        assert steps < 100
    return steps


def account(store: Store, name: str = "anna", role: Role = Role.READER) -> str:
    with store.database.write() as connection:
        known = account_named(connection, name)
        return known.id if known else add_account(connection, name, role, now=time.time())


def upload(store: Store, files: dict[str, bytes], *, patient: str = "", by: str = "anna") -> str:
    """Hand in files as the server does; the upload's id."""
    who = account(store, by)
    with store.database.write() as connection:
        identifier = begin_upload(connection, who, patient, None, now=time.time())
    for number, (name, content) in enumerate(files.items()):
        incoming = store.blobs.incoming()
        incoming.write_bytes(content)
        blob = store.blobs.keep(incoming, name)
        with store.database.write() as connection:
            add_file(connection, identifier, UploadedFile(number, name, blob, len(content)))
    with store.database.write() as connection:
        complete_upload(connection, identifier, by, now=time.time())
    return identifier


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A server of PostgreSQL on loopback, run by an account without rights; the address of its database."""
    binaries = Path(str(POSTGRES)).resolve().parent
    as_user: list[str] = []

    def run(*command: object) -> None:
        words = [*as_user, *map(str, command)]
        subprocess.run(words, check=True, capture_output=True, cwd="/", timeout=120)

    # Not below pytest's folder, which other accounts may not enter.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = Path(folder) / "data"
        run(binaries / "initdb", "-D", data, "-U", "duoscan", "-A", "trust", "--no-sync", "--locale=C.UTF-8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=16MB"
        control = (binaries / "pg_ctl", "-D", data, "-w")
        run(*control, "-l", Path(folder) / "log", "-o", f"{options} -c fsync=off", "start")
        try:
            yield f"postgresql://duoscan@127.0.0.1:{port}/postgres"
        finally:
            run(*control, "-m", "immediate", "stop")
