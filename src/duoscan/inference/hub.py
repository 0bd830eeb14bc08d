"""Bundles on a model hub: fetched by ``hf:owner/name@commit``, and stored with a card and hashes beside them.

A repository holds ``model.duoscan``, its card ``README.md`` and ``SHA256SUMS``. What comes from there is not trusted:
it is a bundle only if its seal holds and its hash is the stated one.
"""

from __future__ import annotations

import hashlib
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from duoscan.errors import BundleError, MissingExtraError, TransferError
from duoscan.files import read_bytes
from duoscan.inference.bundle import read_bundle
from duoscan.run_files import BUNDLE_NAME

if TYPE_CHECKING:
    from duoscan.inference.bundle import Bundle

PREFIX = "hf:"
CARD, SUMS = "README.md", "SHA256SUMS"
_NAMED = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
WAIT_S = 2.0


@dataclass(frozen=True)
class Place:
    """A repository of a model hub, and which of its states.

    Attributes:
        repository: ``owner/name``.
        revision: A commit, which never changes, or a branch or tag; empty for the newest.
    """

    repository: str
    revision: str = ""

    @classmethod
    def named(cls, text: str | Path) -> Place | None:
        """The place that ``hf:owner/name@commit`` names; ``None`` for the path of a file.

        Raises:
            BundleError: It begins with ``hf:`` and names no repository.

        Example:
            >>> Place.named("hf:clinic/xray@v1"), Place.named("runs/xray/model.duoscan")
            (Place(repository='clinic/xray', revision='v1'), None)
        """
        if not str(text).startswith(PREFIX):
            return None
        found = _NAMED.fullmatch(str(text))
        if found is None:
            raise BundleError(f"{text}: names no repository; write hf:owner/name, or hf:owner/name@commit")
        return cls(found["repository"], found["revision"] or "")

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{f'@{self.revision}' if self.revision else ''}"


@dataclass(frozen=True)
class Fetched:
    """A bundle that came from a hub.

    Attributes:
        path: Where it lies on this machine.
        commit: The state it is of.
    """

    path: Path
    commit: str


def fetch(place: Place) -> Fetched:
    """Fetch a bundle into the hub's cache on this machine; one that lies there is not fetched again.

    Raises:
        BundleError: It is not there, or not the one that ``SHA256SUMS`` states.
        TransferError: The hub cannot be reached.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    known = hub.try_to_load_from_cache(place.repository, BUNDLE_NAME, revision=place.revision or None)
    if isinstance(known, str) and _COMMIT.fullmatch(place.revision):  # a commit never changes
        return Fetched(Path(known), place.revision)
    if host := silent_hub():
        raise TransferError(f"{place}: no connection to {host}, and it is not in the cache; name a file")
    path = _file(hub, place, BUNDLE_NAME)
    if path is None:
        raise BundleError(f"{place}: the repository holds no {BUNDLE_NAME}; 'duoscan bundle push' stores one")
    sums = _file(hub, place, SUMS)
    if sums is not None and _sum_of(path) not in read_bytes(sums).decode("utf-8", "replace"):
        raise BundleError(f"{place}: {BUNDLE_NAME} is not the one that {SUMS} states; ask who stored it")
    # The cache keeps each state in a folder named by its commit.
    return Fetched(path, path.parent.name)


def push(bundle: Bundle, place: Place, card: str, *, is_private: bool) -> str:
    """Store a bundle, its card and its hash as one commit; the repository is made where it is missing.

    Args:
        bundle: What to store.
        place: Where to; its revision is a branch.
        card: Text of the card.
        is_private: Whether a new repository is seen by its owner alone.

    Returns:
        The commit.

    Raises:
        TransferError: The hub cannot be reached, or refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    hub = _hub()
    content = read_bytes(bundle.path, limit=bundle.path.stat().st_size)
    files = {
        BUNDLE_NAME: content,
        CARD: card.encode(),
        SUMS: f"{hashlib.sha256(content).hexdigest()}  {BUNDLE_NAME}\n".encode(),
    }
    if host := silent_hub():
        raise TransferError(f"{place}: no connection to {host}, so nothing was stored")
    api = hub.HfApi()
    try:
        api.create_repo(place.repository, private=is_private, exist_ok=True)
        done = api.create_commit(
            place.repository,
            [hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=own) for name, own in files.items()],
            commit_message=f"Store {bundle.info.name} ({bundle.digest[:12]})",
            revision=place.revision or None,
        )
    except (hub.errors.HfHubHTTPError, hub.errors.LocalTokenNotFoundError, OSError, ValueError) as error:
        raise TransferError(f"{place}: not stored ({_first_line(error)}); sign in with 'hf auth login'") from error
    return str(done.oid)


def _file(hub: Any, place: Place, name: str) -> Path | None:
    """A file of a repository; ``None`` where it does not hold one."""
    revision = place.revision or None
    try:
        return Path(hub.hf_hub_download(place.repository, name, revision=revision, etag_timeout=WAIT_S))
    except hub.errors.LocalEntryNotFoundError as error:
        raise TransferError(f"{place}: the hub does not answer, and {name} is not in the cache") from error
    except hub.errors.EntryNotFoundError:
        return None
    except hub.errors.RevisionNotFoundError as error:
        raise BundleError(f"{place}: there is no such commit, branch or tag; correct what stands after '@'") from error
    except hub.errors.HfHubHTTPError as error:
        raise BundleError(f"{place}: not there, or not for this account ({_first_line(error)})") from error


def silent_hub() -> str:
    """The name of the hub where no connection is there in two seconds; its library would try for minutes."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    proxy = urlsplit(getproxies().get(address.scheme, ""))
    first = proxy if proxy.hostname else address
    is_there = _answers(first.hostname or "", first.port or (443 if first.scheme == "https" else 80))
    return "" if is_there else address.hostname or ""


def _answers(host: str, port: int) -> bool:
    """Whether a connection is there in time; looking up a name may take longer, and cannot be told to end."""
    found: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), WAIT_S).close()
        except OSError:
            return
        found.append(True)

    asking = Thread(target=connect, daemon=True)
    asking.start()
    asking.join(WAIT_S)
    return bool(found)


def _sum_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingExtraError("hub", "a bundle on a model hub") from error
    return huggingface_hub


def named_bundle(named: str | Path) -> Bundle:
    """A bundle by path, or from a hub by ``hf:owner/name@commit``.

    Raises:
        BundleError: It is damaged, or not there.
        TransferError: The hub cannot be reached.
    """
    place = Place.named(named)
    return read_bundle(named if place is None else fetch(place).path)
