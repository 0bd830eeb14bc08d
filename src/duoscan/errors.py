"""The errors duoscan raises on purpose.

    DuoscanError
    ├── InputError            something a person gave is not usable
    │   ├── ManifestError     a manifest or a source folder; names every bad row
    │   ├── RecipeError       a training recipe
    │   ├── PredictionsError  a predictions table
    │   ├── ImageError        one image file; the batch goes on, the row carries the reason
    │   │   ├── UnreadableImageError   not an image, truncated, empty, too large
    │   │   └── UnsupportedImageError  a real image that must not be answered (animated, coloured, no lung, …)
    │   │       └── SetAsideImageError     sound, but not what is answered (a lateral, a localiser, another body part)
    │   └── BundleError       a bundle that is damaged, altered or of another version
    ├── MissingExtraError     the command needs an optional extra that is not installed
    ├── TransferError         another system did not take what was sent
    │   └── UnreachableError  … or could not be reached at all
    ├── ScreeningError        a study could not be screened by a process of its own
    └── TrainingError         training cannot go on (diverged, export parity broken)

Every message says what was found, where, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class DuoscanError(Exception):
    """Base of every deliberate error; its text is fit to be shown to a user as it is."""


class InputError(DuoscanError):
    """Something a person gave cannot be used."""


class ManifestError(InputError):
    """A manifest, or the source it is made from, is wrong.

    Args:
        summary: What is wrong and what to do, in one line.
        problems: One line for each bad row, e.g. ``row 12: label 'covd' is unknown; use covid, …``.
    """

    def __init__(self, summary: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([summary, *(f"  {problem}" for problem in self.problems)]))


class RecipeError(InputError):
    """A training recipe has an unknown key, a wrong value, or names something that is not there."""


class PredictionsError(InputError):
    """A predictions table lacks a column or holds a value that cannot be evaluated."""


class ImageError(InputError):
    """One image cannot be answered; the batch goes on and the row carries this text."""


class UnreadableImageError(ImageError):
    """The file is not an image, or is empty, truncated or too large."""


class UnsupportedImageError(ImageError):
    """The file is a real image, but not one that may be answered."""


class SetAsideImageError(UnsupportedImageError):
    """The image is sound, but nothing that is ever answered; a study that holds it is not faulty for that."""


class BundleError(InputError):
    """A bundle is damaged, was altered, or has a format this version does not know."""


class MissingExtraError(DuoscanError):
    """An optional extra is needed.

    Args:
        extra: Name of the extra, e.g. ``train``.
        wanted_for: What needs it, e.g. ``duoscan train``.
    """

    def __init__(self, extra: str, wanted_for: str) -> None:
        super().__init__(f"{wanted_for} needs the extra [{extra}]: pip install 'duoscan[{extra}]'")


class TransferError(DuoscanError):
    """Another system could not be reached, or did not take what was sent."""


class UnreachableError(TransferError):
    """Another system could not be reached, so nothing was sent."""


class ScreeningError(DuoscanError):
    """The process that screens was lost, took too long, or met a fault."""


class TrainingError(DuoscanError):
    """Training or export cannot go on."""
