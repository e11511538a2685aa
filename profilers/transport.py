"""The places where a worker runs, and the ways that it and the models get there."""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from onnx_models.external_data import parcel
from profilers.connection import Connection
from profilers.device import Device, Ssh
from profilers.emulator import boards
from profilers.errors import WorkerLostError


class Transport(Protocol):
    """Starts worker processes somewhere."""

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files: a program, and what it is given as arguments.

        Raises:
            WorkerLostError: the place cannot be reached.
        """
        ...

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Bring files to where workers run, unless they are there; return what workers know them by.

        Raises:
            WorkerLostError: the place cannot be reached.
        """
        ...


def transport_for(device: Device) -> Transport:
    """Return the way to a device's workers."""
    if device.ssh is not None:
        return SshTransport(device.ssh, timeout_s=device.start_timeout_s)
    if device.command is not None:
        return CommandTransport(device.command, device.copy, device.folder, timeout_s=device.start_timeout_s)
    return LocalTransport()


class LocalTransport:
    """Workers as subprocesses of this one, with the same Python."""

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files."""
        return Connection([sys.executable, "-u", *map(str, program)])

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Return the paths as they are: files are here already."""
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

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files."""
        return Connection([*self._command, "-u", *self.place(program)])

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

    Nothing is installed there; python, numpy and the runtime must be. Files are named by their content, so that an
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

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files."""
        command = shlex.join([self._ssh.python, "-u", *self.place(program)])
        return Connection(["ssh", *self._options, self._ssh.host, f"exec {command}"])

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
