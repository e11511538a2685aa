"""Programs of this machine that carry files and commands to another one."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

from profilers.errors import WorkerLostError
from profilers.quoting import printable


def completed(command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing on its standard input, and return what it said.

    Raises:
        WorkerLostError: there is no such program, or it does not end in time.
    """
    try:
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise WorkerLostError(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    except OSError as error:
        raise WorkerLostError(f"cannot run {command[0]}: {error.strerror}") from error


def finish(command: Sequence[str], timeout_s: float) -> str:
    """Run a program to its good end and return what it printed.

    Raises:
        WorkerLostError: there is no such program, it does not end in time, or it fails.
    """
    done = completed(command, timeout_s)
    if done.returncode:
        words = printable(done.stderr.strip().rpartition("\n")[2])
        raise WorkerLostError(f"{command[0]} failed: {words or f'exit code {done.returncode}'}")
    return done.stdout


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a session of its own, and what it started; where there are no groups, it alone."""
    if not hasattr(os, "killpg"):
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
