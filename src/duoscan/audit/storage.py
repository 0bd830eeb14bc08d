"""What an audit leaves behind: a folder that the report and the cards read.

DIR/
  audit.json     every result
  verdict.json   what the gate says, one verdict a modality
  manifest.csv   the rows that were audited
  copies.csv     the copies, where any were found
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.audit.gate import Verdict
from duoscan.audit.result import AuditResult, AuditTable, Level
from duoscan.errors import InputError
from duoscan.files import parse_json, read_bytes, write_text
from duoscan.manifest.table import read_manifest, write_manifest
from duoscan.terms import POSITIVE, Modality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.predictions import Prediction

FORMAT, VERSION = "duoscan-audit-results", 1
RESULTS_NAME, VERDICT_NAME, MANIFEST_NAME = "audit.json", "verdict.json", "manifest.csv"
_RESULT_KEYS = {"name", "title", "level", "reasons", "facts", "tables"}


@dataclass(frozen=True)
class Audited:
    """The audits of some data, and of a model where one was given.

    Attributes:
        results: By modality.
        verdicts: By modality.
        manifest: The audited rows.
        command: What was typed.
    """

    results: Mapping[Modality, tuple[AuditResult, ...]]
    verdicts: Mapping[Modality, Verdict]
    manifest: Manifest
    command: str

    def _repr_html_(self) -> str:
        return "".join(verdict._repr_html_() for verdict in self.verdicts.values())

    def missing(self, rows: Iterable[ImageRecord | Prediction]) -> int:
        """How many rows were no part of the audited data.

        Rows are told by file name, source and whether they show covid: folders may differ between two places.
        """
        known = {_identity(record) for record in self.manifest}
        return sum(_identity(row) not in known for row in rows)


def rows_fingerprint(manifest: Manifest) -> str:
    """SHA-256 over the rows, wherever their folder lies: paths count by their last part."""
    digest = hashlib.sha256()
    for line in sorted(
        json.dumps(
            [*_identity(one), one.modality, one.patient_id or one.group, one.label, one.split], ensure_ascii=True
        )
        for one in manifest
    ):
        digest.update(line.encode())
        digest.update(b"\n")
    return digest.hexdigest()


def write_audit(audited: Audited, folder: Path) -> None:
    """Write ``manifest.csv``, ``verdict.json`` and, last, ``audit.json``; each whole or not at all."""
    write_manifest(audited.manifest, folder / MANIFEST_NAME)
    verdicts = {modality.value: verdict.to_json() for modality, verdict in audited.verdicts.items()}
    write_text(folder / VERDICT_NAME, _json(verdicts))
    document = {
        "format": FORMAT,
        "version": VERSION,
        "results": [
            {"modality": modality.value} | result.to_json()
            for modality, results in audited.results.items()
            for result in results
        ],
        "manifest_fingerprint": rows_fingerprint(audited.manifest),
        "command": audited.command,
    }
    write_text(folder / RESULTS_NAME, _json(document))


def read_audit(folder: Path) -> Audited:
    """Read what :func:`write_audit` wrote.

    Raises:
        InputError: A file is missing, damaged, of another version, or the manifest is not the audited one.
    """
    document = _object(folder / RESULTS_NAME)
    if (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise InputError(f"{folder / RESULTS_NAME}: no {FORMAT} of version {VERSION}; make it with: duoscan audit")
    manifest = read_manifest(folder / MANIFEST_NAME, check_files=False, check_patients=False)
    if rows_fingerprint(manifest) != document.get("manifest_fingerprint"):
        raise InputError(f"{folder / MANIFEST_NAME}: not the rows that were audited; audit again")
    results: dict[Modality, list[AuditResult]] = {}
    for stated in document.get("results", ()):
        modality, result = _result(dict(stated), folder / RESULTS_NAME)
        results.setdefault(modality, []).append(result)
    verdicts = {
        _modality(name, folder / VERDICT_NAME): Verdict.from_json(one)
        for name, one in _object(folder / VERDICT_NAME).items()
    }
    return Audited(
        {modality: tuple(own) for modality, own in results.items()}, verdicts, manifest, str(document.get("command"))
    )


@dataclass(frozen=True)
class Shortcuts:
    """What ``duoscan shortcuts`` found.

    Attributes:
        modality: Of the images.
        result: Of the audit.
        rows: :func:`rows_fingerprint` of the labelled rows it was learned on.
    """

    modality: Modality
    result: AuditResult
    rows: str

    def check_rows(self, manifest: Manifest, path: Path) -> None:
        """Refuse what was learned on other data than are audited.

        Raises:
            InputError: The manifest's labelled rows of the modality are others.
        """
        labelled = [one for one in manifest if one.modality is self.modality and one.label is not None]
        if rows_fingerprint(manifest.replace(labelled)) != self.rows:
            raise InputError(f"{path}: learned on other rows than the audited ones; run 'duoscan shortcuts' on these")


def write_shortcuts(found: Shortcuts, path: Path) -> None:
    """Write what :func:`read_shortcuts` reads."""
    write_text(path, _json({"modality": found.modality, "rows": found.rows, "result": found.result.to_json()}))


def read_shortcuts(path: Path) -> Shortcuts:
    """Read what ``duoscan shortcuts`` wrote.

    Raises:
        InputError: It is no such file.
    """
    stated = _object(path)
    try:
        return Shortcuts(Modality(stated["modality"]), result_from_json(stated["result"], path), str(stated["rows"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not what 'duoscan shortcuts' writes ({error}); make it anew") from error


def result_from_json(stated: Mapping[str, Any], where: object) -> AuditResult:
    """One audit result as ``AuditResult.to_json`` wrote it.

    Raises:
        InputError: A key is missing or unknown, or a value is of the wrong kind.
    """
    if not isinstance(stated, dict) or set(stated) != _RESULT_KEYS:
        raise InputError(f"{where}: not an audit result with {', '.join(sorted(_RESULT_KEYS))}; audit again")
    try:
        tables = tuple(
            AuditTable(one["title"], tuple(one["columns"]), tuple(tuple(row) for row in one["rows"]))
            for one in stated["tables"]
        )
        level, reasons = Level(stated["level"]), tuple(map(str, stated["reasons"]))
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{where}: the result '{stated['name']}' is not understood ({error}); audit again") from error
    return AuditResult(stated["name"], stated["title"], level, reasons, dict(stated["facts"]), tables)


def _result(stated: dict[str, Any], where: Path) -> tuple[Modality, AuditResult]:
    modality = _modality(stated.pop("modality", None), where)
    return modality, result_from_json(stated, where)


def _modality(name: object, where: Path) -> Modality:
    try:
        return Modality(str(name))
    except ValueError as error:
        raise InputError(f"{where}: a result without a known modality; audit again") from error


def _identity(row: ImageRecord | Prediction) -> tuple[str, str, bool]:
    return row.path.replace("\\", "/").rpartition("/")[2], row.source or "unknown", row.label is POSITIVE


def _object(path: Path) -> dict[str, Any]:
    try:
        stated = parse_json(read_bytes(path).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}); make it with: duoscan audit … --out DIR"
        ) from error
    if not isinstance(stated, dict):
        raise InputError(f"{path}: no JSON object; make it with: duoscan audit … --out DIR")
    return stated


def _json(document: object) -> str:
    return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """The same with ``null`` for what is undefined, and with Python's numbers for NumPy's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(held) for key, held in value.items()}
    return [_plain(held) for held in value] if isinstance(value, list | tuple) else value
