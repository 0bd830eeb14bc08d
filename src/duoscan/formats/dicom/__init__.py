"""DICOM: header, geometry, frames, colour, and decoding in a process of its own."""
