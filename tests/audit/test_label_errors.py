"""Labels that a model doubts are named, image by image."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from duoscan.audit.label_errors import audit_labels, find_doubts
from duoscan.audit.result import Level
from duoscan.audit.run import audit_answers
from duoscan.predictions import Prediction
from duoscan.terms import Finding, Split


def answered(images: int, seed: int, swapped: frozenset[int] = frozenset()) -> list[Prediction]:
    """A good model's answers on images of two classes; the labels of some are the wrong way round."""
    rng = np.random.default_rng(seed)
    rows = []
    for place in range(images):
        sick = place % 2 == 0
        probability = float(rng.beta(8, 2) if sick else rng.beta(2, 8))
        labelled = sick != (place in swapped)
        label = Finding.COVID if labelled else Finding.NORMAL
        rows.append(Prediction(f"{place}.png", f"p{place}", None, probability, None, label=label))
    return rows


def test_swapped_labels_are_found_and_lead() -> None:
    swapped = frozenset({3, 40, 77, 120, 151})
    doubts = find_doubts(answered(200, 0, swapped))
    places = [int(doubt.row.path.removesuffix(".png")) for doubt in doubts]
    assert len(swapped & set(places)) >= 4
    assert set(places[:3]) <= swapped
    assert [doubt.confidence for doubt in doubts] == sorted(doubt.confidence for doubt in doubts)


def test_the_list_names_each_image_with_its_label() -> None:
    rows = answered(200, 0, frozenset({3}))
    found = audit_labels(rows)
    assert found.level is Level.PASS
    (table,) = found.tables
    assert table.rows[0][:4] == ("3.png", "p3", "–", "covid")
    assert found.facts["doubted"][0]["probability"] == rows[3].probability
    assert "never drop them unseen" in found.reasons[0]


def test_many_doubts_are_a_warning() -> None:
    assert audit_labels(answered(200, 1, frozenset(range(0, 200, 7)))).level is Level.WARN


def test_a_model_is_not_asked_of_what_it_learned_from() -> None:
    rows = [replace(row, split=Split.TRAIN) for row in answered(100, 2, frozenset({5}))]
    found = audit_labels(rows)
    assert found.level is Level.NOT_RUN
    assert "0 covid images and 0 others" in found.reasons[0]


def test_without_the_library_the_audit_was_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    (found,) = [one for one in audit_answers(answered(60, 3)) if one.name == "label-errors"]
    assert found.level is Level.NOT_RUN
    assert "pip install 'duoscan[labels]'" in found.reasons[0]
