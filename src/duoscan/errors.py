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
    ├── ConflictError         somebody else changed it first
    ├── MissingExtraError     the command needs an optional extra that is not installed
    ├── TransferError         another system did not take what was sent
    │   └── UnreachableError  … or could not be reached at all
    ├── ScreeningError        a study could not be screened by a process of its own
    └── TrainingError         training cannot go on (diverged, export parity broken)

Every message says what was found, where, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from duoscan.reasons import Reason, ReasonCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


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
    """One image cannot be answered; the batch goes on and the row carries its reason.

    Args:
        path: Where the image lies; ``None`` where only the caller knows; shown to a person, not stored.
        text: What was found and what to do, without the path.
        code: Which kind of reason; that of the class where ``None``.
    """

    default_code = ReasonCode.UNSUPPORTED

    def __init__(self, path: Path | None, text: str, code: ReasonCode | None = None) -> None:
        self.path = path
        self.reason = Reason(code or self.default_code, text)
        super().__init__(text if path is None else f"{path}: {text}")

    def __reduce__(self) -> tuple[type[ImageError], tuple[Path | None, str, ReasonCode]]:
        """As it was made, so that it survives the way between processes."""
        return type(self), (self.path, self.reason.text, self.reason.code)

    @property
    def text(self) -> str:
        """What was found and what to do, without the path."""
        return self.reason.text


class UnreadableImageError(ImageError):
    """The file is not an image, or is empty, truncated or too large."""

    default_code = ReasonCode.UNREADABLE


class UnsupportedImageError(ImageError):
    """The file is a real image, but not one that may be answered."""


class SetAsideImageError(UnsupportedImageError):
    """The image is sound, but nothing that is ever answered; a study that holds it is not faulty for that."""

    default_code = ReasonCode.OTHER_KIND


class BundleError(InputError):
    """A bundle is damaged, was altered, or has a format this version does not know."""


class ConflictError(DuoscanError):
    """Somebody else changed it first, or holds it; nothing was changed."""


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
