"""Paths that a command writes to, checked while its options are read: before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from duoscan.errors import InputError
from duoscan.files import check_out_file, check_out_folder

if TYPE_CHECKING:
    from collections.abc import Callable


class OutPath(click.Path):
    """A path to write to; the command sees it as it was typed.

    Args:
        check: Raises where it could not be written.
        is_folder: What it will be, for the help.
    """

    def __init__(self, check: Callable[[Path], None], *, is_folder: bool) -> None:
        super().__init__(path_type=Path)
        self.name = "directory" if is_folder else "file"
        self._check = check

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Check it.

        Raises:
            InputError: It could not be written; the message begins with the option.
        """
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        option = f"{param.opts[0]} " if isinstance(param, click.Option) else ""
        try:
            self._check(path)
        except InputError as error:
            raise InputError(f"{option}{error}") from error
        except (OSError, ValueError) as error:  # too long a name, a folder that may not be looked into, a NUL
            why = getattr(error, "strerror", None) or error
            raise InputError(f"{option}{path}: cannot be written ({why}); name another place") from error
        return path


OUT_FILE = OutPath(check_out_file, is_folder=False)
OUT_FOLDER = OutPath(check_out_folder, is_folder=True)
