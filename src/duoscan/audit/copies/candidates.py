"""Which pairs are worth comparing pixel by pixel: nearest neighbours of two embeddings.

The one is the perceptual hash, for copies of the whole frame. The other sums up an image's keypoints, and so
survives cropping: VLAD (Jégou et al. 2010) over RootSIFT (Arandjelović & Zisserman 2012), with words and axes learned
on the images themselves. Each image is asked for as it is and mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.copies.signatures import mirrored_bins, read_sketch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.audit.copies.signatures import Signature

_SAMPLE_IMAGES = 1_000
_SAMPLE_DESCRIPTORS = 40_000
_WORDS = 48
_WORD_AXES = 32
_AXES = 192
_BLOCK_PRODUCTS = 4_000_000  # held at once, whatever the number of images: 16 MB and as many places again
_ALL_PAIRS = 16  # fewer images have hardly more pairs than nearest neighbours
_NEAREST = 9
_NEAREST_MIRRORED = 3
_NEAREST_HASHES = 4
_HASH_SIMILARITY = 1 - 2 * 10 / 64  # at most 10 of 64 places differ


@dataclass(frozen=True, order=True)
class CopyCandidate:
    """Two images that may be copies.

    Attributes:
        first: Number of an image.
        second: Number of another, higher one.
        mirrored: Whether the one resembles the other's mirror image.
    """

    first: int
    second: int
    mirrored: bool


@dataclass(frozen=True)
class _Words:
    """What descriptors are summed up with: axes of a descriptor, words on these axes."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    words: NDArray[np.float32]

    def embed(self, descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """VLAD of one image, shape (words · axes,), length 1."""
        reduced = (root_sift(descriptors) - self.mean) @ self.axes
        distances = (self.words**2).sum(axis=1) - 2 * reduced @ self.words.T
        nearest = distances.argmin(axis=1)
        sums = np.zeros_like(self.words)
        np.add.at(sums, nearest, reduced - self.words[nearest])
        sums /= np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
        return _unit(sums.ravel())


def find_candidates(
    signatures: Sequence[Signature],
    places: Sequence[int],
    scratch: Path,
    *,
    on_image: Callable[[], None] = lambda: None,
    seed: int = 0,
) -> list[CopyCandidate]:
    """Pairs of images that resemble each other, sorted; the work on each image is constant but for the search.

    Args:
        signatures: Of all images.
        places: Numbers of the images to compare with each other (those of one modality that could be read).
        scratch: The scratch file.
        on_image: Called after each image that was embedded.
        seed: Of the sample that words are learned on.
    """
    if len(places) <= _ALL_PAIRS:
        for _ in places:
            on_image()
        pairs = combinations(sorted(places), 2)
        return [CopyCandidate(one, other, mirrored) for one, other in pairs for mirrored in (False, True)]
    found: set[CopyCandidate] = set()
    plain = _hashes([signatures[place].phash for place in places])
    mirrored = _hashes([signatures[place].mirrored_phash for place in places])
    found.update(_pairs(plain, plain, places, _NEAREST_HASHES, mirrored=False, at_least=_HASH_SIMILARITY))
    found.update(_pairs(plain, mirrored, places, _NEAREST_HASHES, mirrored=True, at_least=_HASH_SIMILARITY))
    textured = [place for place in places if signatures[place].keypoints]
    if len(textured) >= 2:
        plain, mirrored = _embed_all(textured, scratch, on_image, seed)
        found.update(_pairs(plain, plain, textured, _NEAREST, mirrored=False))
        found.update(_pairs(plain, mirrored, textured, _NEAREST_MIRRORED, mirrored=True))
    return sorted(found)


def root_sift(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    """SIFT with the Hellinger kernel in place of the Euclidean one; rows of length 1, shape (K, 128)."""
    values = descriptors.astype(np.float32)
    values /= np.maximum(values.sum(axis=1, keepdims=True), 1)
    rooted: NDArray[np.float32] = np.sqrt(values)
    return rooted


def nearest(
    embedding: NDArray[np.float32], queries: NDArray[np.float32], count: int, at_least: float = -np.inf
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The most similar rows of an embedding for each query, by inner product, in blocks of bounded size.

    Args:
        embedding: shape (N, axes).
        queries: shape (N, axes); a row never answers the query of its own number.
        count: Most answers to a query.
        at_least: What is less similar is no answer. Most rows seldom are, and picking among few is quick.

    Yields:
        Numbers of queries and of the rows that answer them, both of the same length.
    """
    count = min(count, len(embedding) - 1)
    block = max(1, _BLOCK_PRODUCTS // len(embedding))
    for start in range(0, len(queries), block):
        similar = queries[start : start + block] @ embedding.T
        own = np.arange(len(similar))
        similar[own, start + own] = -np.inf
        if np.isfinite(at_least):
            asked, answers = np.nonzero(similar >= at_least)
            order = np.lexsort((-similar[asked, answers], asked))
            asked, answers = asked[order], answers[order]
            rank = np.arange(len(asked)) - np.searchsorted(asked, asked)
            asked, answers = asked[rank < count], answers[rank < count]
        else:
            answers = np.argpartition(similar, -count, axis=1)[:, -count:].ravel()
            asked = np.repeat(own, count)
        yield start + asked, answers


def _hashes(signs: Sequence[NDArray[np.int8]]) -> NDArray[np.float32]:
    """Hashes as rows of length 1: their products are 1 − 2 · (share of places that differ)."""
    stacked: NDArray[np.float32] = np.stack(signs).astype(np.float32) / np.float32(8)
    return stacked


def _pairs(
    embedding: NDArray[np.float32],
    queries: NDArray[np.float32],
    places: Sequence[int],
    count: int,
    *,
    mirrored: bool,
    at_least: float = -np.inf,
) -> Iterator[CopyCandidate]:
    for asked, answers in nearest(embedding, queries, count, at_least):
        for query, answer in zip(asked.tolist(), answers.tolist(), strict=True):
            first, second = sorted((places[query], places[answer]))
            yield CopyCandidate(first, second, mirrored)


def _embed_all(
    places: Sequence[int], scratch: Path, on_image: Callable[[], None], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of all images, and of all mirrored, each (N, axes) with rows of length 1."""
    rng = np.random.default_rng(seed)
    sample = sorted(rng.choice(len(places), min(len(places), _SAMPLE_IMAGES), replace=False))
    words = _learn_words([places[number] for number in sample], scratch, rng)
    axes = _principal_axes(
        np.stack([words.embed(read_sketch(scratch, places[number]).descriptors) for number in sample]), _AXES
    )
    plain = np.empty((len(places), axes.shape[1]), np.float32)
    mirrored = np.empty_like(plain)
    for row, place in enumerate(places):
        descriptors = read_sketch(scratch, place).descriptors
        plain[row] = _unit(words.embed(descriptors) @ axes)
        mirrored[row] = _unit(words.embed(descriptors[:, mirrored_bins()]) @ axes)
        on_image()
    return plain, mirrored


def _learn_words(places: Sequence[int], scratch: Path, rng: np.random.Generator) -> _Words:
    from sklearn.cluster import MiniBatchKMeans

    each = max(1, _SAMPLE_DESCRIPTORS // len(places))
    parts = []
    for place in places:
        descriptors = read_sketch(scratch, place).descriptors
        parts.append(descriptors[rng.permutation(len(descriptors))[:each]])
    rooted = root_sift(np.concatenate(parts))
    mean = rooted.mean(axis=0)
    axes = _principal_axes(rooted - mean, _WORD_AXES)
    reduced = (rooted - mean) @ axes
    clusters = min(_WORDS, len(reduced))
    learner = MiniBatchKMeans(clusters, random_state=0, n_init=1, batch_size=4_096, max_iter=20).fit(reduced)
    return _Words(mean, axes, learner.cluster_centers_.astype(np.float32))


def _principal_axes(rows: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The leading right singular vectors as columns, shape (dimensions, axes)."""
    from sklearn.utils.extmath import randomized_svd

    _, _, vectors = randomized_svd(rows, min(count, *rows.shape), random_state=0)
    axes: NDArray[np.float32] = vectors.T.astype(np.float32)
    return axes


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vector / max(float(np.linalg.norm(vector)), 1e-9)
    return scaled
