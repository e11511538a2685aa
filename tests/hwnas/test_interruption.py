"""Signals that arrive where Python would print an exception and go on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hwnas.cli.interruption import ENDED_BY

LOST_IN = {
    "a fork": "os.register_at_fork(after_in_parent=lambda: signal.raise_signal({number}))\n"
    "    if os.fork() == 0: os._exit(0)",
    "a destructor": "class Held:\n        def __del__(self): signal.raise_signal({number})\n    Held()",
    "a destructor that fails": "class Held:\n        def __del__(self):\n"
    "            try: signal.raise_signal({number})\n            finally: raise ValueError\n    Held()",
}

COMMAND = """
import os, signal, time
from hwnas import cli

def lose():
    {lost}

def run():
    {body}

cli._run = run
cli.main()
time.sleep(0.3)
print("went on")
"""

NUMBERS = pytest.mark.parametrize("number", ENDED_BY, ids=lambda number: number.name)


def _run(where: str, number: signal.Signals, body: str) -> subprocess.CompletedProcess[str]:
    code = COMMAND.format(lost=LOST_IN[where].format(number=int(number)), body=body)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)


def _line(number: signal.Signals) -> str:
    return f"{ENDED_BY[number]}; the same command continues where this one stopped\n"


@NUMBERS
@pytest.mark.parametrize("where", LOST_IN)
def test_a_signal_that_python_would_lose_ends_the_command_all_the_same(where: str, number: signal.Signals) -> None:
    done = _run(where, number, "lose(); time.sleep(10)")
    assert (done.returncode, done.stdout) == (128 + number, ""), done.stderr
    assert done.stderr.endswith(_line(number))
    assert ("Traceback" in done.stderr) == ("ValueError" in done.stderr) == (where == "a destructor that fails")


@NUMBERS
def test_a_signal_that_is_lost_as_the_command_ends_reaches_nobody_after_it(number: signal.Signals) -> None:
    done = _run("a destructor", number, "lose()")
    ended = (0, "went on\n", ""), (128 + number, "", _line(number))  # the second on a machine that stands still then
    assert (done.returncode, done.stdout, done.stderr) in ended


@NUMBERS
def test_a_signal_that_was_lost_and_given_again_does_not_disturb_what_is_cleaned_up(number: signal.Signals) -> None:
    again = f"signal.raise_signal({int(number)})"
    done = _run("a destructor", number, f"try: lose(); {again}\n    finally: time.sleep(0.3); print('cleaned up')")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "cleaned up\n", _line(number))


@NUMBERS
def test_what_libraries_do_at_the_end_is_done_after_a_signal(number: signal.Signals) -> None:
    body = f"import atexit; atexit.register(print, 'at the end'); signal.raise_signal({int(number)})"
    done = _run("a destructor", number, body)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "at the end\n", _line(number))
