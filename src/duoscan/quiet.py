"""Silence around libraries that warn about the files they read."""

from __future__ import annotations

import logging
import warnings
from threading import Lock


class _Quiet:
    """A context in which warnings, and the logs of some libraries, are dropped.

    Image libraries quote what they find odd, and that may name a patient; the caller reports faults itself.
    Python's own ``warnings.catch_warnings`` restores the wrong filters when threads overlap, and files are
    read by several threads; so one shared instance counts who is inside and restores when the last one
    leaves. While anybody is inside, warnings of the whole process are dropped.
    """

    def __init__(self, *logger_names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in logger_names]
        self._lock = Lock()
        self._inside = 0
        self._was_disabled: list[bool] = []
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
                self._was_disabled = [logger.disabled for logger in self._loggers]
                for logger in self._loggers:
                    logger.disabled = True
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for logger, was_disabled in zip(self._loggers, self._was_disabled, strict=True):
                    logger.disabled = was_disabled
                self._filters.__exit__(None, None, None)


quiet = _Quiet(
    "pydicom",
    "PIL.TiffImagePlugin",
    "highdicom.base",
    "highdicom.image",
    "highdicom.sr.content",
    "highdicom.sr.templates",
    "nibabel.global",
)
"""``with quiet:`` around every call into a library for images, DICOM or HTTP that quotes what it is given."""
