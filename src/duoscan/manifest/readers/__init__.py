"""From what a person has (class folders, a table, DICOM files) to a manifest; one module for each."""

from duoscan.manifest.readers.anything import read_anything
from duoscan.manifest.readers.class_folders import from_class_folders
from duoscan.manifest.readers.dicom_folder import from_dicom_folder
from duoscan.manifest.readers.foreign_table import from_table
from duoscan.manifest.readers.found import Imported, SkippedFile, Wishes

__all__ = [
    "Imported",
    "SkippedFile",
    "Wishes",
    "from_class_folders",
    "from_dicom_folder",
    "from_table",
    "read_anything",
]
