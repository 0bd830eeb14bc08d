"""The directive ``settings-table``: every key of a settings file, from the pydantic model that reads it."""

from __future__ import annotations

import importlib
import json
import typing
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo
    from sphinx.application import Sphinx

HEAD = ("key", "default", "may be", "meaning")
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
Row = tuple[str, str, str, str]


def rows_of(model: type[BaseModel], prefix: str = "") -> Iterator[Row]:
    """Key, default, what it may be and what it means, of each field; sections go before their keys.

    Args:
        model: As the file is read.
        prefix: Of the section, with its dot.
    """
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield f"{prefix}{name}", _default(field), _allowed(field), field.description or ""
        else:
            yield f"[{prefix}{name}]", "", "a table", (section.__doc__ or "").partition("\n")[0]
            yield from rows_of(section, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model that a section, or each table of a list of them, is read by."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section, typing.get_args(annotation))), None)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "must be given"
    if value is None or value == "":
        return "–"
    return json.dumps(value, default=lambda many: sorted(many) if isinstance(many, frozenset) else str(many))


def _allowed(field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(limit, name)}"
        for limit in field.metadata
        for name, sign in _LIMITS.items()
        if getattr(limit, name, None) is not None
    ]
    return ", ".join([_spoken(field.annotation), *limits])


def _spoken(annotation: Any) -> str:
    """A type as a person who writes TOML reads it."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in {typing.Union, UnionType}:
        return " or ".join(_spoken(one) for one in arguments if one is not NoneType)
    if origin in {tuple, list, frozenset}:
        return f"list of {_spoken(arguments[0])}"
    if origin is dict:
        return f"table of {_spoken(arguments[1])}"
    if isinstance(annotation, type) and hasattr(annotation, "__members__"):
        return " or ".join(annotation)
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(annotation, "__name__", str(annotation))
    return words.get(name, "path" if name == "Path" or origin else name)


class SettingsTable(Directive):
    """``settings-table:: module.Model``."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """The table; an unknown model ends the build with its name."""
        module, _, name = self.arguments[0].rpartition(".")
        table = nodes.table()
        group = nodes.tgroup(cols=len(HEAD))
        table += group
        group += [nodes.colspec(colwidth=width) for width in (24, 16, 24, 36)]
        head, body = nodes.thead(), nodes.tbody()
        group += [head, body]
        head += _line(HEAD, is_code=False)
        body += [_line(row, is_code=True) for row in rows_of(getattr(importlib.import_module(module), name))]
        return [table]


def _line(cells: Row, *, is_code: bool) -> nodes.row:
    row = nodes.row()
    for place, cell in enumerate(cells):
        text = nodes.literal(text=cell) if is_code and place < 2 and cell else nodes.Text(cell)
        row += nodes.entry("", nodes.paragraph("", "", text))
    return row


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings-table", SettingsTable)
    return {"parallel_read_safe": True}
