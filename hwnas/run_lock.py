"""One process at a time in a run's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from hwnas.errors import RequestError
from safe_files import raise_if_full


@contextmanager
def alone_in(folder: Path, lock_path: Path, *, is_kept: Callable[[], bool]) -> Iterator[None]:
    """Make a run's folder, in which no other process may work meanwhile.

    Args:
        lock_path: the file in the folder that tells that a process works there.
        is_kept: whether the folder stays; asked at the end. Where it does not, it is removed as far as it is empty.

    Raises:
        RequestError: the folder cannot be written to, or is in use.
        WriteError: there is no room.
    """
    lock = FileLock(lock_path, timeout=0)
    made = [outer for outer in (folder, *folder.parents) if not outer.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RequestError(f"another process works on {folder}; wait for it or give another --out") from error
    except OSError as error:
        _remove_if_empty(lock_path, made)
        raise_if_full(error, lock_path)
        raise RequestError(f"cannot write to {folder}: {error.strerror}; give another --out") from error
    try:
        yield
    finally:
        if not is_kept():
            _remove_if_empty(lock_path, made)
        lock.release()


def _remove_if_empty(lock: Path, made: Sequence[Path]) -> None:
    """Remove a lock that this process holds, and the folders made for it, innermost first, as far as they are empty."""
    with suppress(OSError):
        lock.unlink(missing_ok=True)
    with suppress(OSError):
        for folder in made:
            folder.rmdir()


def is_worked_on(lock_path: Path) -> bool:
    """Return whether a process of this machine holds a run's lock; False where the system does not tell.

    The list of locks is read, and the lock left alone: whoever took it to see would keep a run from starting.
    """
    try:
        inode, locks = lock_path.lstat().st_ino, Path("/proc/locks").read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    # Devices are not compared: file systems on top of others name one here and another there.
    return any(line[1] == "FLOCK" and line[5].endswith(f":{inode}") for line in map(str.split, locks.splitlines()))
