"""The places where a worker runs, and the ways that it and the models get there."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from onnx_models.external_data import parcel
from profilers.adb import AdbTransport
from profilers.connection import Connection
from profilers.device import Device
from profilers.emulator import boards
from profilers.programs import finish
from profilers.remote_folder import RemoteFolder
from profilers.ways import Ssh


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
    if device.adb is not None:
        return AdbTransport(device.adb, timeout_s=device.start_timeout_s)
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
    """Workers behind a command that runs a program in another place: an emulator's python, a container's.

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
        finish(filled, self._timeout_s)
        return remote


class SshTransport:
    """Workers on a board, by the system's ssh and scp: the user's own configuration, keys and jump hosts.

    Nothing is installed there; the worker's python and its packages must be.
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
        self._folder = RemoteFolder(ssh.folder, run=self._run, copy=self._copy)

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files."""
        command = shlex.join([self._ssh.python, "-u", *self.place(program)])
        return Connection(["ssh", *self._options, self._ssh.host, f"exec {command}"])

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Copy what is not there yet, all at once; a file under its name is whole."""
        return self._folder.place(paths)

    def _copy(self, sources: Sequence[str], target: str, more_s: float) -> None:
        command = ["scp", "-q", "-B", *self._options, *sources, f"{self._ssh.host}:{target}"]
        finish(command, self._timeout_s + more_s)

    def _run(self, line: str) -> str:
        return finish(["ssh", *self._options, self._ssh.host, line], self._timeout_s)
