"""``duoscan serve``."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from duoscan.errors import InputError, MissingExtraError
from duoscan.interfaces.cli.paths import OUT_FILE
from duoscan.interfaces.cli.tables import echo

if TYPE_CHECKING:
    from duoscan.interfaces.serve.config import ServeConfig
    from duoscan.worklist.store.store import Store

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group("serve", invoke_without_command=True)
@click.option("--config", "config_file", type=_EXISTING, help="TOML file; docs/serve.md lists its keys.")
@click.option("--folder", type=_FOLDER, help="Images, cache and database. [default: reading-room]")
@click.option("--host", help="Address to listen at. [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(1, 65535), help="[default: 8080]")
@click.option("--workers", type=click.IntRange(0, 64), help="Processes that screen. [default: 1]")
@click.option("--demo", is_flag=True, help="Fill it with invented patients; no image is of a person.")
@click.pass_context
def serve_command(
    context: click.Context,
    *,
    config_file: Path | None,
    folder: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    demo: bool,
) -> None:
    """Serve the reading room: a worklist in the browser, by urgency, with sign-off and history.

    Without any configuration it keeps a folder and SQLite, and listens on this machine alone.

    \b
    Exit code: 0 stopped by SIGTERM or SIGINT; 2 the command or its configuration was wrong.
    """
    if any(find_spec(module) is None for module in ("starlette", "uvicorn", "sqlalchemy", "alembic", "argon2")):
        raise MissingExtraError("serve", "duoscan serve")
    from duoscan.interfaces.serve.config import read_serve_config

    told = {"folder": folder, "host": host, "port": port, "workers": workers}
    context.obj = read_serve_config(config_file, told)
    if context.invoked_subcommand is not None:
        return
    from duoscan.interfaces.serve.running import serve

    if demo:
        from duoscan.interfaces.serve.demo import fill

        fill(context.obj, tell=echo)
    serve(context.obj, _worker_command(context.obj, config_file), tell=echo)


def _worker_command(config: ServeConfig, config_file: Path | None) -> list[str]:
    named = ["--config", str(config_file)] if config_file else []
    return [
        sys.executable, "-m", "duoscan", "serve", *named, "--folder", str(config.folder), "work", "--end-with-input",
    ]  # fmt: skip


@serve_command.command("work")
@click.option("--end-with-input", is_flag=True, help="Stop when standard input closes.")
@click.pass_obj
def work_command(config: ServeConfig, *, end_with_input: bool) -> None:
    """Run one more worker, here or on another machine that sees folder and database."""
    from duoscan.interfaces.serve.running import work
    from duoscan.worklist.log import silence_libraries

    os.umask(0o077)
    silence_libraries()
    work(config, ends_with_input=end_with_input)


@serve_command.command("admin-link")
@click.argument("name", default="admin")
@click.pass_obj
def admin_link_command(config: ServeConfig, *, name: str) -> None:
    """Print a link by which an admin's password is set anew, once, within a day."""
    import time

    from duoscan.worklist.store.accounts import Role, account_named, add_account, make_link
    from duoscan.worklist.store.trail import record

    store, now = _open(config), time.time()
    try:
        with store.database.write() as connection:
            known = account_named(connection, name)
            if known is not None and (known.role is not Role.ADMIN or known.is_closed):
                raise InputError(f"'{name}' is no open admin; name one, or a new account")
            account = known.id if known else add_account(connection, name, Role.ADMIN, now=now)
            token = make_link(connection, account, now=now, lasts_s=86_400)
            record(connection, actor="command line", action="make link", subject=account, now=now)
    finally:
        store.close()
    echo(f"http://{config.host}:{config.port}/link/{token}")


@serve_command.command("check-trail")
@click.option("--expect", help="A digest that this command printed earlier; it must still be among the lines.")
@click.pass_obj
def check_trail_command(config: ServeConfig, *, expect: str | None) -> None:
    """Check that no line of the trail was changed or removed; keep the digest it prints elsewhere.

    \b
    Exit code: 0 sound; 1 changed.
    """
    from duoscan.worklist.store.trail import check_trail

    store = _open(config)
    try:
        with store.database.read() as connection:
            count, digest, wrong = check_trail(connection, expected=expect)
    finally:
        store.close()
    echo(f"{count} lines sound, the last is {digest or 'none'}")
    if wrong:
        echo(f"duoscan: {wrong}", err=True)
        sys.exit(1)


@serve_command.command("feedback")
@click.argument("file", type=OUT_FILE)
@click.pass_obj
def feedback_command(config: ServeConfig, *, file: Path) -> None:
    """Write what readers signed to FILE, as a manifest (CSV or Parquet) to audit, certify or train on."""
    from duoscan.manifest.table import write_manifest
    from duoscan.worklist.feedback import feedback_manifest

    store = _open(config)
    try:
        manifest = feedback_manifest(store)
    finally:
        store.close()
    write_manifest(manifest, file)
    echo(f"{file}: {len(manifest)} images of signed cases")


@serve_command.command("backup")
@click.argument("file", type=OUT_FILE)
@click.pass_obj
def backup_command(config: ServeConfig, *, file: Path) -> None:
    """Write database and images to FILE (tar), while the server runs or not; they name patients, so guard it."""
    from duoscan.worklist.store.backup import write_backup

    echo(f"{file}: {write_backup(config.folder, file)} images and the database")


@serve_command.command("restore")
@click.argument("file", type=_EXISTING)
@click.pass_obj
def restore_command(config: ServeConfig, *, file: Path) -> None:
    """Make the reading room of a backup, in an empty folder."""
    from duoscan.worklist.store.backup import restore_backup

    echo(f"{config.folder}: {restore_backup(file, config.folder)} images and the database")


def _open(config: ServeConfig) -> Store:
    from duoscan.worklist.store.store import Store

    if not config.url and not (config.folder / "room.sqlite").is_file():
        raise InputError(f"{config.folder}: no reading room; check the path")
    return Store(config.folder, config.url)
