"""Where a worker runs, and talking to it with deadlines."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from profilers.device import Device, Ssh
from profilers.emulator import boards
from profilers.errors import WorkerLostError
from profilers.external_data import parcel
from profilers.quoting import printable, quoted

Message = dict[str, Any]
"""A command to a worker."""

MAX_LINE_BYTES = 8 << 20
"""Longest answer unless less is enough: some values of each of a model's outputs, or its operations by name."""

MAX_ERROR_BYTES = 4096
"""Of what a worker says on standard error, the end that is kept."""

CHUNK_BYTES = 1 << 16

SEND_TIMEOUT_S = 20.0

LAST_WORDS_S = 2.0
"""How long a worker that closed its output may take to end."""

WORKERS = {
    "onnxruntime": Path(__file__).with_name("worker_onnxruntime.py"),
    "tvm": Path(__file__).with_name("worker_tvm.py"),
}
"""The worker file of each runtime."""


def worker_file(runtime: str) -> Path:
    """The file of a built-in runtime, or the runtime itself where it is the path of one's own worker."""
    return WORKERS.get(runtime) or Path(runtime).resolve()


class Transport(Protocol):
    """Starts worker processes somewhere."""

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file.

        Raises:
            WorkerLostError: the place cannot be reached.
        """
        ...

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Bring files to where workers run, unless they are there; what workers know them by.

        Raises:
            WorkerLostError: the place cannot be reached.
        """
        ...


def transport_for(device: Device) -> Transport:
    """The way to a device's workers."""
    if device.ssh is not None:
        return SshTransport(device.ssh, timeout_s=device.start_timeout_s)
    if device.command is not None:
        return CommandTransport(device.command, device.copy, device.folder, timeout_s=device.start_timeout_s)
    return LocalTransport()


class LocalTransport:
    """Workers as subprocesses of this one, with the same Python."""

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file."""
        return Connection([sys.executable, "-u", str(worker)])

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Files are here already."""
        return [str(path) for path in paths]


class CommandTransport:
    """Workers behind a command that runs a program in another place: an emulator's python, `adb shell python3`.

    Args:
        command: what comes before the worker's file.
        copy: the command that copies a file there, with {local} and {remote}; None where both see the same files.
        folder: where files are copied to.
    """

    def __init__(self, command: Sequence[str], copy: Sequence[str] | None, folder: str, *, timeout_s: float) -> None:
        self._command = [part.replace("{boards}", str(boards())) for part in command]
        self._copy = copy
        self._folder = folder
        self._timeout_s = timeout_s
        self._placed: dict[Path, str] = {}

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file."""
        (remote,) = self.place([worker])
        return Connection([*self._command, "-u", remote])

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Copy each file once, and what holds its weights with it."""
        if self._copy is None:
            return [str(path) for path in paths]
        for path in paths:
            if path not in self._placed:
                with tempfile.TemporaryDirectory() as scratch:
                    remotes = [self._copied(file, name) for name, file in parcel(path, Path(scratch)).items()]
                self._placed[path] = remotes[-1]
        return [self._placed[path] for path in paths]

    def _copied(self, file: Path, name: str) -> str:
        assert self._copy is not None
        remote = f"{self._folder}/{name}"
        filled = [part.replace("{local}", str(file)).replace("{remote}", remote) for part in self._copy]
        _finish(filled, self._timeout_s)
        return remote


class SshTransport:
    """Workers on a board, by the system's ssh and scp: the user's own configuration, keys and jump hosts.

    Nothing is installed there; python, numpy and onnxruntime must be. Files are named by their content, so that an
    interrupted sweep finds those that are there already.
    """

    def __init__(self, ssh: Ssh, *, timeout_s: float) -> None:
        self._ssh = ssh
        self._timeout_s = timeout_s
        wait = max(1, min(10, int(timeout_s) - 1))
        # A dropped connection must end the worker's stream in seconds, and nobody is there to type a password.
        self._options = [
            *("-o", "BatchMode=yes", "-o", f"ConnectTimeout={wait}"),
            *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
            *ssh.options,
        ]
        self._there: set[str] | None = None

    def start(self, worker: Path) -> Connection:
        """A connection to a fresh worker process of that file."""
        (remote,) = self.place([worker])
        return Connection(
            ["ssh", *self._options, self._ssh.host, f"exec {shlex.quote(self._ssh.python)} -u {shlex.quote(remote)}"]
        )

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Copy what is not there yet, all at once; a file under its name is whole."""
        folder = shlex.quote(self._ssh.folder)
        if self._there is None:
            self._there = set(self._run(f"mkdir -p {folder}/incoming && ls {folder}").split())
        with tempfile.TemporaryDirectory() as scratch:
            parcels = [parcel(path, Path(scratch)) for path in paths]
            wanted = {name: file for files in parcels for name, file in files.items() if name not in self._there}
            if wanted:
                self._copy(wanted)
                moves = " ".join(f"{folder}/incoming/{name}" for name in wanted)
                self._run(f"mv {moves} {folder}/")
                self._there |= wanted.keys()
        return [f"{self._ssh.folder}/{list(files)[-1]}" for files in parcels]

    def _copy(self, wanted: Mapping[str, Path]) -> None:
        """Bring files to where unfinished copies lie, under those names."""
        target = f"{self._ssh.host}:{self._ssh.folder}/incoming/"
        num_bytes = sum(file.stat().st_size for file in wanted.values())
        with tempfile.TemporaryDirectory() as links:
            for name, file in wanted.items():
                (Path(links) / name).symlink_to(file.resolve())
            sources = [str(Path(links) / name) for name in wanted]
            _finish(
                ["scp", "-q", "-B", *self._options, *sources, target],
                self._timeout_s + num_bytes / SLOW_BYTES_PER_S,
            )

    def _run(self, command: str) -> str:
        return _finish(["ssh", *self._options, self._ssh.host, command], self._timeout_s)


SLOW_BYTES_PER_S = 250_000
"""A copy over a slower line than this is given up."""


def _finish(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise WorkerLostError(f"{command[0]} did not end within {timeout_s:.0f} s") from None
    except OSError as error:
        raise WorkerLostError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise WorkerLostError(f"{command[0]} failed: {words[-1] if words else f'exit code {done.returncode}'}")
    return done.stdout


class Connection:
    """A worker process that takes commands and says lines; a context manager that kills its whole process group.

    What it says is read only while an answer is waited for, so a worker that talks without end fills its own pipe and
    nothing else. Of what it says on standard error, the end is kept.

    Raises:
        WorkerLostError: there is no such program.
    """

    def __init__(self, command: list[str]) -> None:
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
            WorkerLostError: it is not whole in time or too long, or the worker ended.
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
                raise WorkerLostError(f"no answer within {timeout_s:g} s{begun}")
            self._listen(left_s)
        if not 0 <= end <= max_bytes:
            raise WorkerLostError(f"expected a line of at most {max_bytes:,} bytes, found {quoted(self._said)}")
        line = bytes(self._said[:end])
        del self._said[: end + 1]
        return line

    def kill(self) -> None:
        """End the worker and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
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
