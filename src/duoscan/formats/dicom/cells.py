"""Cells of pixel data → pixel values (PS3.5 8.1.1): a cell may hold more bits than its value has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import UnsupportedImageError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom import Dataset

_RUN_LENGTH = "1.2.840.10008.1.2.5"


def values_of_cells(cells: NDArray[Any], dataset: Dataset, path: Path) -> NDArray[Any]:
    """The BitsStored bits below HighBit of every cell; what else is in it (old overlays, leftovers) is dropped.

    Args:
        cells: As they are stored, any shape.
        dataset: Where they are from.
        path: The file, for messages.

    Raises:
        UnsupportedImageError: HighBit leaves no room for the value, or lies elsewhere than a codestream can say.
    """
    width = cells.dtype.itemsize * 8
    stored = int(dataset.BitsStored)
    highest = int(dataset.get("HighBit", stored - 1))
    if not stored - 1 <= highest < width:
        raise UnsupportedImageError(
            path, f"HighBit is {highest}, which does not fit BitsStored {stored} of {width} bits; export it again"
        )
    if highest != stored - 1 and not _is_cell_by_cell(dataset):
        raise UnsupportedImageError(
            path,
            f"HighBit is {highest}, which compressed values of {stored} bits do not have; "
            "export it as Explicit VR Little Endian",
        )
    if stored == width:
        return cells
    # A signed value keeps its sign: the second shift copies it into the bits above.
    return (cells << (width - 1 - highest)) >> (width - stored)


def negative_cells(cells: NDArray[Any], bits_stored: int) -> NDArray[np.bool_]:
    """Where a negative number was written into an unsigned image of fewer bits than a cell, as padding often is.

    All bits above the value's own are then set, and so is its highest. Where any cell has other bits set there, they
    are an overlay or leftovers, and none counts as negative; so it is where only one bit is above.
    """
    above = cells.dtype.itemsize * 8 - bits_stored
    if cells.dtype.kind != "u" or above < 2:
        return np.zeros(cells.shape, np.bool_)
    is_used = cells >> bits_stored != 0
    is_negative = cells >> (bits_stored - 1) == 2 ** (above + 1) - 1
    return is_negative if np.array_equal(is_used, is_negative) else np.zeros(cells.shape, np.bool_)


def _is_cell_by_cell(dataset: Dataset) -> bool:
    """Whether pixel data are the cells themselves: native, or run lengths of them (PS3.5 G.2)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    return not syntax.is_encapsulated or syntax == _RUN_LENGTH
