"""Which studies are screened together, and what the journal knows of them whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from duoscan.errors import InputError
from duoscan.worklist.journal import Delivery, Journal, ReceivedCase, SentObject, StudyState
from duoscan.worklist.received import Received

QUIET_S = 10
DAY_S = 86_400


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def add(journal: Journal, study: str, patient: str, *, now: float, number: int = 0, is_ct: bool = False) -> str:
    """Receive an object; the key of its study."""
    received = Received(study, f"{study}.{number}", "1.2", patient, is_ct)
    assert journal.add(received, "", now=now, quiet_s=QUIET_S)
    return received.study


def due(journal: Journal, now: float, memory_s: float = 30 * DAY_S) -> ReceivedCase:
    case = journal.next_to_screen(now=now, memory_s=memory_s)
    assert case is not None
    return case


def uids(case: ReceivedCase) -> list[str]:
    return sorted(study.uid for study in case.studies)


def finish(journal: Journal, case: ReceivedCase, *results: tuple[str, str], now: float) -> None:
    """Results by study and UID."""
    made = [SentObject(uid, study, "x") for study, uid in results]
    journal.finish_screening(case, made, "because", {}, now=now)


def send(journal: Journal, study: str, now: float) -> StudyState:
    journal.deliver([one.uid for one in journal.unsent(study)], Delivery.STORED)
    return journal.finish_sending(study, now=now)


def test_a_case_is_complete_when_all_its_studies_are_quiet(journal: Journal) -> None:
    add(journal, "1.1", "a", now=0)
    add(journal, "1.2", "a", now=5, is_ct=True)
    assert journal.next_to_screen(now=14, memory_s=DAY_S) is None
    case = due(journal, now=15)
    assert uids(case) == ["1.1", "1.2"]
    assert case.unscreened == case.studies
    before = case.image_set
    assert due(journal, now=16).image_set == before
    add(journal, "1.2", "a", now=16, number=1)
    assert due(journal, now=30).image_set != before


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("", ""), ("", "a"), ("1.1", ""), ("a", "A")])
def test_patients_stay_apart(journal: Journal, one: str, other: str) -> None:
    """A study without PatientID is a patient of its own, also where another has its UID as PatientID."""
    add(journal, "1.2", one, now=0)
    add(journal, "1.1", other, now=1)
    case = due(journal, now=QUIET_S)
    assert uids(case) == ["1.2"]
    finish(journal, case, now=QUIET_S)
    another = due(journal, now=QUIET_S + 1)
    assert uids(another) == ["1.1"]
    assert another.key != case.key


def test_the_longest_complete_case_is_first(journal: Journal) -> None:
    for number, patient in enumerate(("b", "a", "c")):
        add(journal, f"1.{number}", patient, now=number)
    assert uids(due(journal, now=100)) == ["1.0"]


def test_earlier_studies_count_for_so_long_and_those_given_up_do_not(journal: Journal) -> None:
    old, bad, late = (add(journal, f"1.{number}", "a", now=number) for number in range(3))
    case = due(journal, now=20)
    journal.put_back(bad, StudyState.FAILED, now=20, retry_at=0, reason="", attempts=3)
    finish(journal, due(journal, now=20), now=20)
    assert [send(journal, key, now=21) for key in (old, late)] == [StudyState.UNANSWERED] * 2
    add(journal, "1.9", "a", now=DAY_S)
    now = DAY_S + QUIET_S
    assert uids(due(journal, now, memory_s=2 * DAY_S)) == ["1.0", "1.2", "1.9"]
    assert uids(due(journal, now, memory_s=DAY_S - 1)) == ["1.2", "1.9"]
    assert uids(due(journal, now, memory_s=0)) == ["1.9"]
    # Taken up again, it is part of the case however old it is.
    assert journal.retry([], now=now) == [bad]
    assert uids(due(journal, now, memory_s=0)) == ["1.1", "1.9"]
    assert len(case.studies) == 3


def test_studies_at_rest_are_sent_again_for_new_results_alone(journal: Journal) -> None:
    xray = add(journal, "1.1", "a", now=0)
    finish(journal, due(journal, now=20), (xray, "9.1"), now=20)
    assert send(journal, xray, now=21) is StudyState.REPORTED
    ct = add(journal, "1.2", "a", now=30, is_ct=True)
    case = due(journal, now=50)
    assert [study.uid for study in case.unscreened] == ["1.2"]
    finish(journal, case, (xray, "9.1"), (ct, "9.2"), now=50)
    assert [study.uid for study in journal.studies_in(StudyState.SENDING)] == ["1.2"]
    assert send(journal, ct, now=51) is StudyState.REPORTED
    add(journal, "1.2", "a", now=60, number=1)
    finish(journal, due(journal, now=80), (xray, "9.3"), (ct, "9.4"), now=80)
    assert journal.counts()[StudyState.SENDING] == 2
    assert [one.uid for one in journal.unsent(xray)] == ["9.3"]


def test_what_comes_while_a_case_is_screened_is_screened_next(journal: Journal) -> None:
    xray, ct = (add(journal, study, "a", now=0) for study in ("1.1", "1.2"))
    case = due(journal, now=20)
    add(journal, "1.2", "a", now=21, number=1)
    finish(journal, case, (xray, "9.1"), (ct, "9.2"), now=22)
    assert [send(journal, key, now=23) for key in (xray, ct)] == [StudyState.REPORTED, StudyState.RECEIVING]
    assert due(journal, now=40).image_set != case.image_set


def test_results_made_while_earlier_ones_are_sent_are_sent_too(journal: Journal) -> None:
    xray = add(journal, "1.1", "a", now=0)
    finish(journal, due(journal, now=20), (xray, "9.1"), now=20)
    add(journal, "1.2", "a", now=21)
    case = due(journal, now=40)  # the destination is away, and the patient's CT does not wait for it
    journal.deliver([one.uid for one in journal.unsent(xray)], Delivery.STORED)
    finish(journal, case, (xray, "9.2"), now=41)
    assert journal.finish_sending(xray, now=42) is StudyState.SENDING
    assert [one.uid for one in journal.unsent(xray)] == ["9.2"]
    assert send(journal, xray, now=43) is StudyState.REPORTED


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    for version in (0, 2):
        path = tmp_path / f"{version}.sqlite"
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE studies (key TEXT PRIMARY KEY)")
            other.execute(f"PRAGMA user_version = {version}")
        other.close()
        with pytest.raises(InputError, match=f"a journal of version {version}, this duoscan keeps version 1; let the"):
            Journal(path)
