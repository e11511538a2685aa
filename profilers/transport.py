"""Where a worker runs, and talking to it with deadlines."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Protocol

Message = dict[str, Any]
"""One line of the worker protocol."""

WORKERS = {"onnxruntime": Path(__file__).with_name("worker_onnxruntime.py")}
"""The worker file of each runtime."""


class WorkerLostError(Exception):
    """The worker died, hung past its deadline, or said something that is not the protocol."""


class Transport(Protocol):
    """Starts worker processes somewhere."""

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file."""
        ...


class LocalTransport:
    """Workers as subprocesses of this one, with the same Python."""

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file."""
        return Connection([sys.executable, "-u", str(worker)])


class Connection:
    """A worker process that takes and gives JSON lines; a context manager that kills its whole process group."""

    def __init__(self, command: list[str]) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
        )
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Give the worker one command.

        Raises:
            WorkerLostError: it is no longer there.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise WorkerLostError(self._epitaph()) from error

    def receive(self, timeout_s: float) -> Message:
        """The worker's next event.

        Raises:
            WorkerLostError: none came in time, the worker ended, or its line is not a JSON object.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise WorkerLostError(f"no answer within {timeout_s:g} s") from None
        if line is None:
            raise WorkerLostError(self._epitaph())
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise WorkerLostError(f"unreadable answer {line[:200]!r}")
        return message

    def kill(self) -> None:
        """End the worker and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._stderr):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._lines.put(line)
        self._lines.put(None)

    def _epitaph(self) -> str:
        deadline = time.monotonic() + 5.0
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        code = self._process.returncode
        how = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        words = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"the worker ended ({how})" + (f": {words[-1][:300]}" if words else "")
