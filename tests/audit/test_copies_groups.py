"""Groups, merged patients, the manifest without copies, and what the audit says."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoscan.audit.copies.audit import judge_copies
from duoscan.audit.copies.groups import Copies, CopyPair, Dropped, connected, deduplicate, merge_patients
from duoscan.audit.copies.outputs import copies_csv, copies_html, dropped_csv, patients_csv, write_copies
from duoscan.audit.copies.verify import Kind
from duoscan.audit.result import Level
from duoscan.manifest.crossing import check_no_patient_crosses
from duoscan.manifest.records import ImageRecord, Manifest
from duoscan.terms import Finding, Modality, Split
from stand_ins import write_png

COVID, OTHER = Finding.COVID, Finding.OTHER


def image(name, patient, split=Split.TRAIN, label=COVID, **more):
    return ImageRecord(path=f"{name}.png", modality=Modality.CT, patient_id=patient, split=split, label=label, **more)


def found(records, *links, root="."):
    pairs = tuple(CopyPair(f"{a}.png", f"{b}.png", Kind.RESAVED, "looked at") for a, b in links)
    return Copies(Manifest(Path(root), tuple(records)), pairs)


def paths(manifest):
    return [record.path for record in manifest]


def test_groups_join_through_others_and_keep_the_manifests_order():
    copies = found([image(name, name) for name in "abcde"], ("d", "b"), ("a", "d"))
    assert [[one.path for one in group] for group in copies.groups] == [["a.png", "b.png", "d.png"]]


def test_the_test_image_stays_and_its_copies_go():
    copies = found([image("a", "1"), image("b", "2", Split.VAL), image("c", "3", Split.TEST)], ("a", "b"), ("b", "c"))
    kept, dropped = deduplicate(copies.manifest, copies)
    assert paths(kept) == ["c.png"]
    assert dropped == (Dropped("a.png", "copy of c.png"), Dropped("b.png", "copy of c.png"))


def test_other_images_of_a_test_patient_leave_training():
    # a and c are one image, so patients 1 and 2 are one; 2 is tested, so x, another image of 1, must leave training.
    records = [image("a", "1"), image("x", "1"), image("y", "9"), image("c", "2", Split.TEST)]
    copies = found(records, ("a", "c"))
    kept, dropped = deduplicate(copies.manifest, copies)
    assert paths(kept) == ["y.png", "c.png"]
    assert dropped[1] == Dropped("x.png", "its patient has a copy in the part 'test'")
    assert kept.records[1].patient_id == "1"


def test_a_group_with_two_labels_is_dropped_whole():
    copies = found([image("a", "1"), image("b", "2", label=OTHER), image("c", "3", label=None)], ("a", "b"), ("b", "c"))
    kept, dropped = deduplicate(copies.manifest, copies)
    assert paths(kept) == []
    assert {one.reason for one in dropped} == {"copies of it carry the labels covid, other"}


def test_an_unknown_label_is_no_conflict():
    copies = found([image("a", "1"), image("b", "2", label=None)], ("a", "b"))
    assert copies.conflicting == ()
    assert paths(deduplicate(copies.manifest, copies)[0]) == ["a.png"]


def test_patients_that_share_an_image_get_one_id():
    records = [image("a", "p2"), image("b", "p1"), image("x", "p2"), image("y", "p3")]
    merged = merge_patients(Manifest(Path(), tuple(records)), found(records, ("a", "b")))
    assert [one.unit for one in merged] == ["p1", "p1", "p1", "p3"]


def test_blocks_are_joined_as_groups_and_to_patients_as_patients():
    blocks = [image("a", None, group="block-0"), image("b", None, group="block-1"), image("c", "p")]
    as_groups = merge_patients(Manifest(Path(), tuple(blocks)), found(blocks, ("a", "b")))
    assert [(one.patient_id, one.group) for one in as_groups] == [(None, "block-0"), (None, "block-0"), ("p", None)]
    as_patients = merge_patients(Manifest(Path(), tuple(blocks)), found(blocks, ("a", "c")))
    assert [one.unit for one in as_patients] == ["block-0", "block-1", "block-0"]


def test_copies_of_one_patient_join_nobody():
    assert found([image("a", "1"), image("b", "1")], ("a", "b")).merged_units == {}


@given(
    units=st.lists(st.sampled_from("pqrst"), min_size=6, max_size=6),
    links=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=6),
    data=st.data(),
)
def test_no_patient_crosses_and_no_copy_stays_in_what_is_left(units, links, data):
    # Each patient has one split to begin with; copies then join patients of different splits.
    split = {unit: data.draw(st.sampled_from(list(Split))) for unit in sorted(set(units))}
    label = [data.draw(st.sampled_from([COVID, OTHER])) for _ in units]
    records = [image(str(n), unit, split[unit], label[n]) for n, unit in enumerate(units)]
    copies = found(records, *((str(a), str(b)) for a, b in links if a != b))
    kept, dropped = deduplicate(copies.manifest, copies)
    check_no_patient_crosses(kept)
    left = set(paths(kept))
    assert all(sum(one.path in left for one in group) <= 1 for group in copies.groups)
    assert len(kept) + len(dropped) == len(records)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"))))
def test_connected_names_are_the_first_of_their_own(links):
    names = connected(links)
    assert all(names[one] == names[other] for one, other in links)
    assert all(name <= member and names[name] == name for member, name in names.items())


def test_copies_across_the_test_fail_with_an_example():
    result = judge_copies(found([image("a", "1"), image("b", "2", Split.TEST)], ("a", "b")))
    assert result.level is Level.FAIL
    assert "2 images in 1 group of copies stand both in test and in another part" in result.reasons[0]
    assert "a.png (train) and b.png (test)" in result.reasons[0]
    assert result.facts["groups_across_test"] == 1


def test_different_labels_fail():
    result = judge_copies(found([image("a", "1"), image("b", "1", label=OTHER)], ("a", "b")))
    assert result.level is Level.FAIL
    assert "a.png (covid) and b.png (other)" in result.reasons[0]


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VAL, None])
def test_other_copies_are_a_warning(split):
    result = judge_copies(found([image("a", "1"), image("b", "1", split)], ("a", "b")))
    assert result.level is Level.WARN
    assert len(result.reasons) == 1


def test_no_copies_pass_and_say_how_many_were_read():
    result = judge_copies(found([image("a", "1"), image("b", "2")]))
    assert (result.level, result.reasons) == (Level.PASS, ("No copies among 2 images.",))


def test_unread_images_are_never_a_pass():
    manifest = Manifest(Path(), (image("a", "1"), image("b", "2")))
    assert judge_copies(Copies(manifest, (), {"a.png": "truncated"})).level is Level.WARN
    nothing = judge_copies(Copies(manifest, (), {"a.png": "truncated", "b.png": "truncated"}))
    assert nothing.level is Level.NOT_RUN


def test_table_counts_pairs_that_cross():
    result = judge_copies(found([image("a", "1"), image("b", "2", Split.TEST, OTHER)], ("a", "b")))
    (table,) = result.tables
    # one re-saved pair: same source; other split, label and patient
    assert table.rows[[row[0] for row in table.rows].index("re-saved")] == ("re-saved", "1", "0", "1", "1", "1")


def test_tables_as_csv():
    copies = found([image("a", "2"), image("b", "1")], ("a", "b"))
    assert list(csv.reader(io.StringIO(copies_csv(copies.pairs)))) == [
        ["path_a", "path_b", "kind", "evidence"],
        ["a.png", "b.png", "re-saved", "looked at"],
    ]
    assert list(csv.reader(io.StringIO(patients_csv(copies))))[1:] == [["1", "1"], ["2", "1"]]
    assert "a.png,copy of b.png" in dropped_csv([Dropped("a.png", "copy of b.png")])


def test_page_only_on_request_and_whole_in_itself(tmp_path):
    for number, name in enumerate(("a", "b&c")):
        write_png(tmp_path / f"{name}.png", 0.4, size=64 + number)
    copies = found([image("a", "1"), image("b&c", "2", label=OTHER), image("gone", "3")], ("a", "b&c"), root=tmp_path)
    out = tmp_path / "out"
    assert [path.name for path in write_copies(copies, out)] == ["copies.csv", "copies-patients.csv"]
    write_copies(copies, out, with_images=True)
    page = (out / "copies.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "b&amp;c.png" in page
    assert "The labels differ" in page
    assert "http" not in page.replace('http-equiv="', "")


def test_page_shows_what_cannot_be_read(tmp_path):
    copies = found([image("a", "1"), image("b", "2")], ("a", "b"), root=tmp_path)
    assert copies_html(copies).count("(cannot be read)") == 2
