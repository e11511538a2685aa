"""Files are written whole or not at all, and what the system says against it is said with what to do."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from full_disks import files_limited_to, small_disk

from safe_files import (
    WriteError,
    drafting,
    explaining,
    forget_all_drafts,
    forget_drafts,
    refusal,
    replacing,
    replacing_folder,
    write_text,
)
from safe_files.drafts import OLD_S
from safe_files.writing import JsonLines, read_json_lines

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "read-only",
    errno.EACCES: "permission denied",
}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("code", REASONS)
def test_what_the_system_refuses_is_said_with_what_to_do(code: int, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text("before")
    with pytest.raises(WriteError) as caught, replacing(path, needed_bytes=3_000_000) as draft:
        draft.write_text("half")
        raise OSError(code, os.strerror(code))
    text = str(caught.value)
    assert text.startswith(f"cannot write {path}: ") and REASONS[code] in text
    assert "the same command continues" in text and caught.value.errno == code
    has_room = "3 MB needed, " in text and f"MB free in {tmp_path}" in text
    assert has_room == (code in (errno.ENOSPC, errno.EDQUOT))
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "words",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",  # safetensors
        "[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Protobuf serialization failed.",
        "could not write: No space left on device",
    ],
)
def test_a_library_s_own_error_about_a_full_disk_is_one_too(words: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="the disk is full"), explaining(tmp_path / "x"):
        raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="else"), explaining(tmp_path / "x"):
        raise RuntimeError("something else")


def test_the_file_that_the_system_names_is_named(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/elsewhere/y")
    assert str(refusal(error, tmp_path / "x")).startswith("cannot write /elsewhere/y: the disk is full")
    assert refusal(FileNotFoundError(errno.ENOENT, "No such file or directory", "z"), tmp_path / "x") is None


def test_a_line_that_there_is_no_room_for_is_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    with JsonLines(path) as lines:
        lines.append({"number": 1})
        with files_limited_to(path.stat().st_size + 5), pytest.raises(WriteError, match=r"ulimit -f.*the same command"):
            lines.append({"number": 2})
        lines.append({"number": 3})
    assert read_json_lines(path) == [{"number": 1}, {"number": 3}]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("room", range(0, 64 * 1024, 8 * 1024))
def test_lines_on_a_disk_that_becomes_full(room: int, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 96 * 1024) as disk:
        path = disk.folder / "lines.jsonl"
        with JsonLines(path) as lines:
            lines.append({"number": 0})
            (disk.folder / "other").write_bytes(b"x" * room)
            with pytest.raises(WriteError, match="the disk is full"):
                for number in range(1, 1000):
                    lines.append({"number": number, "text": "x" * 1000})
            (disk.folder / "other").unlink()
            lines.append({"number": -1})
        numbers = [record["number"] for record in read_json_lines(path)]
        assert numbers == [*range(len(numbers) - 1), -1]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 * 1024) as disk:
        path = disk.folder / "table.json"
        write_text(path, "before")
        with pytest.raises(WriteError, match=r"0.1 MB needed, 0.06\d* MB free in"):
            write_text(path, "x" * 100_000)
        assert path.read_text() == "before" and _names(disk.folder) == ["table.json"]
        disk.set_read_only(True)
        with pytest.raises(WriteError, match="the file system is read-only"):
            write_text(path, "after")
        disk.set_read_only(False)
        write_text(path, "after")
        assert path.read_text() == "after"


def test_folders_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "events"
    for text in ("one", "two"):
        with replacing_folder(path) as draft:
            (draft / text).write_text(text)
        assert _names(path) == [text]
    with pytest.raises(WriteError), replacing_folder(path) as draft:
        (draft / "three").write_text("")
        raise OSError(errno.ENOSPC, "")
    assert _names(path) == ["two"] and _names(tmp_path) == ["events"]


def _killed_while_drafting(path: Path, *, is_folder: bool) -> Path:
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom safe_files import drafting\n"
        f"with drafting(Path({str(path)!r})) as draft:\n"
        f"    {'draft.mkdir(); (draft / str(1)).touch()' if is_folder else 'draft.touch()'}\n"
        "    print(draft, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    draft = Path(done.stdout.strip())
    assert draft.exists(), done.stderr
    return draft


@pytest.mark.parametrize("is_folder", [False, True])
def test_drafts_of_killed_processes_are_removed_and_no_others(is_folder: bool, tmp_path: Path) -> None:
    mine = _killed_while_drafting(tmp_path / "a.json", is_folder=is_folder)
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    of_other = _killed_while_drafting(deep / "b.json", is_folder=is_folder)
    old, young = (tmp_path / f".c{i}.json.00000000-1.tmp" for i in range(2))
    users = tmp_path / ".notes.tmp"
    for path in (old, young, users):
        path.touch()
    os.utime(old, (0, old.stat().st_mtime - OLD_S - 60))
    with drafting(tmp_path / "d.json") as draft:
        draft.touch()
        forget_drafts(tmp_path, of="other.json")
        assert mine.exists()
        forget_drafts(tmp_path)
        assert draft.exists() and young.exists() and users.exists() and of_other.exists()
        assert not mine.exists() and not old.exists()
    forget_all_drafts(tmp_path)
    assert not young.exists() and not of_other.exists() and users.exists()
