"""Workers on a phone, by the system's adb."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from profilers.connection import Connection
from profilers.errors import WorkerLostError
from profilers.programs import completed, finish
from profilers.quoting import printable
from profilers.remote_folder import RemoteFolder
from profilers.ways import Adb

READY = "device"
"""The state of a phone that takes commands; others are offline, unauthorized, recovery, bootloader and sideload."""

REMEDIES: Mapping[str, str] = {
    "authoriz": "unlock it and allow this computer on its screen; adb kill-server makes it ask again",
    "permissions": "this user may not open it: sudo apt-get install android-sdk-platform-tools-common, plug it again",
    "offline": "plug it in again, or: adb reconnect",
    "more than one": "say which in the devices file, adb: {serial: ...}; adb devices lists them",
    "not found": "plug it in with USB debugging on, or adb connect HOST:PORT; adb devices lists what is there",
    "no devices": "plug it in with USB debugging on, or adb connect HOST:PORT; adb devices lists what is there",
}
"""What to do, by the words with which adb tells what is wrong."""

USUAL_REMEDY = "adb devices must list it as: device"


class AdbTransport:
    """Workers on what adb reaches: files go there by `adb push`, and `adb shell` runs commands.

    Nothing is installed there; the worker's python and its packages must be. Needs Android 7 or later: from then on
    `adb shell` keeps standard error apart, passes every byte on, gives back exit codes, and ends the program over there
    with SIGHUP when its own end here is killed.
    """

    def __init__(self, adb: Adb, *, timeout_s: float) -> None:
        self._python = adb.python
        self._program = ["adb", *([] if adb.serial is None else ["-s", adb.serial])]
        self._timeout_s = timeout_s
        self._folder = RemoteFolder(adb.folder, run=self._run, copy=self._push)

    def start(self, program: Sequence[Path]) -> Connection:
        """Start a fresh worker process of those files."""
        command = shlex.join([self._python, "-u", *self.place(program)])
        # In place of the shell: adb's daemon signals the process that it started and no other.
        return Connection(self._shell(f"exec {command}"))

    def place(self, paths: Sequence[Path]) -> list[str]:
        """Copy what is not there yet, all at once; a file under its name is whole."""
        self._require_ready()
        return self._folder.place(paths)

    def _require_ready(self) -> None:
        """Raise WorkerLostError, with what to do, unless the phone takes commands."""
        try:
            done = completed([*self._program, "get-state"], self._timeout_s)
        except WorkerLostError as error:
            missing = isinstance(error.__cause__, FileNotFoundError)
            install = "; install Android's platform tools: sudo apt-get install adb" if missing else ""
            raise WorkerLostError(f"{error}{install}") from error
        if done.returncode == 0 and done.stdout.strip() == READY:
            return
        said = [line for line in (done.stderr + done.stdout).splitlines() if line and not line.startswith("*")]
        words = printable(said[0] if said else f"exit code {done.returncode}")
        remedy = next((remedy for known, remedy in REMEDIES.items() if known in words), USUAL_REMEDY)
        raise WorkerLostError(f"adb get-state: expected {READY!r}, found {words!r}; {remedy}")

    def _shell(self, line: str) -> list[str]:
        """Return the command that gives the phone's shell one line: adb joins words with blanks and quotes none."""
        return [*self._program, "shell", "-T", line]

    def _run(self, line: str) -> str:
        return finish(self._shell(line), self._timeout_s)

    def _push(self, sources: Sequence[str], target: str, more_s: float) -> None:
        finish([*self._program, "push", *sources, target], self._timeout_s + more_s)
