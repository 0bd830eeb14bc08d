"""Anteroposterior or posteroanterior: as stated, else as a small classifier tells from the picture.

The sick are X-rayed lying, from front to back; so once the source tells nothing more, the view still does. Figures
within a view need to know it of every image, and some sources state none.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from duoscan.files import parse_json, read_bytes, write_text
from duoscan.terms import Modality
from duoscan.training.shortcuts.learned import FOLDS
from duoscan.training.yardstick.features import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from duoscan.manifest.records import ImageRecord, Manifest
    from duoscan.training.yardstick.features import Frozen

FRONTAL = ("AP", "PA")
_LATERAL = "L"
_FEWEST = 20  # images that state a view; of fewer it is not learned
_STRENGTH = 1e-2


@dataclass(frozen=True)
class Views:
    """Views of images.

    Attributes:
        by_path: Path → ``AP`` or ``PA``, stated or told; laterals and images of which it is not known are not in it.
        stated: How many state one of them.
        told: How many a classifier filled in.
        accuracy: Share of stated views that the classifier tells right, out of fold by patient; ``None`` where none
            was learned.
        accuracy_elsewhere: The same of each source that states views, learned on the others.
    """

    by_path: dict[str, str] = field(default_factory=dict)
    stated: int = 0
    told: int = 0
    accuracy: float | None = None
    accuracy_elsewhere: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As in ``views.json``."""
        return dict(vars(self))


def view_of(record: ImageRecord) -> str | None:
    """``AP``, ``PA`` or ``L``, whatever is added to it, e.g. ``AP Supine``; ``None`` where none of them is stated.

    >>> from duoscan.manifest.records import ImageRecord
    >>> view_of(ImageRecord(path="a.png", modality="cxr", view="AP Supine"))
    'AP'
    """
    word = (record.view or "").upper().replace("-", " ").split(" ")[0]
    if word in {"L", "LL", "RL", "LATERAL", "LAT"}:
        return _LATERAL
    return word if word in FRONTAL else None


def views_of(manifest: Manifest, features: Callable[[], Frozen] | None, run: Path) -> Views:
    """Views of the X-rays, read from ``views.json`` where they were told before.

    Args:
        manifest: Rows of one modality; CT has no such views.
        features: Gives their features, where a view has to be told; ``None`` tells none.
        run: Folder of the yardstick.
    """
    path = run / "views.json"
    fingerprint = manifest.fingerprint()
    if path.exists():
        held = parse_json(read_bytes(path, limit=1 << 28))
        if held.pop("rows") == fingerprint:
            return Views(**held)
    found = _told(manifest.where(modality=Modality.CXR).records, features)
    if features is None:
        return found
    write_text(path, json.dumps({"rows": fingerprint} | found.to_json(), indent=1, ensure_ascii=False) + "\n")
    return found


def _told(records: Sequence[ImageRecord], features: Callable[[], Frozen] | None) -> Views:
    named = {record.path: view for record in records if (view := view_of(record)) is not None}
    frontal = {path: view for path, view in named.items() if view in FRONTAL}
    counts = Counter(named.values())
    if features is None or min(counts[view] for view in FRONTAL) < _FEWEST:
        return Views(frontal, len(frontal))
    frozen = features()
    classes = [view for view in (*FRONTAL, _LATERAL) if counts[view] >= _FEWEST]
    seen = np.asarray(np.isfinite(frozen.of(records, WHOLE)).all(axis=1))
    records = [record for record, is_seen in zip(records, seen, strict=True) if is_seen]
    known = [record for record in records if named.get(record.path) in classes]
    unknown = [record for record in records if record.path not in named]
    inputs, targets = frozen.of(known, WHOLE), np.array([named[record.path] for record in known])
    told = {}
    if unknown:
        answers = _learned(inputs, targets, frozen.of(unknown, WHOLE))
        told = {record.path: str(view) for record, view in zip(unknown, answers, strict=True) if view in FRONTAL}
    return Views(
        frontal | told,
        len(frontal),
        len(told),
        _out_of_fold(inputs, targets, [record.unit for record in known]),
        _elsewhere(inputs, targets, np.array([record.source for record in known])),
    )


def _learned(inputs: NDArray[np.float32], targets: NDArray[Any], asked: NDArray[np.float32]) -> NDArray[Any]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=2000, class_weight="balanced"))
    return np.asarray(model.fit(inputs, targets).predict(asked))


def _out_of_fold(inputs: NDArray[np.float32], targets: NDArray[Any], units: Sequence[str]) -> float:
    from sklearn.model_selection import StratifiedGroupKFold

    right = np.zeros(len(targets), dtype=np.bool_)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for train, test in folds.split(inputs, targets, np.asarray(units)):
        right[test] = _learned(inputs[train], targets[train], inputs[test]) == targets[test]
    return float(right.mean())


def _elsewhere(inputs: NDArray[np.float32], targets: NDArray[Any], sources: NDArray[Any]) -> dict[str, float]:
    found = {}
    for source in sorted(set(sources)):
        test = sources == source
        if set(FRONTAL) <= set(targets[~test]) and test.any():
            answers = _learned(inputs[~test], targets[~test], inputs[test])
            found[str(source)] = float((answers == targets[test]).mean())
    return found
