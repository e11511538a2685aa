"""When a run began, when it ended and what it failed by, kept in its folder."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

from hwnas.artifacts import RunTimes
from hwnas.pipeline.run import Run
from hwnas.run_folder import RunFolder
from safe_files import refusal

MOST_CHARACTERS = 1000
"""Characters that are kept of what an error says."""


@contextmanager
def timed(run: Run) -> Iterator[None]:
    """Keep in a run's folder when it began, and how the command ended that works on it while the block runs.

    A command that is interrupted leaves no end, as one that is killed can leave none. Of a run that proves impossible
    nothing stays.

    Raises:
        RunError: what is kept is damaged.
        WriteError: there is no room.
    """
    files = run.files

    def is_kept() -> bool:
        return run.has_begun or files.request.is_file()

    before = files.read_times() if is_kept() else RunTimes(began=datetime.now(UTC))
    times = RunTimes(began=None if before is None else before.began)
    files.write_times(times)
    try:
        yield
        keep_end(files)
    except Exception as error:
        with suppress(OSError):  # where there is no room for this either, the error itself matters more
            files.write_times(replace(times, ended=datetime.now(UTC), failure=_told_by(error)))
        raise
    finally:
        if not is_kept():
            files.times.unlink(missing_ok=True)


def keep_end(files: RunFolder) -> None:
    """Write down that the work on a run ends well now, where that is not written yet."""
    times = files.read_times()
    if times is not None and times.ended is None:
        files.write_times(replace(times, ended=datetime.now(UTC)))


def _told_by(error: Exception) -> str:
    """Return what an error says, after its name where it is one of Python's own, whose words alone say little."""
    told = str(refusal(error) or error).strip()
    if type(error).__module__ == builtins.__name__ or not told:
        told = f"{type(error).__name__}: {told}"
    return told[:MOST_CHARACTERS].encode(errors="backslashreplace").decode()  # names of files may be no text
