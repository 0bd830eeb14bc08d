"""What a batch holds at once, and what becomes of an answer that is no number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from duoscan.inference import predictor as module
from duoscan.inference.bundle import write_bundle
from duoscan.inference.predictor import ImageFile, Predictor
from duoscan.inference.runtimes.runtime import Outputs
from duoscan.predictions import Prediction
from duoscan.terms import Decision
from fuzz import seeds
from stand_ins import brightness_graph, write_png

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class Watching:
    """Answers with the brightness of each image, and notes how many come at once; black images give no number."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, images: NDArray[np.float32]) -> Outputs:
        self.batches.append(len(images))
        bright = images.mean(axis=(1, 2, 3))
        bright[bright < -0.5] = np.nan
        return Outputs(np.stack([bright, 0 * bright], axis=1), np.zeros((len(images), 2, 4, 4), np.float32))


def predict(folder: Path, means: list[float], runtime: Watching, *, keep_pixels: bool = False) -> list[ImageFile]:
    bundle = write_bundle(folder / "b.duoscan", seeds.info(), brightness_graph())
    files = []
    for number, mean in enumerate(means):
        path = write_png(folder / f"{number}.png", mean)
        files.append(ImageFile(path, Prediction(str(path), None, None, None, Decision.UNREADABLE)))
    return list(Predictor(bundle, runtime=runtime, check_quality=False).predict(files, keep_pixels=keep_pixels))


def test_small_images_fill_a_batch(tmp_path: Path) -> None:
    runtime = Watching()
    assert len(predict(tmp_path, [0.5] * 19, runtime)) == 19
    assert runtime.batches == [16, 3]


def test_large_images_do_not_wait_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 × 64 pixels each, and more than 5 × 4,096 may not wait; where they are not kept, nothing of them waits."""
    monkeypatch.setattr(module, "MAX_HELD_PIXELS", 5 * 64 * 64)
    runtime = Watching()
    predict(tmp_path, [0.5] * 10, runtime)
    assert runtime.batches == [10]
    runtime = Watching()
    found = predict(tmp_path, [0.5] * 10, runtime, keep_pixels=True)
    assert runtime.batches == [6, 4]
    assert [file.path.name for file in found] == [f"{number}.png" for number in range(10)]


def test_an_answer_that_is_no_number_is_not_negative(tmp_path: Path) -> None:
    found = predict(tmp_path, [0.9, 0.1, 0.9], Watching())
    assert [file.row.decision for file in found] == [Decision.POSITIVE, Decision.UNREADABLE, Decision.POSITIVE]
    assert "the model gives no number for this image" in str(found[1].row.reason)
    assert found[1].row.probability is None
