"""Connected regions of small masks, without scipy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the regions of a mask that hang together by sides (4-connected).

    Runs of each row are joined with the runs they touch in the row above, after the first pass of Rosenfeld and
    Pfaltz, "Sequential operations in digital picture processing" (1966), with runs in place of pixels. The work
    grows with the number of runs, so it is meant for masks of a hundred or so pixels a side.

    Args:
        mask: shape (H, W).

    Returns:
        Labels, shape (H, W), 0 outside and 1 … N inside, numbered from the top; and N.

    Example:
        >>> label_regions(np.array([[1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 0, 0]], bool))[0].tolist()
        [[1, 0, 1], [1, 1, 1], [0, 0, 0], [2, 0, 0]]
    """
    height, width = mask.shape
    edges = np.zeros((height, width + 1), np.int8)
    edges[:, 0] = mask[:, 0]
    edges[:, width] = -mask[:, -1].astype(np.int8)
    edges[:, 1:width] = np.diff(mask.astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges > 0)
    _, ends = np.nonzero(edges < 0)
    roots = _joined(rows.tolist(), starts.tolist(), ends.tolist())
    distinct, numbers = np.unique(roots, return_inverse=True)
    # Adding a run's number where it starts and taking it away where it ends leaves it on all its pixels.
    steps = np.zeros((height, width + 1), np.int32)
    np.add.at(steps, (rows, starts), numbers.astype(np.int32) + 1)
    np.subtract.at(steps, (rows, ends), numbers.astype(np.int32) + 1)
    return np.cumsum(steps, axis=1, dtype=np.int32)[:, :width], len(distinct)


def _joined(rows: list[int], starts: list[int], ends: list[int]) -> NDArray[np.int64]:
    """For each run, sorted by row and start, the first run of its region."""
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = parents[parents[run]]
            run = parents[run]
        return run

    above = 0
    for run, row in enumerate(rows):
        # ``above`` walks over the runs of the row above that end before this one starts; they touch no later run.
        while rows[above] < row - 1 or (rows[above] == row - 1 and ends[above] <= starts[run]):
            above += 1
        other = above
        while rows[other] == row - 1 and starts[other] < ends[run]:
            one, two = root(run), root(other)
            parents[max(one, two)] = min(one, two)
            other += 1
    return np.array([root(run) for run in range(len(rows))], np.int64)
