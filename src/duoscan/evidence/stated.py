"""What a person says of a number that nobody can see in its table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duoscan.terms import Split


@dataclass(frozen=True)
class Stated:
    """What nobody can see in a table and a person says: it is believed, and told as stated.

    Attributes:
        threshold_is_from_test: Whether the operating point was chosen on the measured rows; ``None`` where unknown.
        trained_sources: Sources of the images the model was made with; ``None`` where unknown.
        part: Which part the rows of a table are that names none; ``None`` where unknown.
    """

    threshold_is_from_test: bool | None = None
    trained_sources: frozenset[str] | None = None
    part: Split | None = None

    @property
    def spoken(self) -> tuple[str, ...]:
        """What was stated, one phrase each."""
        said = []
        if self.part is not None:
            said.append(f"the rows are of the part '{self.part}'")
        if self.threshold_is_from_test is not None:
            said.append(
                f"the threshold was chosen on {'the measured' if self.threshold_is_from_test else 'other'} rows"
            )
        if self.trained_sources is not None:
            said.append(f"the model was trained on {', '.join(sorted(self.trained_sources))}")
        return tuple(said)
