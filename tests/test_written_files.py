"""Files are written through links, over nothing but files, and for this account alone."""

from __future__ import annotations

import os
import resource
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from duoscan.errors import InputError
from duoscan.files import check_out_file, check_out_folder, make_folder, safe_name, write_bytes, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.fixture
def umask() -> Iterator[None]:
    """One that takes from other accounts what it takes from nobody here."""
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_link_is_written_through_and_stays(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.csv").symlink_to("far/table.csv")
    for content in (b"first", b"second"):  # the target is made, then replaced
        write_bytes(tmp_path / "link.csv", content)
        assert (tmp_path / "link.csv").is_symlink()
        assert (tmp_path / "far" / "table.csv").read_bytes() == content
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["table.csv"]


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path, pipe: Path) -> None:
    (tmp_path / "to-pipe").symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        for name in ("pipe", "to-pipe", "socket"):
            for write in (check_out_file, lambda path: write_bytes(path, b"x")):
                with pytest.raises(InputError, match="not a regular file"):
                    write(tmp_path / name)
        assert stat.S_ISSOCK((tmp_path / "socket").lstat().st_mode)
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


def test_a_folder_and_a_circle_of_links_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    for path in (tmp_path, tmp_path / "round"):
        for write in (check_out_file, lambda path: write_bytes(path, b"x")):
            with pytest.raises(InputError, match=r"is a folder|not a regular file"):
                write(path)


@pytest.mark.parametrize("name", ["file", "file/below", "nowhere", "pipe"])
def test_a_folder_that_could_not_be_made_is_refused_before_the_work(tmp_path: Path, pipe: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "nowhere").symlink_to("missing")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="name another"):
        check_out_folder(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert pipe in before


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_out_file(tmp_path / "new" / "deep" / "table.csv")
    check_out_folder(tmp_path / "new" / "deep")
    (tmp_path / "here.csv").write_bytes(b"old")
    check_out_file(tmp_path / "here.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["here.csv"]
    assert (tmp_path / "here.csv").read_bytes() == b"old"


def test_what_may_tell_of_a_patient_is_for_this_account_alone(tmp_path: Path, umask: None) -> None:
    (tmp_path / "old.csv").write_bytes(b"")
    (tmp_path / "old.csv").chmod(0o644)
    for path in (tmp_path / "new" / "deep" / "answers.csv", tmp_path / "old.csv"):
        write_text(path, "patient_id\n")
        assert mode(path) == 0o600
    assert [mode(path) for path in (tmp_path / "new", tmp_path / "new" / "deep")] == [0o700, 0o700]


def test_what_tells_of_nobody_obeys_the_umask(tmp_path: Path, umask: None) -> None:
    write_bytes(tmp_path / "shared" / "model.duoscan", b"x", private=False)
    make_folder(tmp_path / "shared", private=True)  # is there already, and stays as it is
    assert mode(tmp_path / "shared" / "model.duoscan") == 0o640
    assert mode(tmp_path / "shared") == 0o750


def test_names_that_differ_in_bytes_that_are_no_text_stay_two() -> None:
    assert safe_name(os.fsdecode(b"a\xff")) != safe_name(os.fsdecode(b"a\xfe"))


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    write_bytes(path, b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # a disk with no more room
    try:
        with pytest.raises(OSError, match="too large"):
            write_bytes(path, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [one.name for one in tmp_path.iterdir()] == ["answers.csv"]
    assert path.read_bytes() == b"old"
