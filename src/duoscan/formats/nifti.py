"""NIfTI volumes → axial slices in Hounsfield units, by the extra ``[nifti]``."""

from __future__ import annotations

import gzip
import math
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.errors import ImageError, UnreadableImageError, UnsupportedImageError
from duoscan.formats.dicom.geometry import MAX_FRAMES, Plane
from duoscan.formats.frame_names import split_frame
from duoscan.formats.hounsfield import clip_to_air, is_beyond_scale, why_not_hu
from duoscan.formats.image import Pixels
from duoscan.formats.limits import MAX_DECODED_BYTES, check_contrast, check_file, check_size
from duoscan.formats.open_files import kept_open
from duoscan.quiet import quiet
from duoscan.terms import Modality

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

NIFTI_SUFFIXES = frozenset({".nii", ".nii.gz"})

# cos 37°, as for DICOM: tilted is still axial.
_AXIAL_COSINE = 0.8

_MAX_OFFSET = 2**20  # bytes before the voxels; header extensions are small
_HEADER_BYTES = 348
_LEAST_EXTENSION = 16
# Size of the header → form and place of vox_offset in it.
_OFFSET_PLACE = {348: ("f", 108), 540: ("q", 168)}


@dataclass(frozen=True)
class _Volume:
    """An open volume.

    Attributes:
        stored: Slices from the lowest to the highest, shape (D, H, W), row 0 in front, column 0 at the patient's right.
        slope: HU of one stored unit.
        intercept: HU of a stored 0.
    """

    stored: NDArray[Any]
    slope: float
    intercept: float


def is_nifti(path: Path) -> bool:
    """Whether a file is named as a NIfTI volume."""
    return path.name.lower().endswith(tuple(NIFTI_SUFFIXES))


def nifti_planes(path: Path) -> tuple[Plane, ...]:
    """Where the axial slices of a volume lie, lowest first, in DICOM's patient coordinates; voxels are not read.

    Raises:
        UnreadableImageError: Missing, damaged or too large.
        UnsupportedImageError: No volume, not axial, or the extra is not installed.
    """
    with _nifti_errors(path):
        image = _opened(path)
        affine = _canonical_affine(image, path)
        depth, height, width = _canonical_shape(image)
    columns, rows, normal = affine[:3, 0], affine[:3, 1], affine[:3, 2]
    # From right-anterior-superior to DICOM's left-posterior-superior; rows and columns then run as DICOM's do.
    turned = np.array([-1.0, -1.0, 1.0])
    steps = tuple(float(np.linalg.norm(axis)) for axis in (columns, rows, normal))
    row, column = -columns / steps[0] * turned, -rows / steps[1] * turned
    corner = affine[:3, 3] + columns * (width - 1) + rows * (height - 1)
    return tuple(
        Plane(
            position_mm=_vector((corner + normal * place) * turned),
            row=_vector(row),
            column=_vector(column),
            spacing_mm=(steps[1], steps[0]),
            thickness_mm=steps[2],
        )
        for place in range(depth)
    )


def read_nifti(path: Path) -> Pixels:
    """Read one axial slice of a volume, named as ``scan.nii.gz#12``, counted from the lowest.

    Raises:
        UnreadableImageError: Missing, damaged or too large.
        UnsupportedImageError: No slice is named, the volume is not axial or not in Hounsfield units, or the extra is
            not installed.
    """
    file, number = split_frame(path)
    with _nifti_errors(path):
        volume: _Volume = kept_open.opened(file, _read_volume)
    depth = len(volume.stored)
    if number is None and depth > 1:
        raise UnsupportedImageError(path, f"a volume of {depth} slices; name one by its number, as in FILE#1")
    if (number or 1) > depth:
        raise UnreadableImageError(path, f"holds {depth} slices, no slice {number}")
    rescaled = volume.stored[(number or 1) - 1].astype(np.float32) * np.float32(volume.slope)
    rescaled += np.float32(volume.intercept)
    values = clip_to_air(rescaled, is_beyond_scale(rescaled))
    check_contrast(values, path)
    return Pixels(values, is_hu=True, modality=Modality.CT, view="axial")


@contextmanager
def _nifti_errors(path: Path) -> Iterator[None]:
    """Turn whatever nibabel raises inside the block into an ``ImageError``, and keep it quiet.

    Raises:
        UnreadableImageError: Anything but an ``ImageError`` or a missing library.
        UnsupportedImageError: The library is missing.
    """
    try:
        with quiet:
            yield
    except ImageError:
        raise
    except ImportError as error:
        raise UnsupportedImageError(
            path, "a NIfTI volume needs the extra [nifti]: pip install 'duoscan[nifti]'"
        ) from error
    except FileNotFoundError as error:
        raise UnreadableImageError(path, "cannot be read (No such file or directory)") from error
    except Exception as error:
        # Headers, scaling and compression are checked by code of many hands; none of its errors may stop a batch.
        raise UnreadableImageError(path, f"damaged NIfTI file ({type(error).__name__}); make it again") from error


def _opened(path: Path) -> Any:
    """A checked header; the voxels stay on disk. Call it inside ``_nifti_errors``."""
    from nibabel.loadsave import load

    check_file(path)
    _check_offset(path)
    image = load(path)
    if math.prod(image.shape[3:]) != 1 or len(image.shape) < 3:
        raise UnsupportedImageError(path, f"{'×'.join(map(str, image.shape))} voxels are no volume; give one CT")
    if min(image.shape) < 1 or image.get_data_dtype().kind not in "iuf":
        raise UnsupportedImageError(path, "not a volume of plain numbers; give the CT itself")
    size = math.prod(image.shape) * image.get_data_dtype().itemsize
    if size > MAX_DECODED_BYTES:
        limit = MAX_DECODED_BYTES // 2**20
        raise UnreadableImageError(path, f"claims {size / 2**20:,.0f} MiB of voxels; at most {limit} MiB are read")
    depth, height, width = _canonical_shape(image)
    check_size(width, height, path)
    if depth > MAX_FRAMES:
        raise UnreadableImageError(path, f"claims {depth} slices; at most {MAX_FRAMES} are read")
    return image


def _check_offset(path: Path) -> None:
    """Refuse a header that puts the voxels far behind it: up to there nibabel reads what calls itself extensions.

    Raises:
        UnreadableImageError: It does, an extension claims to be larger than that, or it is no NIfTI header.
        OSError: The file or its compression is damaged.
    """
    is_packed = path.name.lower().endswith(".gz")
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        head = stream.read(_MAX_OFFSET)
    for order in "<>":
        # The first field is the size of the header, which tells NIfTI-1 from NIfTI-2 and the byte order.
        size = struct.unpack(f"{order}i", head[:4].ljust(4, b"\0"))[0]
        place = _OFFSET_PLACE.get(size)
        if place is not None and len(head) >= _HEADER_BYTES:
            offset = struct.unpack_from(order + place[0], head, place[1])[0]
            if not 0 <= offset <= _MAX_OFFSET:
                begins = f"claims that its voxels begin at byte {offset:g}; make the file again"
                raise UnreadableImageError(path, begins)
            _check_extensions(head, order, size + 4, int(offset), path)
            return
    raise UnreadableImageError(path, "not a NIfTI volume, or cut short; make the file again")


def _check_extensions(head: bytes, order: str, place: int, offset: int, path: Path) -> None:
    """Refuse extensions that claim more than may lie before the voxels, since memory for all of it would be taken.

    Args:
        head: The beginning of the file.
        order: Of its bytes.
        place: Where extensions begin, behind four bytes of which the first says whether there are any.
        offset: Where the voxels begin; an offset within the header is taken for the end of the file, as nibabel does.
        path: Of the file.

    Raises:
        UnreadableImageError: One does.
    """
    if not any(head[place - 4 : place - 3]):
        return
    end = min(offset, len(head)) if offset >= place else len(head)
    while end - place >= _LEAST_EXTENSION:
        (size,) = struct.unpack_from(f"{order}i", head, place)
        if not _LEAST_EXTENSION <= size <= _MAX_OFFSET:
            raise UnreadableImageError(path, f"claims an extension of {size:,} bytes; make the file again")
        place += size


def _canonical_affine(image: Any, path: Path) -> NDArray[np.float64]:
    """Voxel → millimetres with the axes to the right, the front and the head, of the volume turned likewise.

    Raises:
        UnsupportedImageError: The slices are not axial, or the file does not say where they lie.
    """
    from nibabel.orientations import inv_ornt_aff, io_orientation

    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(float(np.linalg.det(affine[:3, :3]))) < 1e-9:
        raise UnsupportedImageError(path, "its affine does not say where the voxels lie; make the file again")
    turn = io_orientation(affine)
    turned = affine @ inv_ornt_aff(turn, image.shape[:3])
    upward = turned[:3, 2] / np.linalg.norm(turned[:3, 2])
    if upward[2] < _AXIAL_COSINE:
        raise UnsupportedImageError(path, "an oblique volume by its affine; give the axial series")
    return np.asarray(turned)


def _canonical_shape(image: Any) -> tuple[int, int, int]:
    """Depth, height and width of the turned volume."""
    from nibabel.orientations import io_orientation

    axes = [int(axis) for axis in io_orientation(image.affine)[:, 0]]
    sides = {axis: int(side) for axis, side in zip(axes, image.shape[:3], strict=True)}
    return sides[2], sides[1], sides[0]


def _read_volume(path: Path) -> _Volume:
    from nibabel.orientations import apply_orientation, io_orientation

    image = _opened(path)
    _canonical_affine(image, path)
    stored = np.asarray(image.dataobj.get_unscaled()).reshape(image.shape[:3])
    right_front_up = apply_orientation(stored, io_orientation(image.affine))
    # Rows run to the back and columns to the left, as DICOM shows an axial slice.
    slices = np.transpose(right_front_up, (2, 1, 0))[:, ::-1, ::-1]
    volume = _Volume(slices, float(image.dataobj.slope), float(image.dataobj.inter))
    _check_hu(volume, path)
    return volume


def _check_hu(volume: _Volume, path: Path) -> None:
    """Refuse masks, normalised volumes and other modalities, on a sample of the voxels.

    Raises:
        UnsupportedImageError: The values cannot be Hounsfield units.
    """
    step = max(1, round((volume.stored.size / 2e6) ** (1 / 3)))
    sample = volume.stored[::step, ::step, ::step].astype(np.float64) * volume.slope + volume.intercept
    if reason := why_not_hu(sample, np.zeros(sample.shape, np.bool_)):
        rescale = f"scl_slope {volume.slope:g}, scl_inter {volume.intercept:g}"
        raise UnsupportedImageError(path, f"{reason} after its rescale ({rescale}); give the CT as the scanner made it")


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
