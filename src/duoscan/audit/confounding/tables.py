"""The figures of the audit of confounding as tables for a person."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from duoscan.audit.result import AuditTable
from duoscan.terms import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duoscan.audit.confounding.characteristics import Characteristic, Observed
    from duoscan.audit.confounding.prediction import Predicted
    from duoscan.evaluation.intervals import Estimate
    from duoscan.evaluation.sample import BoolArray

_WORDS_SHOWN = 2


def source_table(name: str, images: Sequence[Observed]) -> AuditTable:
    """Images and, in brackets, patients of each source and class."""
    counts: Counter[tuple[str, Finding | None]] = Counter()
    patients: dict[tuple[str, Finding | None], set[str]] = {}
    for image in images:
        cell = (image.record.source, image.record.label)
        counts[cell] += 1
        patients.setdefault(cell, set()).add(image.record.unit)
    classes = [finding for finding in Finding if any(cell[1] is finding for cell in counts)]
    rows = tuple(
        (source, *(f"{counts[source, one]} ({len(patients.get((source, one), ()))})" for one in classes))
        for source in sorted({cell[0] for cell in counts})
    )
    return AuditTable(f"{name}: images (patients) by source and class", ("source", *map(str, classes)), rows)


def group_table(name: str, groups: Sequence[Predicted], inside: Mapping[str, Estimate]) -> AuditTable:
    """AUROC of the groups, then of everything together within single sources."""
    rows = [(found.title, found.auroc.spoken(), _p(found.p_holm)) for found in groups]
    rows += [(f"together, within {source}", estimate.spoken(), "") for source, estimate in inside.items()]
    title = f"{name}: how well characteristics together tell covid from the rest, on unseen patients"
    return AuditTable(title, ("characteristics", "AUROC [95 % interval]", "p (Holm)"), tuple(rows))


def characteristic_table(
    name: str, ranked: Sequence[tuple[Predicted, Characteristic]], positive: BoolArray
) -> AuditTable:
    """Every single characteristic, best first, with what it is in both classes."""
    rows = tuple(
        (
            found.title,
            one.role.value,
            found.auroc.spoken(),
            _p(found.p_holm),
            _typical(one, positive),
            _typical(one, ~positive),
        )
        for found, one in ranked
    )
    columns = ("characteristic", "kind", "AUROC [95 % interval]", "p (Holm)", "in covid", "in the rest")
    return AuditTable(f"{name}: how well each characteristic alone tells covid from the rest", columns, rows)


def _typical(one: Characteristic, chosen: BoolArray) -> str:
    """Median and quartiles of numbers; the commonest words with their shares."""
    values = [value for value, is_chosen in zip(one.values, chosen, strict=True) if is_chosen]
    numbers = [value for value in values if isinstance(value, int | float)]
    if one.is_numeric and numbers:
        low, middle, high = np.quantile(numbers, [0.25, 0.5, 0.75])
        stated = "" if len(numbers) == len(values) else f", stated in {len(numbers) / len(values):.0%}"
        return f"{middle:.3g} ({low:.3g} to {high:.3g}){stated}"
    words = Counter("not stated" if value is None else str(value) for value in values)
    return ", ".join(f"{word} {count / len(values):.0%}" for word, count in words.most_common(_WORDS_SHOWN))


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
