"""What a node is told: one TOML file, unknown keys refused."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, FilePath, field_validator

from duoscan.archives.archive import Destination, is_web_address
from duoscan.archives.credentials import read_access
from duoscan.archives.opening import open_archive
from duoscan.archives.send import CALLING_AE_TITLE, Peer
from duoscan.archives.tls import Tls
from duoscan.errors import InputError
from duoscan.results.write import DEFAULT_OBJECTS, ResultObject
from duoscan.settings import Stated, read_toml, validated

if TYPE_CHECKING:
    from collections.abc import Mapping

_AE_TITLE = r"^[^\\\s]{1,16}$"


class ListenSection(Stated):
    """Who may store what."""

    ae_title: str = Field(default=CALLING_AE_TITLE, pattern=_AE_TITLE, description="what callers must call it")
    host: str = Field(default="127.0.0.1", description="address to listen at")
    port: int = Field(default=11112, ge=0, lt=2**16)
    calling: tuple[str, ...] = Field(default=(), description="AE titles that may call; empty lets all call")
    peers: tuple[str, ...] = Field(default=("127.0.0.1", "::1"), description="addresses and networks that may connect")
    max_associations: int = Field(default=8, ge=1, le=256)
    max_associations_per_address: int = Field(
        default=4, ge=1, le=256, description="so that one peer cannot keep out all others"
    )
    max_object_mb: int = Field(default=512, ge=1, le=4096)
    min_free_mb: int = Field(default=1024, ge=0, description="less room on the disk than this refuses objects")
    timeout_s: float = Field(default=30, gt=0, description="for a handshake, a request, each PDU and each write")
    tls: Tls | None = None

    @field_validator("peers")
    @classmethod
    def _check_peers(cls, peers: tuple[str, ...]) -> tuple[str, ...]:
        for peer in peers:
            ipaddress.ip_network(peer)  # its ValueError says what is wrong
        return peers

    def admits(self, address: str) -> bool:
        """Whether an address may connect."""
        found = ipaddress.ip_address(address.partition("%")[0])
        found = getattr(found, "ipv4_mapped", None) or found
        return any(found in ipaddress.ip_network(peer) for peer in self.peers)


class CaseSection(Stated):
    """When and how a patient's studies are screened."""

    quiet_s: float = Field(default=60, gt=0, description="a study is complete so long after its last object")
    need_ct: Literal["acquired", "always", "never"] = Field(
        default="acquired", description="whether CT was asked for; acquired: it was if a CT of the patient is there"
    )
    memory_days: float = Field(default=30, ge=0, description="earlier studies of a patient that count")
    timeout_s: float = Field(default=900, gt=0, description="a screening that takes longer is stopped")
    attempts: int = Field(default=3, ge=1, description="screenings that fail before their studies are given up")
    keep_days: float = Field(default=0, ge=0, description="files of finished studies go after this; 0 keeps them")


class ModelsSection(Stated):
    """As the options of ``duoscan screen``."""

    xray_bundle: Path | None = None
    ct_bundle: Path | None = None
    xray_threshold: float | None = Field(default=None, ge=0, le=1)
    ct_threshold: float | None = Field(default=None, ge=0, le=1)
    policy: str = ""
    check_quality: bool = True


class DestinationSection(Stated):
    """Where results go."""

    address: str = Field(description="TITLE@HOST:PORT, or the https:// address of a DICOMweb service")
    objects: frozenset[ResultObject] = Field(
        default=DEFAULT_OBJECTS, description="as --dicom-objects of duoscan screen"
    )
    attempts: int = Field(default=8, ge=1, description="refusals of an object before its study is given up")
    auth_file: Path | None = Field(default=None, description="as --auth-file of duoscan screen")
    ca_file: FilePath | None = Field(default=None, description="as --ca-file of duoscan screen")
    certificate: FilePath | None = Field(default=None, description="as --certificate of duoscan screen")
    key: FilePath | None = Field(default=None, description="as --certificate-key of duoscan screen")

    def open(self) -> Destination:
        """The destination; nothing is sent yet.

        Raises:
            InputError: Its address, credentials or certificates cannot be used.
            MissingExtraError: The extra [dicom] is not installed.
        """
        access = read_access(self.address, self.auth_file, self.ca_file, self.certificate, self.key)
        return open_archive(self.address, access)

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str) -> str:
        if not is_web_address(address):
            try:
                Peer.parse(address)
            except InputError as error:
                raise ValueError(str(error)) from error
        return address


class NodeConfig(Stated):
    """All of it."""

    spool: Path = Field(description="folder of received objects, results and the journal")
    destination: DestinationSection
    listen: ListenSection = ListenSection()
    study: CaseSection = CaseSection()
    models: ModelsSection = ModelsSection()
    log_identifiers: bool = False


def read_config(path: Path, overrides: Mapping[str, Any]) -> NodeConfig:
    """Read a node's file.

    Args:
        path: TOML.
        overrides: ``section.key`` → value from the command line; ``None`` is left out.

    Raises:
        InputError: It cannot be read, a key is unknown, or a value is wrong.
    """
    table = read_toml(path, InputError)
    for key, value in overrides.items():
        section, _, name = key.rpartition(".")
        place = table.setdefault(section, {}) if section else table
        if value is not None and isinstance(place, dict):
            place[name] = value
    return validated(NodeConfig, table, path, InputError)
