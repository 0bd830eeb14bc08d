"""TOML files → frozen pydantic models; every wrong entry is named at once, unknown keys with the nearest known one."""

from __future__ import annotations

import difflib
import reprlib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from duoscan.files import parse_toml, read_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from duoscan.errors import InputError

_Model = TypeVar("_Model", bound=BaseModel)


class Stated(BaseModel):
    """What a file states: no key is unknown, no number is infinite or none, and nothing changes once it is read."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_toml(path: Path, error: type[InputError]) -> dict[str, Any]:
    """The table in a TOML file.

    Args:
        path: The file.
        error: What to raise.

    Raises:
        InputError: It cannot be read or is no TOML; raised as ``error``.
    """
    try:
        return parse_toml(read_bytes(path))
    except OSError as fault:
        raise error(f"{path}: cannot be read ({fault.strerror}); check the path") from fault
    except ValueError as fault:
        raise error(f"{path}: not a TOML file ({fault}); correct the line named") from fault


def validated(model: type[_Model], table: Mapping[str, Any], path: Path, error: type[InputError]) -> _Model:
    """A table as a model.

    Args:
        model: Which; it should forbid unknown keys.
        table: As read.
        path: Where it was read from, for messages.
        error: What to raise.

    Raises:
        InputError: Entries are wrong, each in a line; raised as ``error``.
    """
    try:
        return model.model_validate(table)
    except ValidationError as fault:
        lines = [_explain(entry, model) for entry in fault.errors()]
        raise error("\n  ".join([f"{path}: {len(lines)} wrong entries", *lines])) from fault


def _explain(entry: Mapping[str, Any], model: type[BaseModel]) -> str:
    """One line for one wrong entry."""
    where = ".".join(str(part) for part in entry["loc"])
    if entry["type"] != "extra_forbidden":
        return f"{where}: {entry['msg']} (found {reprlib.repr(entry['input'])})" if where else str(entry["msg"])
    fields: dict[str, Any] = dict(model.model_fields)
    for part in entry["loc"][:-1]:
        fields = dict(getattr(getattr(fields.get(str(part)), "annotation", None), "model_fields", {}))
    near = difflib.get_close_matches(str(entry["loc"][-1]), list(fields), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known here: {', '.join(fields)}"
    return f"{where}: unknown key; {hint}"
