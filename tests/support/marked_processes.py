"""Processes that are recognised, with all that they start, by a variable in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import short_hwnas

MARK = "HWNAS_TEST_MARK"


@contextmanager
def started_marked(*arguments: object) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A command in a process of its own, whose runs are short, and its mark; it is ended with the block."""
    mark = uuid.uuid4().hex
    command = [sys.executable, short_hwnas.__file__, *map(str, arguments)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, MARK: mark},
    )
    try:
        yield process, mark
    finally:
        process.kill()
        process.wait()


def orphans(mark: str, *, within_s: float = 90.0) -> list[str]:
    """Commands of the marked processes that are still there after that long; none where all have ended."""
    deadline = time.monotonic() + within_s
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _marked(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
        except OSError:
            continue
    return found
