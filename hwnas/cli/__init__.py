"""The command line: one command a module; each parses, calls one function, prints."""

from __future__ import annotations

import io
import os
import signal
import sys
from types import FrameType

SPINS = "2000"
"""Turns that a thread of torch's waits for the others before it gives up its core. With the hundreds of thousands that
GNU's OpenMP takes, training was twice as slow beside a busy process as with this many; alone it is a seventh faster."""


class Interruption(BaseException):
    """Ctrl-C; unlike KeyboardInterrupt, the command-line library does not answer it itself."""


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit code 2, failed work in exit code 1."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, when torch is imported
    from hwnas.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may have what the terminal has not
    previous = signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except Interruption:
        print("interrupted; the same command continues where this one stopped", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        from hwnas.cli.exit_codes import exit_code
        from search_spaces.importing import line_of_own_code

        code, line = exit_code(error), line_of_own_code(error)
        if code is None and line is None:
            raise
        text = str(error) if code is not None else f"{line}: {type(error).__name__}: {error}"
        print(f"error: {text}", file=sys.stderr)
        sys.exit(code or 1)
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise Interruption
