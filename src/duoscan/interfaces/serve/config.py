"""What the server is told: nothing, or one TOML file; unknown keys are refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from duoscan.errors import InputError
from duoscan.settings import Stated, read_toml, validated
from duoscan.worklist.config import ModelsSection

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "DUOSCAN_DATABASE"
"""Environment variable with the database's address, which may hold a password."""


class LimitsSection(Stated):
    """What one person may do."""

    max_files: int = Field(default=20_000, ge=1, description="of one upload")
    max_file_mb: int = Field(default=4096, ge=1, description="one file; images above 512 MB are not opened")
    max_upload_mb: int = Field(default=8192, ge=1, description="all files of an upload")
    min_free_mb: int = Field(default=1024, ge=0, description="less room on the disk than this refuses uploads")
    sign_in_failures: int = Field(default=10, ge=1, description="wrong passwords of a name or address before it waits")
    sign_in_wait_s: float = Field(default=300, gt=0, description="for so long")
    cache_mb: int = Field(default=1024, ge=1, description="slices as they were shown, on disk")


class ServeConfig(Stated):
    """All of it."""

    folder: Path = Field(default=Path("reading-room"), description="images, cache and, unless named, the database")
    database: str | None = Field(default=None, description="postgresql://…; better by DUOSCAN_DATABASE")
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, lt=2**16)
    names: tuple[str, ...] = Field(default=(), description="host names that browsers may call the server by")
    https: bool = Field(default=False, description="whether a proxy in front speaks TLS to the browsers")
    workers: int = Field(default=1, ge=0, le=64, description="processes that screen, each with one more for the models")
    readers: int = Field(default=1, ge=1, le=2, description="2: a case is closed by two readers, blind to each other")
    claim_s: float = Field(default=900, gt=0, description="a case is somebody's for so long after they last looked")
    session_s: float = Field(default=12 * 3600, gt=0)
    screening_timeout_s: float = Field(default=900, gt=0)
    limits: LimitsSection = LimitsSection()
    models: ModelsSection = ModelsSection()

    @property
    def url(self) -> str | None:
        """Address of the database; SQLite in the folder where ``None``."""
        return os.environ.get(DATABASE) or self.database


def read_serve_config(path: Path | None, overrides: Mapping[str, Any]) -> ServeConfig:
    """Read the server's file.

    Args:
        path: TOML; all is as by default where ``None``.
        overrides: Values of the command line; ``None`` is left out.

    Raises:
        InputError: It cannot be read, a key is unknown, or a value is wrong.
    """
    table = read_toml(path, InputError) if path else {}
    table |= {name: value for name, value in overrides.items() if value is not None}
    return validated(ServeConfig, table, path or Path("duoscan serve"), InputError)
