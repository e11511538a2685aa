"""Signals that arrive where Python would print an exception and go on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOST_IN = {
    "a fork": "os.register_at_fork(after_in_parent=lambda: signal.raise_signal({number}))\n"
    "    if os.fork() == 0: os._exit(0)",
    "a destructor": "class Held:\n        def __del__(self): signal.raise_signal({number})\n    Held()",
}

COMMAND = """
import os, signal, time
from hwnas import cli

def run():
    {lost}
    time.sleep(60)
    print("went on")

cli._run = run
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("where", LOST_IN)
def test_a_signal_that_python_would_lose_ends_the_command_all_the_same(where: str, number: signal.Signals) -> None:
    code = COMMAND.format(lost=LOST_IN[where].format(number=int(number)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr == f"{word}; the same command continues where this one stopped\n"
