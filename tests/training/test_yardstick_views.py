"""Views that are stated are taken, others told from features, and laterals belong to none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Modality
from duoscan.training.yardstick.features import WHOLE, Frozen
from duoscan.training.yardstick.views import Views, view_of, views_of

WORDS = {"AP": "AP", "PA": "PA", "AP Supine": "AP", "ap erect": "AP", "L": "L", "LL": "L", "Lateral": "L"}


@pytest.mark.parametrize(("word", "view"), [*WORDS.items(), ("Axial", None), ("", None), (None, None)])
def test_words_for_views(word: str | None, view: str | None) -> None:
    assert view_of(ImageRecord.model_validate({"path": "a", "modality": "cxr", "view": word})) == view


def rows(*, known: int = 60, unknown: int = 30) -> tuple[Manifest, Frozen]:
    """Two sources that state views, and one that does not; three columns of the features are the view."""
    records, values = [], []
    rng = np.random.default_rng(0)
    for place in range(known + unknown):
        view = ("AP", "PA", "L")[place % 3]
        stated = view if place < known else None
        source = f"s{place % 2}" if place < known else "silent"
        record = {"path": f"{place}.png", "modality": "cxr", "source": source, "view": stated, "notes": view}
        records.append(ImageRecord.model_validate(record))
        values.append([*(3.0 * (view == one) for one in ("AP", "PA", "L")), rng.normal()])
    features = np.array(values, np.float32)
    return Manifest(Path(), tuple(records)), Frozen({one.path: n for n, one in enumerate(records)}, {WHOLE: features})


def test_silent_sources_are_told_and_laterals_are_in_no_view(tmp_path: Path) -> None:
    manifest, frozen = rows()
    found = views_of(manifest, lambda: frozen, tmp_path)
    truth = {one.path: one.notes for one in manifest if one.notes != "L"}
    assert found.by_path == truth
    assert (found.stated, found.told) == (40, 20)
    assert found.accuracy == 1.0
    assert found.accuracy_elsewhere == {"s0": 1.0, "s1": 1.0}
    # Written down, and not told again.
    assert views_of(manifest, lambda: pytest.fail("told again"), tmp_path) == found


def test_images_without_lungs_are_told_nothing(tmp_path: Path) -> None:
    manifest, frozen = rows()
    frozen.by_probe[WHOLE][60] = np.nan
    assert "60.png" not in views_of(manifest, lambda: frozen, tmp_path).by_path


def test_too_few_views_tell_no_others(tmp_path: Path) -> None:
    manifest, frozen = rows(known=30)
    found = views_of(manifest, lambda: frozen, tmp_path)
    assert (found.stated, found.told, found.accuracy) == (20, 0, None)


def test_ct_has_no_such_view(tmp_path: Path) -> None:
    manifest, frozen = rows()
    ct = manifest.replace([one.model_copy(update={"modality": Modality.CT}) for one in manifest])
    assert views_of(ct, lambda: frozen, tmp_path) == Views()
