"""Files that are made once and kept."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from kept_files import DAMAGES, exchange

from safe_files import WriteError, cached


def _make(path: Path, made_of: str = "a", **settings: bool) -> bool:
    """Whether the file had to be made."""
    made = []

    def write(draft: Path) -> None:
        made.append(draft)
        draft.write_bytes(made_of.encode() * 1000)

    assert cached(path, made_of, write, **settings) == path
    assert path.read_bytes() == made_of.encode() * 1000
    return bool(made)


def test_a_file_is_made_once_and_again_when_it_is_of_something_else_or_fresh(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    assert _make(path) and not _make(path)
    assert _make(path, "b") and not _make(path, "b")
    assert _make(path, "b", is_fresh=True)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_made_again(damage, tmp_path: Path) -> None:
    _make(tmp_path / "file")
    damage(tmp_path / "file")
    assert _make(tmp_path / "file") and not _make(tmp_path / "file")


def test_another_files_content_is_noticed_even_with_its_note(tmp_path: Path) -> None:
    _make(tmp_path / "a", "a")
    _make(tmp_path / "b", "b")
    exchange(tmp_path / "a", tmp_path / "b")
    assert _make(tmp_path / "a", "a")


def test_a_pipe_in_its_place_is_replaced(tmp_path: Path) -> None:
    _make(tmp_path / "file")
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    assert _make(tmp_path / "file")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(draft: Path) -> None:
        draft.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached(tmp_path / "file", "a", fail)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "x").mkdir(parents=True)
    for path in (tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(WriteError, match=r"cannot write .*; give another folder"):
            cached(path, "a", lambda draft: draft.touch())

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match=r"the disk is full .*; free space there: then the same command continues"):
        cached(tmp_path / "y", "a", full)


def _make_often(path: Path) -> None:
    for _ in range(50):
        _make(path, is_fresh=True)


def test_processes_that_make_one_file_at_once_never_see_half_of_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_make_often, args=(tmp_path / "file",)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert not _make(tmp_path / "file")
