"""Running the command line as a user would."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import pytest
import short_hwnas
import typer.main

from hwnas.cli import main
from hwnas.cli.commands import RunCommand

COMPONENT_FLAGS = {
    "space": "--space",
    "task": "--task",
    "criterion": "--criterion",
    "dataflow": "--data",
    "training-strategy": "--strategy",
    "search-agent": "--agent",
    "evaluator": "--evaluator",
    "tracker": "--tracker",
}
"""The flag that takes a component, by its kind."""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


built_once, whole_once = cache(typer.main.get_command), cache(RunCommand.whole)
"""The commands of an app: a program builds them for its one command line, which takes longer than most of these."""


def run_cli(*arguments: object) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.object(sys, "argv", ["hwnas", *map(str, arguments)]),
        # Else a program is called after what started it, `python -m pytest`, and completes nothing for `hwnas`.
        mock.patch.object(sys.modules["__main__"], "__package__", None),
        mock.patch.object(typer.main, "get_command", built_once),
        mock.patch.object(RunCommand, "whole", lambda command: whole_once(command)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    return Outcome(code, out.getvalue(), err.getvalue())


def shorten_runs(monkeypatch: pytest.MonkeyPatch, *, rounds: int = short_hwnas.ROUNDS) -> None:
    """Have runs of this process measure few rounds and look at few networks for the largest."""
    for path, number in short_hwnas.shortened(rounds).items():
        monkeypatch.setattr(path, number)


def start_cli(*arguments: object) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    command = [sys.executable, "-m", "hwnas", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def kill_when(
    process: subprocess.Popen[bytes], condition: Callable[[], bool], *, number: signal.Signals = signal.SIGKILL
) -> None:
    """Send a signal to the process as soon as the condition holds and wait for its end; fail where it never holds."""
    wait_until(process, condition)
    os.kill(process.pid, number)
    process.communicate()


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Fail where the condition does not hold before the process ends."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the moment to kill never came"
        if process.poll() is not None:
            _, err = process.communicate()
            raise AssertionError(f"ended before it could be killed: {err.decode()[-2000:]}")
        time.sleep(0.002)


def num_lines(path: Path) -> int:
    """Whole lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0
