"""A bundle: one file that holds a trained phase and all that is needed to trust it elsewhere.

The file is an ordinary zip with two members, ``model.onnx`` and ``bundle.json``, and a third, ``lungs.onnx``, where
the model is shown the lungs alone, so that any tool can open it.
Its archive comment is the seal: ``sha256:`` and the hash of every byte before the comment. Loading checks the
seal, then the hash of the graph that ``bundle.json`` states, so no changed byte goes unseen. A hash is not a
signature: it finds damage and careless edits, not an attacker who also rewrites the seal.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from duoscan.errors import BundleError, InputError
from duoscan.files import parse_json, read_bytes, write_bytes
from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.calibrator import Calibration
from duoscan.inference.heads import Head, check_names
from duoscan.inference.site import SiteEvidence
from duoscan.notebook import shown
from duoscan.run_files import BUNDLE_NAME
from duoscan.settings import Stated
from duoscan.terms import POSITIVE, Finding, Modality, Probability

if TYPE_CHECKING:
    from collections.abc import Mapping

SUFFIX = ".duoscan"
GRAPH_MEMBER = "model.onnx"
FINDER_MEMBER = "lungs.onnx"
INFO_MEMBER = "bundle.json"
MAX_GRAPH_BYTES = 512 * 2**20
"""Largest bundle and largest graph in one; in half precision, the weights of 250 million parameters."""
MAX_FINDER_BYTES = 16 * 2**20
MAX_INFO_BYTES = 16 * 2**20
_UNPACKED_BYTES, _UNPACKED_TIMES = 8 * 2**20, 8
"""Of a member beside, and for each byte of the file; weights of our exports shrink by a tenth, zeros a thousandfold."""
_SEAL_PREFIX = b"sha256:"
_SEAL_LENGTH = len(_SEAL_PREFIX) + 64
_FIXED_TIME = (2020, 1, 1, 0, 0, 0)  # so that equal contents give equal files
_LATER = (
    "calibration",
    "policy",
    "verdict",
    "aggregation",
    "study_calibration",
    "finder_sha256",
    "site",
    "heads",
)  # fields that versions before lacked
_AGAIN = "get the file again or export it anew with 'duoscan train'"


class Provenance(Stated):
    """Where the weights come from; what a reviewer asks first."""

    duoscan_version: str
    recipe: dict[str, Any]
    data_fingerprint: str
    data_summary: dict[str, Any] = Field(default_factory=dict, description="images and patients by source, label")
    licences: tuple[str, ...] = Field(default=(), description="licence notes of the images and of the backbone")
    metrics: dict[str, Any] = Field(default_factory=dict, description="validation metrics at export")
    environment: dict[str, str] = Field(default_factory=dict)
    parity: float = Field(ge=0, description="largest |logit difference| between torch and the exported graph")


class BundleInfo(Stated):
    """What ``bundle.json`` holds."""

    format: Literal["duoscan-bundle"] = "duoscan-bundle"
    version: Literal[1] = 1
    name: str
    classes: tuple[Finding, ...]
    contract: PreprocessingContract
    operating_points: dict[str, Probability] = Field(description="thresholds on P(covid), chosen on validation")
    default_point: str = Field(description="operating point for single images")
    study_point: str = Field(default="", description="operating point for studies; that of images if empty")
    graph_sha256: str = ""
    finder_sha256: str | None = Field(default=None, description="of the lung finder; where the contract shows lungs")
    provenance: Provenance
    calibration: Calibration | None = Field(
        default=None, description="P(covid) of one image → calibrated P(covid); no operating point refers to it"
    )
    policy: dict[str, Any] | None = Field(default=None, description="two-phase policy, as policies/policy.py reads it")
    aggregation: str | None = Field(
        default=None, description="how images of a study are joined; the modality's default"
    )
    study_calibration: Calibration | None = Field(
        default=None, description="P(covid) of one study → calibrated P(covid); no operating point refers to it"
    )
    site: SiteEvidence | None = Field(default=None, description="the hospital it was adapted to, and on what")
    verdict: dict[str, Any] | None = Field(default=None, description="what the gate said, as audit/gate.py reads it")
    heads: tuple[Head, ...] = Field(default=(), description="what the graph tells beside P(covid); decides nothing")

    @model_validator(mode="after")
    def _check(self) -> BundleInfo:
        if POSITIVE not in self.classes or len(set(self.classes)) < 2:
            msg = f"classes must hold '{POSITIVE}' and at least one other, found {list(self.classes)}"
            raise ValueError(msg)
        for point in (self.default_point, self.study_point or self.default_point):
            if point not in self.operating_points:
                msg = f"operating point '{point}' is not among {sorted(self.operating_points)}"
                raise ValueError(msg)
        if self.graph_sha256 and (self.contract.lungs != "none") != (self.finder_sha256 is not None):
            msg = f"the contract shows lungs '{self.contract.lungs}', the lung finder is {self.finder_sha256}"
            raise ValueError(msg)
        if self.aggregation is not None:
            Aggregation.named(self.aggregation)
        check_names([head.name for head in self.heads])
        return self

    @property
    def modality(self) -> Modality:
        """The modality the model was trained for."""
        return self.contract.modality

    @property
    def threshold(self) -> float:
        """The default operating point: P(covid) at or above it is positive."""
        return self.operating_points[self.default_point]

    @property
    def study_threshold(self) -> float:
        """The operating point for a study: its images' aggregated P(covid) at or above it is positive."""
        return self.operating_points[self.study_point or self.default_point]

    def calibrated_study(self, probability: float) -> float | None:
        """P(covid) of a study after the calibrator for studies; ``None`` where there is none."""
        if self.study_calibration is None:
            return None
        return float(self.study_calibration.apply(np.array([probability]))[0])


@dataclass(frozen=True)
class Bundle:
    """A checked bundle in memory.

    Attributes:
        info: What ``bundle.json`` holds.
        graph: Serialised ONNX model.
        path: Where it lies.
        finder: Serialised ONNX model that says where lung is; where the contract shows the lungs' view.
    """

    info: BundleInfo
    graph: bytes = field(repr=False)
    path: Path
    finder: bytes | None = field(default=None, repr=False)

    def _repr_html_(self) -> str:
        info = self.info
        rows = [
            ("answers", info.modality.spoken),
            ("classes", ", ".join(info.classes)),
            ("operating point, images", f"{info.threshold:.3f}"),
            ("operating point, studies", f"{info.study_threshold:.3f}"),
            ("SHA-256 of the graph", self.digest),
            ("verdict", (info.verdict or {}).get("level", "not audited")),
        ]
        return shown(info.name, ("what", "is"), rows, info.provenance.licences)

    @property
    def digest(self) -> str:
        """SHA-256 of the graph; names the weights in every answer."""
        return self.info.graph_sha256

    @property
    def study_digest(self) -> str:
        """Names what makes P(covid) of a study: the graph, how its answers are joined, and the site it was adapted to.

        It is :attr:`digest` where the bundle states no aggregation, lung finder or site, else SHA-256 of all. The site
        counts even where the graph is its parent's: what was promised of another hospital's patients is void here.
        """
        info = self.info
        others = [info.finder_sha256, info.site.digest() if info.site else None]
        if info.aggregation is None and not any(others):
            return self.digest
        parts = [self.digest, info.aggregation, *filter(None, others)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write_changed(bundle: Bundle, path: Path, changed: Mapping[str, Any], graph: bytes | None = None) -> Bundle:
    """Write a copy of a bundle in which some of its information is another; the bundle itself is sealed and stays.

    Args:
        bundle: What is copied, its lung finder too.
        path: Of the copy.
        changed: Fields of its information, by name.
        graph: In place of its graph.
    """
    return write_bundle(path, bundle.info.model_copy(update=changed), graph or bundle.graph, bundle.finder)


def write_bundle(path: Path, info: BundleInfo, graph: bytes, finder: bytes | None = None) -> Bundle:
    """Seal a graph and its information into one file, written atomically.

    Args:
        path: Target; by convention it ends in ``.duoscan``.
        info: Everything but the hashes of the graphs, which are filled in here.
        graph: Serialised ONNX model.
        finder: The lung finder's graph, where the contract shows the lungs' view.
    """
    hashes = {
        "graph_sha256": hashlib.sha256(graph).hexdigest(),
        "finder_sha256": None if finder is None else hashlib.sha256(finder).hexdigest(),
    }
    sealed = BundleInfo.model_validate(info.model_copy(update=hashes).model_dump())
    # Without any of them the file is the one that versions before them wrote and read.
    absent = {name for name in _LATER if getattr(sealed, name) in (None, ())}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (
            (INFO_MEMBER, sealed.model_dump_json(indent=1, exclude=absent).encode()),
            (GRAPH_MEMBER, graph),
            *([] if finder is None else [(FINDER_MEMBER, finder)]),
        ):
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), content, zipfile.ZIP_DEFLATED)
        archive.comment = bytes(_SEAL_LENGTH)
    body = buffer.getvalue()[:-_SEAL_LENGTH]
    write_bytes(path, body + _SEAL_PREFIX + hashlib.sha256(body).hexdigest().encode(), private=False)
    return Bundle(sealed, graph, path, finder)


def read_bundle(path: str | Path) -> Bundle:
    """Read and check a bundle.

    Args:
        path: The file, or the folder of the run that made it.

    Raises:
        BundleError: The file is missing, damaged, altered, or of a format this version does not know.
    """
    path = Path(path)
    if path.is_dir():
        path = path / BUNDLE_NAME
    try:
        content = read_bytes(path, limit=MAX_GRAPH_BYTES)
    except InputError as error:
        raise BundleError(str(error)) from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror}); name an existing {SUFFIX} file") from error
    body, seal = content[:-_SEAL_LENGTH], content[-_SEAL_LENGTH:]
    if not content.startswith(b"PK") or not seal.startswith(_SEAL_PREFIX):
        raise BundleError(f"{path}: not a duoscan bundle, or cut short ({len(content)} bytes); {_AGAIN}")
    if seal[len(_SEAL_PREFIX) :] != hashlib.sha256(body).hexdigest().encode():
        raise BundleError(f"{path}: content does not match its seal, at least one byte was changed; {_AGAIN}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            most = _UNPACKED_BYTES + _UNPACKED_TIMES * len(content)
            info = BundleInfo.model_validate(parse_json(_member(archive, INFO_MEMBER, min(MAX_INFO_BYTES, most))))
            graph = _member(archive, GRAPH_MEMBER, min(MAX_GRAPH_BYTES, most))
            limit = min(MAX_FINDER_BYTES, most)
            finder = None if info.finder_sha256 is None else _member(archive, FINDER_MEMBER, limit)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{path}: {INFO_MEMBER} is not understood at '{where}' ({first['msg']}); "
            "it may need a newer duoscan: pip install --upgrade duoscan"
        ) from error
    except Exception as error:
        # A zip file can be wrong in ways that raise errors of many types.
        raise BundleError(f"{path}: not a duoscan bundle ({error}); {_AGAIN}") from error
    if hashlib.sha256(graph).hexdigest() != info.graph_sha256:
        raise BundleError(f"{path}: the graph does not match the hash in {INFO_MEMBER}; {_AGAIN}")
    if finder is not None and hashlib.sha256(finder).hexdigest() != info.finder_sha256:
        raise BundleError(f"{path}: the lung finder does not match the hash in {INFO_MEMBER}; {_AGAIN}")
    return Bundle(info, graph, path, finder)


def _member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member as it unpacks, whatever size and method its entry states.

    Raises:
        ValueError: It unpacks to more than ``limit``, or is packed in another way than bundles are.
    """
    entry = archive.getinfo(name)
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        msg = f"{name} is packed by method {entry.compress_type}"
        raise ValueError(msg)
    with archive.open(entry) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        msg = f"{name} unpacks to more than {limit // 2**20} MiB"
        raise ValueError(msg)
    return content
