"""Drafts of files and folders beside what they are to become, and what killed processes left of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safe_files.errors import FileError

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
"""Tells apart the machines and containers that share a disk: numbers of processes are each one's own."""

_NAME = re.compile(r"\.(?P<of>.+)\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)\.tmp")

OLD_S = 24 * 3600
"""A draft of another machine that nothing was written to for so long is nobody's."""


@contextmanager
def drafting(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` for a file or folder to be made; nothing is left of it when the block ends."""
    if not path.name:
        raise FileError(f"expected the name of a file, found {str(path)!r}")
    draft = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        yield draft
    finally:
        _remove(draft)


def forget_drafts(folder: Path, *, of: str | None = None) -> None:
    """Remove what processes left in a folder that were killed while they made something.

    Args:
        of: only drafts of the file or folder of that name.
    """
    for draft, found in _drafts(folder.glob(".*.tmp") if folder.is_dir() else ()):
        if of in (None, found["of"]) and _is_nobodys(draft, found):
            _remove(draft)


def forget_all_drafts(folder: Path) -> None:
    """Remove all drafts in a folder and in those within; the caller holds the lock of what works in there."""
    for draft, _ in list(_drafts(folder.rglob(".*.tmp"))):
        _remove(draft)


def _drafts(paths: Iterable[Path]) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in paths:
        if found := _NAME.fullmatch(path.name):
            yield path, found


def _is_nobodys(draft: Path, found: re.Match[str]) -> bool:
    # On Windows asking whether a process runs would send it Ctrl-C: there age alone tells.
    if found["host"] == _HOST and sys.platform != "win32":
        return not _is_running(int(found["process"]))
    try:
        return time.time() - draft.stat().st_mtime > OLD_S
    except OSError:
        return False


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _remove(draft: Path) -> None:
    # What cannot be removed now is removed at the next start; an error that is under way matters more.
    with suppress(OSError):
        if draft.is_dir() and not draft.is_symlink():
            shutil.rmtree(draft)
        else:
            draft.unlink(missing_ok=True)
