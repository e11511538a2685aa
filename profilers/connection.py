"""Talking to a worker process, with deadlines and limits."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

from profilers.errors import DeviceError, NoAnswerError, WorkerLostError
from profilers.programs import end_group
from profilers.quoting import printable, quoted

Message = dict[str, Any]
"""A command to a worker."""

MAX_LINE_BYTES = 8 << 20
"""Longest answer unless less is enough: some values of each of a model's outputs, or its operations by name."""

MAX_ERROR_BYTES = 4096
"""The bytes that are kept of the end of what a worker says on standard error."""

CHUNK_BYTES = 1 << 16

SEND_TIMEOUT_S = 20.0

LAST_WORDS_S = 1.0
"""The seconds that a worker that closed its output may take to end."""


class Connection:
    """A worker process that takes commands and says lines; a context manager that kills its whole process group.

    What it says is read only while an answer is waited for, so a worker that talks without end fills its own pipe and
    nothing else. Of what it says on standard error, the end is kept.

    Raises:
        WorkerLostError: there is no such program.
        DeviceError: this is Windows.
    """

    def __init__(self, command: list[str]) -> None:
        if sys.platform == "win32":
            raise DeviceError(
                "measuring needs pipes that can be waited for, which Linux and macOS have and Windows has not: "
                "run hwnas in WSL 2"
            )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerLostError(f"cannot run {command[0]}: {error.strerror}") from error
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)
        self._said, self._errors = bytearray(), bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ, self._said)
        self._selector.register(self._process.stderr, selectors.EVENT_READ, self._errors)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def send(self, message: Message, timeout_s: float = SEND_TIMEOUT_S) -> None:
        """Give the worker one command.

        Raises:
            WorkerLostError: it is no longer there, said something that nobody asked, or does not read in time.
        """
        self.require_silence(0.0)
        left = memoryview(json.dumps(message).encode() + b"\n")
        deadline = time.monotonic() + timeout_s
        while left:
            try:
                left = left[os.write(self._input.fileno(), left) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise WorkerLostError(f"it did not read a command within {timeout_s:g} s") from None
                time.sleep(0.001)
            except OSError as error:
                raise WorkerLostError(self._epitaph()) from error

    def require_silence(self, wait_s: float) -> None:
        """Make sure that the worker has said nothing since its last answer.

        Raises:
            WorkerLostError: it has.
        """
        self._listen(wait_s)
        if self._said:
            raise WorkerLostError(f"it said what nobody asked: {quoted(self._said)}")

    def receive(self, timeout_s: float, max_bytes: int = MAX_LINE_BYTES) -> bytes:
        """Return the worker's next line, without its end.

        Raises:
            NoAnswerError: it is not whole in time.
            WorkerLostError: it is too long, or the worker ended.
        """
        deadline = time.monotonic() + timeout_s
        searched = 0
        while (end := self._said.find(b"\n", searched)) < 0 and len(self._said) <= max_bytes:
            searched = len(self._said)
            left_s = deadline - time.monotonic()
            if not self._is_talking:
                raise WorkerLostError(self._epitaph())
            if left_s <= 0:
                begun = f", only {quoted(self._said)}" if self._said else ""
                raise NoAnswerError(f"no answer within {timeout_s:g} s{begun}")
            self._listen(left_s)
        if not 0 <= end <= max_bytes:
            raise WorkerLostError(f"expected a line of at most {max_bytes:,} bytes, found {quoted(self._said)}")
        line = bytes(self._said[:end])
        del self._said[: end + 1]
        return line

    def kill(self) -> None:
        """End the worker and whatever it started."""
        end_group(self._process)
        self._process.wait()
        self._selector.close()
        for stream in (self._input, self._output, self._process.stderr):
            assert stream is not None
            stream.close()

    @property
    def _is_talking(self) -> bool:
        return self._output in self._selector.get_map()

    def _listen(self, timeout_s: float) -> None:
        """Take in what the worker says, once there is something."""
        for key, _ in self._selector.select(timeout_s):
            chunk = os.read(key.fd, CHUNK_BYTES)
            key.data.extend(chunk)
            if not chunk:
                self._selector.unregister(key.fileobj)
        del self._errors[:-MAX_ERROR_BYTES]

    def _epitaph(self) -> str:
        """Return how the worker ended, and its last words."""
        if self._is_talking:
            self._selector.unregister(self._output)
        deadline = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < deadline and (self._process.poll() is None or self._has_more_errors()):
            self._listen(0.01)
        code = self._process.poll()
        how = "its output was closed" if code is None else f"exit code {code}" if code >= 0 else _signal_name(-code)
        words = printable(self._errors.decode(errors="replace").strip().rpartition("\n")[2])
        return f"the worker ended ({how})" + (f": {words[:300]}" if words else "")

    def _has_more_errors(self) -> bool:
        return bool(self._selector.get_map() and self._selector.select(0.0))


def _signal_name(number: int) -> str:
    named = {known.value: known.name for known in signal.Signals}
    return f"killed by {named.get(number, f'signal {number}')}"
