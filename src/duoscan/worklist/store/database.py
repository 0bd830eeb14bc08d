"""The database behind the store: SQLite by default, PostgreSQL by its address; nothing else knows which."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from duoscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

_BUSY_MS = 30_000
_WRITES = "duoscan_writes"
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_MIGRATION_LOCK = 0x64756F73


def new_id() -> str:
    """A name for a row that nobody can guess."""
    return secrets.token_hex(12)


class Database:
    """Connections to one database.

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``.

    Raises:
        InputError: It is neither.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
            driver = _DRIVERS[parsed.get_backend_name()]
        except (ArgumentError, KeyError) as error:
            msg = "the database's address is none of SQLite or PostgreSQL; write sqlite:///FILE or postgresql://…"
            raise InputError(msg) from error
        self.is_sqlite = driver == "sqlite"
        engine = create_engine(parsed.set(drivername=driver), pool_pre_ping=not self.is_sqlite, hide_parameters=True)
        if self.is_sqlite:
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        self.engine: Engine = engine

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, kept whole or not at all.

        SQLite has one writer at a time, and a transaction that begins by reading fails when it then wants to write and
        another wrote meanwhile; so it takes the write lock at once (``BEGIN IMMEDIATE``).
        """
        options = {_WRITES: True}
        with self.engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection

    def upgrade(self) -> None:
        """Bring the schema to the one this duoscan knows; several may do so at once.

        Raises:
            InputError: The database cannot be reached, or is of a later duoscan.
        """
        try:
            with self.write() as connection:
                if not self.is_sqlite:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
                config = _alembic(connection)
                found, script = revision_of(connection), ScriptDirectory.from_config(config)
                if found is not None and found not in {step.revision for step in script.walk_revisions()}:
                    msg = f"the database is of a later duoscan (its schema is '{found}'); use that one, or a new folder"
                    raise InputError(msg)
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise InputError(f"the database cannot be used ({_first_line(error)}); check its address") from error


def revision_of(connection: Connection) -> str | None:
    """The step the schema is at; ``None`` for an empty database."""
    return MigrationContext.configure(connection).get_current_revision()


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not where the driver guesses
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", f"busy_timeout = {_BUSY_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITES) else "BEGIN")
