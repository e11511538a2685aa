"""The command line: one command a module; each parses, calls one function, prints."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys

from hwnas.cli.interruption import ENDED_BY, Interruption, interrupt, leave, sent_again

SPINS = "2000"
"""Turns that a thread of torch's waits for the others before it gives up its core. With the hundreds of thousands that
GNU's OpenMP takes, training was twice as slow beside a busy process as with this many; alone it is a seventh faster."""


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit code 2, failed work in exit code 1."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # read once, when torch is imported
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before Python started
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - for as long as the process lives
    previous = {number: signal.signal(number, interrupt) for number in ENDED_BY}
    try:
        with sent_again():
            _run()
    except Interruption as end:
        how = ENDED_BY[signal.Signals(end.number)]
        print(f"{how}; the same command continues where this one stopped", file=sys.stderr)
        leave(128 + end.number)
    except Exception as error:
        from hwnas.cli.exit_codes import verdict
        from search_spaces.importing import line_of_own_code

        found, line = verdict(error), line_of_own_code(error)
        if found is None and line is None:
            raise
        code, text = found or (1, f"{line}: {type(error).__name__}: {error}")
        print(f"error: {text}", file=sys.stderr)
        sys.exit(code)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _run() -> None:
    from hwnas.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may have what the terminal has not
    try:
        app()
    except SystemExit:
        # What the output has no room for is said now, and not once Python ends.
        try:
            sys.stdout.flush()
        except OSError:
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise
        raise
