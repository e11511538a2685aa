"""What lies in the folder that is looked at: runs, tables, and what is neither."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from hwnas.run_folder import RunFolder
from safe_files import FileError

MAX_DEPTH = 6
"""Folders within each other that are looked into."""

MAX_FOLDERS = 20_000
"""Folders that are looked into at most: a home folder is no folder of runs."""

MAX_RECORD_BYTES = 32 << 20
"""Largest record of a run that is read; those of real runs have less than one MB."""

MAX_TABLE_BYTES = 128 << 20
"""Largest table that is read; one of 10,000 blocks with 200 samples each has 60 MB."""

TABLE_SUFFIX = ".lut.json"

_Value = TypeVar("_Value")

Signature = tuple[tuple[str, int, int, int] | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The runs and tables that a look into the folder found.

    Attributes:
        runs, tables: the folders and the files, by their paths from the folder on.
        other: folders right inside it that hold neither, and links, which are not followed.
        was_cut: whether there is more than was looked into.
    """

    runs: dict[str, Path] = field(default_factory=dict)
    tables: dict[str, Path] = field(default_factory=dict)
    other: dict[str, str] = field(default_factory=dict)
    was_cut: bool = False


def look_into(root: Path) -> Found:
    """Return the runs and the tables in a folder and in those within it; links are not followed.

    A run's folder holds no other runs, and of tables its own.
    """
    found, num_folders, was_cut = Found(), 0, False
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        num_folders += 1
        if num_folders > MAX_FOLDERS or depth > MAX_DEPTH:
            was_cut = True
            continue
        entries = _entries(folder)
        is_run = _holds_run(folder, entries)
        if is_run:
            found.runs[_key(folder, root)] = folder
        for entry in entries:
            if entry.is_symlink():
                if depth == 0 and not entry.name.startswith("."):
                    found.other[entry.name] = "a link, not followed"
            elif entry.is_dir(follow_symlinks=False):
                if not (is_run or entry.name.startswith(".")):
                    pending.append((folder / entry.name, depth + 1))
            elif entry.name.endswith(TABLE_SUFFIX) or entry.name == RunFolder(folder).table.name:
                found.tables[_key(folder / entry.name, root)] = folder / entry.name
    if root not in found.runs.values():
        known = {key.partition("/")[0] for key in (*found.runs, *found.tables)}
        names = [e.name for e in _entries(root) if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
        found.other.update(dict.fromkeys(sorted({*names} - known), "no run, and no table"))
    return Found(
        runs=dict(sorted(found.runs.items())),
        tables=dict(sorted(found.tables.items())),
        other=found.other,
        was_cut=was_cut,
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # it is gone, or not ours to read
        return []


def _holds_run(folder: Path, entries: list[os.DirEntry[str]]) -> bool:
    files = RunFolder(folder)
    signs = {path.name for path in (files.config, files.request, files.summary)}
    return any(entry.name in signs for entry in entries)


def _key(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path != root else root.name or "run"


def require_own(path: Path, root: Path, *, max_bytes: int = MAX_RECORD_BYTES) -> None:
    """Pass a file that lies in the folder itself, and is no larger than that.

    Args:
        root: the folder, without links in its path.

    Raises:
        FileError: a link leads out of the folder, or the file is larger.
    """
    try:
        real, size = path.resolve(), path.stat().st_size
    except (OSError, RuntimeError) as error:  # links in a circle
        raise FileError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not real.is_relative_to(root):
        raise FileError(f"{path} is a link that leads out of {root}: it is not read")
    if size > max_bytes:
        raise FileError(f"{path} is too large to be shown: expected at most {max_bytes:,} bytes, found {size:,}")


def signature(paths: list[Path]) -> Signature:
    """Return what tells that files are as they were: time of change, size and place on the disk of each."""
    return tuple(map(_signature, paths))


def _signature(path: Path) -> tuple[str, int, int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return path.name, found.st_mtime_ns, found.st_size, found.st_ino


class Cache(Generic[_Value]):
    """A cache of what was read from files, kept as long as these are as they were; for several threads.

    Args:
        most: values kept at most, the latest.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._kept: dict[Path, tuple[Hashable, _Value]] = {}
        self._lock = Lock()

    def get(self, path: Path, state: Hashable, read: Callable[[], _Value]) -> _Value:
        """Return the value of a file or folder, read anew where its state is another than when it was read."""
        with self._lock:
            kept = self._kept.get(path)
            if kept is None or kept[0] != state:
                kept = (state, read())
            self._kept.pop(path, None)
            self._kept[path] = kept
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
            return kept[1]
