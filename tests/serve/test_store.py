"""What arrives is answered once, whatever happens meanwhile; on SQLite and on PostgreSQL."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydicom import dcmread
from pydicom.data import get_testdata_file
from sqlalchemy import func, select, text, update

from duoscan.errors import ConflictError, InputError
from duoscan.terms import Modality
from duoscan.worklist.store.cases import (
    CaseRow,
    CaseState,
    Urgency,
    case_images,
    check_version,
    claim,
    priors,
    release,
    request_ct,
)
from duoscan.worklist.store.database import Database
from duoscan.worklist.store.listing import SORTS, Listing, read_page
from duoscan.worklist.store.monitoring import read_lately
from duoscan.worklist.store.queue import JobKind, enqueue, finish, give_back, take
from duoscan.worklist.store.schema import CASES, METADATA, TRAIL
from duoscan.worklist.store.signing import Agreement, sign, sign_offs, visible_sign_offs
from duoscan.worklist.store.store import Store
from duoscan.worklist.store.trail import check_trail, record
from serve_parts import SETUP, account, upload, work_off, worker

Xray = Callable[..., bytes]
Bundles = dict[Modality, Path]


def rows(store: Store, **asked: str) -> tuple[CaseRow, ...]:
    with store.database.read() as connection:
        return read_page(connection, Listing.parse(asked), "", now=time.time()).cases


def test_the_migrations_make_the_schema(store: Store) -> None:
    with store.database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_database_of_a_later_duoscan_is_refused(store: Store, url: str | None) -> None:
    with store.database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'later'"))
    with pytest.raises(InputError, match="later duoscan"):
        Store(store.root, url)


def test_an_address_of_another_database_is_refused() -> None:
    with pytest.raises(InputError, match="SQLite or PostgreSQL"):
        Database("mysql://localhost/x")


def test_an_upload_becomes_answered_cases_in_order_of_urgency(
    store: Store, brightness_bundles: Bundles, xray: Xray
) -> None:
    files = {"low.dcm": xray("low", 0.2), "high": xray("high", 0.9), "notes.txt": b"no image"}
    upload(store, files)
    assert work_off(worker(store, brightness_bundles)) == 3
    found = rows(store)
    assert [(row.patient_id, row.state) for row in found] == [
        ("high", CaseState.ANSWERED),
        ("low", CaseState.ANSWERED),
    ]
    assert found[0].urgency in {Urgency.POSITIVE, Urgency.CT_NEEDED}
    assert found[1].urgency is Urgency.NEGATIVE
    assert all(row.reason for row in found)


def test_what_comes_again_is_not_screened_again(store: Store, brightness_bundles: Bundles, xray: Xray) -> None:
    one = worker(store, brightness_bundles)
    upload(store, {"a.dcm": xray("a", 0.9)})
    assert work_off(one) == 2
    upload(store, {"a.dcm": xray("a", 0.9)})
    assert work_off(one) == 1
    assert len(rows(store)) == 1


def test_images_of_one_patient_meet_in_one_case_and_dicom_says_whose_they_are(
    store: Store, brightness_bundles: Bundles
) -> None:
    path = Path(str(get_testdata_file("CT_small.dcm")))
    other = dcmread(path)
    other.SOPInstanceUID, other.InstanceNumber = "1.2.3", 7
    stream = BytesIO()
    other.save_as(stream)
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("../escape.dcm", b"x")
        archive.writestr("deep/second", stream.getvalue())
    upload(store, {"first.dcm": path.read_bytes(), "more.zip": packed.getvalue()})
    work_off(worker(store, brightness_bundles))
    (case,) = rows(store)
    assert case.patient_id == str(other.PatientID)
    with store.database.read() as connection:
        images = case_images(connection, case.id)
    assert sorted(image.name for image in images) == ["first.dcm", "more.zip/deep/second"]
    assert {image.modality for image in images} == {"ct"}
    assert images[0].row_spacing_mm == pytest.approx(float(other.PixelSpacing[0]))


def test_a_case_that_grows_while_it_is_screened_is_screened_again(
    store: Store, brightness_bundles: Bundles, xray: Xray
) -> None:
    one = worker(store, brightness_bundles)
    upload(store, {"a.dcm": xray("p", 0.2)})
    assert one.step()
    grown: list[int] = []

    def grow(step: str) -> None:
        if step == "screened" and not grown:
            grown.append(1)
            upload(store, {"b.dcm": xray("p", 0.9)})

    one._at = grow
    work_off(one)
    (case,) = rows(store)
    assert (case.images, case.state) == (2, CaseState.ANSWERED)
    assert case.xray_probability is not None
    assert case.xray_probability > 0.5


def test_the_request_decides_at_once_and_the_signed_case_is_a_prior_of_the_next(
    store: Store, brightness_bundles: Bundles, xray: Xray
) -> None:
    one = worker(store, brightness_bundles)
    process = one._process
    upload(store, {"a.dcm": xray("p", 0.2)})
    work_off(one)
    (case,) = rows(store)
    assert case.answer == "negative"
    with store.database.write() as connection:
        request_ct(connection, case, need_ct=True, version=case.version, setup=SETUP, now=time.time())
    (asked,) = rows(store)
    assert (asked.answer, asked.urgency, asked.need_ct) == ("CT needed", Urgency.CT_NEEDED, True)
    assert len(process.screened) == 1  # type: ignore[attr-defined]
    reader = account(store, "rita")
    with store.database.write() as connection:
        assert sign(
            connection, asked.id, reader, Agreement.AGREE, "", version=asked.version, readers=1, now=time.time()
        )
    upload(store, {"b.dcm": xray("p", 0.3)})
    work_off(one)
    (new,) = rows(store)
    assert new.id != asked.id
    with store.database.read() as connection:
        assert [prior.id for prior in priors(connection, new)] == [asked.id]


def test_two_readers_cannot_overwrite_each_other(store: Store, brightness_bundles: Bundles, xray: Xray) -> None:
    upload(store, {"a.dcm": xray("p", 0.2)})
    work_off(worker(store, brightness_bundles))
    (case,) = rows(store)
    anna, rita, now = account(store, "anna"), account(store, "rita"), time.time()
    with store.database.write() as connection:
        claim(connection, case.id, anna, now=now, until=now + 60)
    with pytest.raises(ConflictError, match="anna is at this case"), store.database.write() as connection:
        claim(connection, case.id, rita, now=now, until=now + 60)
    with pytest.raises(ConflictError, match="anna is at this case"), store.database.write() as connection:
        sign(connection, case.id, rita, Agreement.AGREE, "", version=case.version, readers=1, now=now)
    with store.database.write() as connection:
        claim(connection, case.id, rita, now=now + 61, until=now + 120)  # the other's ran out
        release(connection, case.id, rita, now=now)
    with pytest.raises(ConflictError, match="changed while you looked"), store.database.write() as connection:
        check_version(connection, case.id, case.version - 1)
    with store.database.write() as connection:
        sign(connection, case.id, anna, Agreement.AGREE, "", version=case.version, readers=1, now=now)
    with pytest.raises(ConflictError, match="signed off"), store.database.write() as connection:
        sign(connection, case.id, rita, Agreement.AGREE, "", version=case.version, readers=1, now=now)


def test_the_second_reader_is_blind_until_both_have_signed(
    store: Store, brightness_bundles: Bundles, xray: Xray
) -> None:
    upload(store, {"a.dcm": xray("p", 0.2)})
    work_off(worker(store, brightness_bundles))
    (case,) = rows(store)
    anna, rita, now = account(store, "anna"), account(store, "rita"), time.time()
    with store.database.write() as connection:
        assert not sign(connection, case.id, anna, Agreement.AGREE, "x", version=case.version, readers=2, now=now)
        seen = sign_offs(connection, case.id)
        assert visible_sign_offs(seen, rita, is_closed=False) == []
        assert visible_sign_offs(seen, anna, is_closed=False) == seen
        with pytest.raises(ConflictError, match="another reader"):
            sign(connection, case.id, anna, Agreement.AGREE, "", version=case.version, readers=2, now=now)
        assert sign(connection, case.id, rita, Agreement.DISAGREE, "", version=case.version, readers=2, now=now)
    (closed,) = rows(store, shown="signed")
    assert closed.agreement == "readers differ"


def test_a_job_is_one_workers_until_its_lease_runs_out(store: Store) -> None:
    with store.database.write() as connection:
        assert enqueue(connection, JobKind.SPLIT, "u", "key", now=1.0)
        assert not enqueue(connection, JobKind.SPLIT, "u", "key", now=1.0)
        first = take(connection, "a", now=2.0, lease_s=10)
        assert first is not None
        assert take(connection, "b", now=3.0, lease_s=10) is None
        second = take(connection, "b", now=13.0, lease_s=10)
        assert second is not None
        assert second.attempts == 2
        assert not finish(connection, first, now=14.0)
        assert give_back(connection, first, "late", now=14.0, retry_s=1, most_attempts=1) is None
        assert finish(connection, second, now=14.0)
        assert take(connection, "c", now=100.0, lease_s=10) is None


def test_every_sort_goes_through_all_rows_once(store: Store) -> None:
    with store.database.write() as connection:
        for number in range(23):
            values = {
                "id": f"c{number:02}",
                "patient": f"k{number}",
                "patient_id": f"P{number % 5}",
                "state": "answered",
            }
            values |= {"urgency": number % 3, "arrived": number // 2, "images": number % 4}
            values |= {"xray_probability": None if number % 6 == 0 else number % 7 / 10}
            connection.execute(CASES.insert().values(**values))
    for sort in SORTS:
        for order in ("up", "down"):
            seen: list[str] = []
            after = ""
            while True:
                listing = Listing.parse({"sort": sort, "order": order, "rows": "4", "after": after})
                with store.database.read() as connection:
                    page = read_page(connection, listing, "", now=0)
                seen += [row.id for row in page.cases]
                after = page.next
                assert page.total == 23
                if not after:
                    break
            assert len(seen) == len(set(seen)) == 23, (sort, order)
    ups = [row.id for row in rows(store, sort="xray")]
    assert ups == [row.id for row in rows(store, sort="xray", order="down")][::-1]


@pytest.mark.parametrize("cursor", ["x", "bnVsbA", "WzEsMl0", "WzFlOTksIDEsICJhIl0", "WyJcdTAwMDAiLDEsImEiXQ", "%00"])
def test_a_forged_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        rows(store, after=cursor)


def test_a_filter_is_taken_literally(store: Store) -> None:
    with store.database.write() as connection:
        for name in ("100%", "1000", "a_b", "AxB"):
            connection.execute(CASES.insert().values(id=name, patient=name, patient_id=name, state="answered"))
    assert [row.id for row in rows(store, patient="0%")] == ["100%"]
    assert [row.id for row in rows(store, patient="A_")] == ["a_b"]


def test_a_line_changed_or_cut_from_the_trail_is_found(store: Store) -> None:
    with store.database.write() as connection:
        for number in range(5):
            record(connection, actor="anna", action="look", subject=f"case {number}", now=float(number))
    with store.database.read() as connection:
        count, digest, wrong = check_trail(connection)
    assert (count, wrong) == (5, "")
    with store.database.write() as connection:
        connection.execute(TRAIL.delete().where(TRAIL.c.seq == 5))
    with store.database.read() as connection:
        assert check_trail(connection)[2] == ""
        assert "end was cut" in check_trail(connection, expected=digest)[2]
    with store.database.write() as connection:
        connection.execute(update(TRAIL).where(TRAIL.c.seq == 3).values(actor="eve"))
    with store.database.read() as connection:
        assert check_trail(connection)[2] == "line 3 was changed"
        assert connection.execute(select(func.count()).select_from(TRAIL)).scalar_one() == 4


def test_what_went_through_lately_is_counted(store: Store) -> None:
    day = 86_400.0
    now = 1000.5 * day
    stated = [
        (0.1, 0.0, "positive", "positive", ""),
        (0.2, now, "negative", "not read", "agree"),
        (3.0, now, "CT needed", "absent", "readers differ"),
        (3.1, 0.0, "", "absent", ""),
        (40.0, now, "positive", "positive", "agree"),  # too long ago
    ]
    with store.database.write() as connection:
        for number, (back, signed, answer, ct, agreement) in enumerate(stated):
            values = {"id": f"{number}", "patient": f"{number}", "patient_id": "P", "state": "answered"}
            values |= {"answer": answer, "ct_state": ct, "agreement": agreement}
            connection.execute(CASES.insert().values(arrived=now - back * day, signed=signed, **values))
        lately = read_lately(connection, now=now)
    assert (lately.arrived, lately.answered, lately.sent_to_ct) == (4, 3, 2)
    assert lately.answers == {"CT needed": 1, "negative": 1, "positive": 1}
    assert lately.agreement == {"agree": 1, "readers differ": 1}
    assert [count for _, count in lately.days[-4:]] == [2, 0, 0, 2]
    assert lately.hours_to_sign == pytest.approx((0.2 + 3.0) / 2 * 24)
