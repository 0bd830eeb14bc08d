"""A copy is told from another picture by its pixels."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from duoscan.audit.copies.candidates import CopyCandidate, find_candidates, nearest
from duoscan.audit.copies.signatures import mirrored_bins, opencv, perceptual_hash, read_sketch, sign
from duoscan.audit.copies.verify import Kind, verify


def textured(seed, size=(360, 300)):
    """A picture with structure of several sizes and grain, 8 bit."""
    rng = np.random.default_rng(seed)
    total = np.zeros(size[::-1])
    for cell in (60, 20, 6, 2):
        small = rng.random((size[1] // cell + 2, size[0] // cell + 2)).astype(np.float32)
        total += np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)) * cell**0.5
    total = (total - total.min()) / np.ptp(total)
    return Image.fromarray((255 * total).astype(np.uint8))


def verdict(tmp_path, first, second, *, mirrored=False):
    scratch = tmp_path / "sketches"
    scratch.touch()
    paths = [tmp_path / "first.png", tmp_path / "second.png"]
    for place, (path, picture) in enumerate(zip(paths, (first, second), strict=True)):
        if isinstance(picture, bytes):
            path.write_bytes(picture)
        else:
            picture.save(path)
        assert sign(path, scratch, place).problem == ""
    return verify(CopyCandidate(0, 1, mirrored), *paths, scratch)


def as_jpeg(picture, quality, tmp_path):
    path = tmp_path / "other.jpg"
    picture.save(path, quality=quality)
    return path.read_bytes()


def test_same_pixels_in_another_file(tmp_path):
    picture = textured(1)
    found = verdict(tmp_path, picture, picture)
    assert found.kind is Kind.SAME_PIXELS
    # all of either frame is the other's, but for the rim that the comparison leaves out
    assert found.comparison.overlap > 0.95
    assert found.comparison.overlap_second > 0.95


def test_compressed_scaled_and_brightened_is_re_saved(tmp_path):
    picture = textured(2)
    small = picture.resize((270, 225)).point(lambda value: int(255 * (value / 255) ** 0.7))
    assert verdict(tmp_path, picture, as_jpeg(small, 50, tmp_path)).kind is Kind.RESAVED


def test_cut_is_re_cropped_and_its_share_is_known(tmp_path):
    picture = textured(3)
    # 36 of 360 columns and 30 of 300 rows go: what stays is 0.9 · 0.9 = 81 % of the first, and all of the second.
    cut = picture.crop((36, 0, 360, 270))
    found = verdict(tmp_path, picture, as_jpeg(cut, 60, tmp_path))
    assert found.kind is Kind.RECROPPED
    assert found.comparison.overlap == pytest.approx(0.81, abs=0.04)
    assert found.comparison.overlap_second == pytest.approx(1.0, abs=0.05)


def test_mirrored_cut_is_found_mirrored_only(tmp_path):
    picture = textured(4)
    mirrored = ImageOps.mirror(picture.crop((20, 10, 350, 290)))
    assert verdict(tmp_path, picture, mirrored, mirrored=True).kind is Kind.MIRRORED
    assert verdict(tmp_path, picture, mirrored) is None


def test_letters_and_an_arrow_do_not_hide_a_copy(tmp_path):
    picture = textured(5)
    marked = picture.copy()
    draw = ImageDraw.Draw(marked)
    draw.rectangle((10, 10, 60, 40), fill=255)
    draw.line((200, 200, 260, 150), fill=255, width=5)
    assert verdict(tmp_path, picture, marked).kind is Kind.RESAVED


def test_another_picture_is_no_copy(tmp_path):
    assert verdict(tmp_path, textured(6), textured(7)) is None


def test_a_neighbour_with_the_same_outline_is_no_copy(tmp_path):
    # A neighbouring slice: the coarse shapes are the same, the vessels (half of the fine structure) are not.
    shared = textured(8).filter(ImageFilter.GaussianBlur(3))
    pictures = [Image.blend(shared, textured(seed), 0.35) for seed in (9, 10)]
    assert verdict(tmp_path, *pictures) is None


def test_mirrored_bins_are_those_of_the_mirrored_image():
    # Descriptors of the mirrored image, found anew, resemble the reordered ones of the plain image.
    cv2 = opencv()
    grey = np.asarray(textured(11))
    finder = cv2.SIFT_create(nfeatures=100)
    points, plain = finder.detectAndCompute(grey, None)
    _, mirrored = finder.detectAndCompute(np.ascontiguousarray(grey[:, ::-1]), None)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (plain, plain[:, mirrored_bins()], mirrored)]
    as_is = (unit[0] @ unit[2].T).max(axis=1)
    reordered = (unit[1] @ unit[2].T).max(axis=1)
    assert np.median(reordered) > 0.98
    assert np.median(as_is) < 0.95
    assert len(points) >= 50


def test_perceptual_hash_ignores_size_and_contrast():
    picture = textured(12)
    plain = perceptual_hash(np.asarray(picture)).astype(int)
    changed = perceptual_hash(np.asarray(picture.resize((180, 150)).point(lambda v: 40 + v // 2))).astype(int)
    other = perceptual_hash(np.asarray(textured(13))).astype(int)
    # 64 places: equal hashes give 64, each differing place takes 2 away
    assert plain @ changed >= 64 - 2 * 4
    assert plain @ other <= 64 - 2 * 12


def test_candidates_hold_the_cut_and_the_mirrored_copy(tmp_path):
    scratch = tmp_path / "sketches"
    scratch.touch()
    pictures = [textured(seed) for seed in range(20, 40)]
    pictures += [pictures[0].crop((40, 30, 340, 280)), ImageOps.mirror(pictures[1])]
    signatures = []
    for place, picture in enumerate(pictures):
        path = tmp_path / f"{place}.png"
        picture.save(path)
        signatures.append(sign(path, scratch, place))
    found = find_candidates(signatures, range(len(pictures)), scratch)
    assert CopyCandidate(0, 20, mirrored=False) in found
    assert CopyCandidate(1, 21, mirrored=True) in found
    assert all(one.first < one.second for one in found)
    # far fewer than all 22 · 21 / 2 = 231 pairs, plain and mirrored
    assert len(found) < 231


def test_a_blank_image_is_a_problem_without_its_folder(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("L", (64, 64), 7).save(path)
    (tmp_path / "sketches").touch()
    problem = sign(path, tmp_path / "sketches", 0).problem
    assert "blank" in problem
    assert str(tmp_path) not in problem


def test_sketch_survives_the_scratch_file(tmp_path):
    scratch = tmp_path / "sketches"
    scratch.touch()
    for place in (1, 0):  # in any order
        path = tmp_path / f"{place}.png"
        textured(place, size=(360, 180)).save(path)
        count = sign(path, scratch, place).keypoints
        sketch = read_sketch(scratch, place)
        # longer side 320, so 180 becomes 160
        assert sketch.grey.shape == (160, 320)
        assert len(sketch.places) == len(sketch.descriptors) == count > 0


@pytest.mark.parametrize("at_least", [-np.inf, 0.2])
def test_the_nearest_are_those_of_a_full_sort(monkeypatch, at_least):
    monkeypatch.setattr("duoscan.audit.copies.candidates._BLOCK_PRODUCTS", 40 * 7)  # blocks of 7 queries
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    parts = nearest(rows, rows, 3, at_least)
    found = {pair for asked, answers in parts for pair in zip(asked.tolist(), answers.tolist(), strict=True)}
    similar = rows @ rows.T
    np.fill_diagonal(similar, -np.inf)
    best = np.argsort(-similar, axis=1)[:, :3]
    assert found == {(q, a) for q in range(40) for a in best[q].tolist() if similar[q, a] >= at_least}
