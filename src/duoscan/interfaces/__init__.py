"""Thin shells around the package: the command line, DICOM and FHIR, the node."""
