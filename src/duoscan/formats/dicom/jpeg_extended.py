"""Decoders for JPEG of 12 bits, which pydicom has none for: sequential, and two processes that the standard retired.

GDCM's libjpeg decodes them, though pydicom's plug-in for GDCM declines. Module and functions have the form that
pydicom wants of a decoding plug-in.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import Decoder, DecodeRunner

# PS3.5 A.4.1 and, retired with the edition of 2004, 8.2.1: extended, spectral selection, full progression.
DECODER_DEPENDENCIES = {
    "1.2.840.10008.1.2.4.51": ("python-gdcm",),
    "1.2.840.10008.1.2.4.53": ("python-gdcm",),
    "1.2.840.10008.1.2.4.55": ("python-gdcm",),
}


def get_decoder(syntax: str) -> Decoder:
    """As pydicom's function of this name, with the decoders of this module.

    Args:
        syntax: TransferSyntaxUID.

    Raises:
        NotImplementedError: There is no decoder for it.
    """
    from pydicom.pixels.decoders.base import get_decoder as plain_decoder

    return _own_decoder(str(syntax)) if syntax in DECODER_DEPENDENCIES else plain_decoder(syntax)


@cache
def _own_decoder(syntax: str) -> Decoder:
    from pydicom.pixels.decoders.base import Decoder as PlainDecoder
    from pydicom.uid import UID

    decoder = PlainDecoder(UID(syntax))
    decoder.add_plugin("gdcm", (__name__, "decode_frame"))
    return decoder


def is_available(uid: str) -> bool:
    """Whether :func:`decode_frame` knows a transfer syntax."""
    return uid in DECODER_DEPENDENCIES


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Decode one frame.

    Args:
        src: A JPEG stream.
        runner: What pydicom knows of it.

    Returns:
        Samples as native DICOM pixel data.

    Raises:
        ValueError: GDCM cannot make sense of the stream.
    """
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(src)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((runner.columns, runner.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(runner.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    syntax = gdcm.TransferSyntax.GetTSType(str(runner.transfer_syntax))
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    bits = runner.bits_stored
    image.SetPixelFormat(
        gdcm.PixelFormat(runner.samples_per_pixel, runner.bits_allocated, bits, bits - 1, runner.pixel_representation)
    )
    # GDCM hands bytes over as text with surrogates.
    frame: bytes = image.GetBuffer().encode("utf-8", "surrogateescape")
    if len(frame) != runner.frame_length(unit="bytes"):
        msg = "GDCM gave pixels of another size"
        raise ValueError(msg)
    return frame
