"""`hwnas` in processes that import little: copies of one that has imported most of it, and whose runs are short.

As a program it reads commands, a line of JSON each, and tells the number of each one's process and how it ended.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import short_hwnas

MARK = "HWNAS_TEST_MARK"
"""The variable in the environment of everything that a command starts."""

IMPORTED = ("torch", "torch.onnx", "onnx", "matplotlib.pyplot", "tensorboardX", "hwnas.cli.app", "hwnas.config_file")
"""What takes longest to import and starts no thread, which a copy would lack: ONNX Runtime and pandas do."""

ANSWERED = (signal.SIGINT, signal.SIGTERM)
"""Signals that hwnas answers; until it can, they wait."""


class Running:
    """A command that runs in a process of its own."""

    def __init__(self, answers: Iterator[bytes], wait: Callable[[float], bool], mark: str, errors: Path) -> None:
        self._answers, self._wait, self._mark, self._errors = answers, wait, mark, errors
        self.pid = int(next(answers))
        self.returncode: int | None = None

    def wait(self, timeout_s: float) -> bool:
        """Return whether the command has ended within so many seconds."""
        if self.returncode is None and self._wait(max(0.0, timeout_s)):
            self.returncode = int(next(self._answers))
        return self.returncode is not None

    def ended(self, timeout_s: float = 120.0) -> str:
        """Return what the command said on standard error, once it has ended; fail where it goes on."""
        assert self.wait(timeout_s), "the command goes on"
        return self._errors.read_text(errors="replace")

    def kill(self, number: signal.Signals) -> None:
        """Send a signal, unless the command is known to have ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill_when(self, condition: Callable[[], bool], number: signal.Signals = signal.SIGKILL) -> str:
        """Send a signal as soon as the condition holds, and return what was said; fail where it never holds."""
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, "the moment to kill never came"
            assert not self.wait(0.002), f"ended before it could be killed: {self.ended()[-2000:]}"
        self.kill(number)
        return self.ended()

    def orphans(self, *, within_s: float = 90.0) -> list[str]:
        """Return what the command started and is still there after that long; nothing where all have ended."""
        deadline = time.monotonic() + within_s
        while (found := self._left()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _left(self) -> list[str]:
        """Return the commands of processes with the mark, or in the session of the process that was a copy."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                is_marked = f"{MARK}={self._mark}".encode() in (folder / "environ").read_bytes()
                if is_marked or session == self.pid:
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
            except OSError:
                continue
        return found


class WarmHwnas:
    """Starts commands, one after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def close(self) -> None:
        """End the process that others are copies of."""
        self._server.kill()
        self._server.communicate()

    @contextmanager
    def started(self, *arguments: object) -> Iterator[Running]:
        """Yield a command in a process of its own; it is ended with the block."""
        mark = uuid.uuid4().hex
        errors = self._folder / mark
        errors.touch()
        command = {
            "arguments": list(map(str, arguments)),
            "environment": {**os.environ, MARK: mark},
            "errors": str(errors),
        }
        into, out = self._server.stdin, self._server.stdout
        assert into is not None and out is not None
        into.write(json.dumps(command).encode() + b"\n")
        running = Running(iter(out.readline, b""), lambda s: bool(select.select([out], [], [], s)[0]), mark, errors)
        try:
            yield running
        finally:
            running.kill(signal.SIGKILL)
            running.ended()


def serve() -> None:
    """Run each command that is read in a copy of this process."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a process with threads cannot be copied"
    signal.pthread_sigmask(signal.SIG_BLOCK, ANSWERED)
    for line in sys.stdin:
        if not (pid := os.fork()):
            run(**json.loads(line))
            return
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def run(arguments: Sequence[str], environment: dict[str, str], errors: str) -> None:
    """Run a command as if this process had been started for it."""
    from hwnas import cli

    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, path in enumerate((os.devnull, os.devnull, errors)):
        os.dup2(os.open(path, os.O_RDWR), descriptor)
    sys.argv = ["hwnas", *arguments]
    begin = cli._run

    def begin_answering() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ANSWERED)
        short_hwnas.shorten()
        begin()

    cli._run = begin_answering
    cli.main()


if __name__ == "__main__":
    serve()
