"""The server's process, and those of its workers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from duoscan.interfaces.serve.app import build_app
from duoscan.worklist.screener_process import ScreenerProcess
from duoscan.worklist.store.accounts import Role, accounts, add_account, make_link
from duoscan.worklist.store.store import Store
from duoscan.worklist.worker import Worker, setup_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.applications import Starlette

    from duoscan.interfaces.serve.config import ServeConfig

_IDLE_S = 0.3
_STOP_S = 10
_LINK_S = 86_400.0
_RESTART_S = 1.0
ADMIN = "admin"


class _Server(uvicorn.Server):
    """Ends the streams of events when it is told to stop; they would otherwise hold it up for ever."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: Any = None) -> None:
        self._app.state.room.changes.stop()
        await super().shutdown(sockets)


def serve(config: ServeConfig, worker: Sequence[str], *, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: As told.
        worker: Command of a worker.
        tell: Called with what a person should read.

    Raises:
        InputError: Folder, database or models cannot be used.
    """
    os.umask(0o077)
    setup = setup_digest(config.models)
    store = Store(config.folder, config.url)
    store.blobs.clear_incoming(older_than=time.time() - 86_400)
    app = build_app(store, config, setup)
    settings = uvicorn.Config(
        app, config.host, config.port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=_STOP_S, proxy_headers=config.https, timeout_keep_alive=30,
    )  # fmt: skip
    logging.basicConfig(level=logging.WARNING)
    if link := first_link(store):
        host = f"[{config.host}]" if ":" in config.host else config.host
        tell(f"no admin has a password yet; choose one, within a day: http://{host}:{config.port}{link}")
    tell(f"http://{config.host}:{config.port} (stop with Ctrl-C)")
    workers = [_KeptWorker(worker) for _ in range(config.workers)]
    try:
        _Server(settings, app).run()
    finally:
        for one in workers:
            one.stop()
        store.close()


def first_link(store: Store) -> str | None:
    """Where an admin chooses a password; ``None`` where one has."""
    with store.database.write() as connection:
        admins = [one for one in accounts(connection) if one.role is Role.ADMIN and not one.is_closed]
        if any(one.has_password for one in admins):
            return None
        now = time.time()
        account = admins[0].id if admins else add_account(connection, ADMIN, Role.ADMIN, now=now)
        return f"/link/{make_link(connection, account, now=now, lasts_s=_LINK_S)}"


class _KeptWorker:
    """A worker's process, started again when it ends; it ends with this one, since its input then closes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603
            self._process.wait()
            self._stopping.wait(_RESTART_S)

    def stop(self) -> None:
        self._stopping.set()
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._thread.join(_STOP_S)


def work(config: ServeConfig, *, ends_with_input: bool) -> None:
    """Do what is due until told to stop.

    Args:
        config: As told.
        ends_with_input: Stop when standard input closes, which it does when whoever started this ends.

    Raises:
        InputError: Folder, database or models cannot be used.
    """
    setup = setup_digest(config.models)
    store = Store(config.folder, config.url)
    process = ScreenerProcess(config.models, store.scratch)
    stopping = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        stopping.set()
        process.close()

    if ends_with_input:
        threading.Thread(target=wait_for_end, daemon=True).start()
    worker = Worker(store, process, setup, timeout_s=config.screening_timeout_s)
    try:
        process.start()
        while not stopping.is_set():
            try:
                wait_s = 0.0 if worker.step() else _IDLE_S
            except SQLAlchemyError as error:  # it comes back, or a person sees this
                sys.stderr.write(f"duoscan: the database does not answer ({type(error).__name__})\n")
                wait_s = _RESTART_S
            stopping.wait(wait_s)
    finally:
        process.close()
        store.close()
