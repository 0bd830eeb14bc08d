"""Manifest → copies: sign every image, propose pairs, compare them, with a bounded memory."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duoscan.audit.copies.candidates import find_candidates
from duoscan.audit.copies.groups import Copies, CopyPair
from duoscan.audit.copies.signatures import opencv, sign
from duoscan.audit.copies.verify import Kind, verify
from duoscan.processes import worker_processes
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from duoscan.audit.copies.candidates import CopyCandidate
    from duoscan.audit.copies.signatures import Signature
    from duoscan.audit.copies.verify import CopyVerdict
    from duoscan.manifest.records import Manifest

_SIGN_CHUNK, _VERIFY_CHUNK = 8, 64


def find_copies(
    manifest: Manifest,
    *,
    on_image: Callable[[], None] = lambda: None,
    on_pair: Callable[[int, int], None] = lambda _done, _all: None,
    workers: int = 2,
    scratch: Path | None = None,
) -> Copies:
    """Find the images of a manifest that are copies of each other, within each modality.

    Not found: copies turned by a right angle or inverted, pictures with fewer than eight keypoints, and cuts that show
    less than about a sixth of the other image. A group lists the pairs that were compared, not every pair of it.

    Args:
        manifest: Any sources, splits and labels.
        on_image: Called once for each image when it has been read.
        on_pair: Called with (done, all) while pairs are compared.
        workers: Processes.
        scratch: Folder for a temporary file of about 140 kB an image; the system's own if left out.

    Raises:
        MissingExtraError: OpenCV or scikit-learn is not installed.
    """
    opencv()
    files = [manifest.file(record) for record in manifest]
    with tempfile.TemporaryDirectory(prefix="duoscan-copies-", dir=scratch) as folder, _mapping(workers) as each:
        sketches = Path(folder) / "sketches"
        sketches.touch()
        signatures: list[Signature] = []
        for signature in each(partial(_sign, scratch=sketches), enumerate(files), chunksize=_SIGN_CHUNK):
            signatures.append(signature)
            on_image()
        pairs = _same_bytes(manifest, signatures)
        candidates = _candidates(manifest, signatures, sketches)
        jobs = [(one, files[one.first], files[one.second]) for one in candidates]
        results = each(partial(_verify, scratch=sketches), jobs, chunksize=_VERIFY_CHUNK)
        for done, verdict in enumerate(results, start=1):
            if verdict is not None:
                pairs.append(_pair(manifest, signatures, verdict))
            on_pair(done, len(jobs))
    problems = {
        record.path: signature.problem
        for record, signature in zip(manifest, signatures, strict=True)
        if signature.problem
    }
    return Copies(manifest, tuple(_best(pairs)), problems)


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """``map`` in order, here or in a pool."""
    if workers <= 1:
        yield lambda work, jobs, chunksize: map(work, jobs)  # noqa: ARG005 - the pool's signature
        return
    with worker_processes(workers, _one_thread) as pool:
        yield pool.map


def _one_thread() -> None:
    """Leave the other cores to the other workers: two of two threads each on two cores took three times as long."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)


def _sign(job: tuple[int, Path], scratch: Path) -> Signature:
    place, path = job
    return sign(path, scratch, place)


def _verify(job: tuple[CopyCandidate, Path, Path], scratch: Path) -> CopyVerdict | None:
    return verify(*job, scratch)


def _candidates(manifest: Manifest, signatures: Sequence[Signature], scratch: Path) -> list[CopyCandidate]:
    """Candidates within each modality; of files with the same bytes only the first takes part."""
    found: list[CopyCandidate] = []
    for modality in Modality:
        seen: set[bytes] = set()
        places = []
        for place, (record, signature) in enumerate(zip(manifest, signatures, strict=True)):
            if record.modality == modality and not signature.problem and signature.digest not in seen:
                seen.add(signature.digest)
                places.append(place)
        found += find_candidates(signatures, places, scratch)
    return found


def _same_bytes(manifest: Manifest, signatures: Sequence[Signature]) -> list[CopyPair]:
    first: dict[tuple[str, bytes], str] = {}
    pairs = []
    for record, signature in zip(manifest, signatures, strict=True):
        if signature.problem:
            continue
        original = first.setdefault((record.modality, signature.digest), record.path)
        if original != record.path:
            pairs.append(CopyPair(original, record.path, Kind.SAME_BYTES, f"SHA-256 {signature.digest.hex()[:16]}…"))
    return pairs


def _pair(manifest: Manifest, signatures: Sequence[Signature], verdict: CopyVerdict) -> CopyPair:
    one, found = verdict.candidate, verdict.comparison
    second = signatures[one.second].mirrored_phash if one.mirrored else signatures[one.second].phash
    differing = (64 - int(signatures[one.first].phash.astype(int) @ second.astype(int))) // 2
    evidence = (
        f"{found.keypoints} keypoints agree; fine structure correlates {found.median:.2f} "
        f"(lower fifth {found.lower_fifth:.2f}, {found.blocks} blocks); "
        f"shared part {found.overlap:.0%} and {found.overlap_second:.0%} of the frames; "
        f"perceptual hash differs in {differing} of 64"
    )
    return CopyPair(manifest.records[one.first].path, manifest.records[one.second].path, verdict.kind, evidence)


def _best(pairs: Sequence[CopyPair]) -> list[CopyPair]:
    """One pair for each two images: a symmetrical picture may be found plain and mirrored."""
    order = list(Kind)
    best: dict[tuple[str, str], CopyPair] = {}
    for pair in sorted(pairs, key=lambda pair: order.index(pair.kind)):
        best.setdefault((pair.path_a, pair.path_b), pair)
    return sorted(best.values(), key=lambda pair: (pair.path_a, pair.path_b))
