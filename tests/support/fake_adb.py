"""A program that stands for adb, with a phone that is a folder of this machine; its shell is this machine's.

    phone = FakePhone(tmp_path)       # puts `adb` into phone.programs, which goes first into PATH
    phone.state = "unauthorized"      # what adb says of it from now on
    phone.unplug()                    # ends every connection; until phone.plug_in() adb knows no such phone
    phone.calls()                     # the words of every call so far

As adb's own: words after `shell` are joined with blanks and given to a shell; a program over there gets SIGHUP once the
process here is gone, from a daemon that lives on, so nothing over there ends because its parent did.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

SERIAL = "1A2B3C4D"
UNAUTHORIZED = """\
error: device unauthorized.
This adb server's $ADB_VENDOR_KEYS is not set
Try 'adb kill-server' if that seems wrong.
Otherwise check for a confirmation dialog on your device."""
SAID = {
    "unauthorized": UNAUTHORIZED,
    "offline": "error: device offline",
    "forbidden": "error: insufficient permissions for device: user in plugdev group; are your udev rules wrong?",
    "doubled": "error: more than one device/emulator",
    "steering": "error: \x1b[2J\x1b]0;owned\x07 device said this",
}
"""What adb says instead of obeying, by the phone's state; others are device, gone, recovery, full and hanging."""

LEFT_ALONE_S = 60.0
"""The seconds after which a program that ignores SIGHUP is killed, lest tests leave it behind."""

ENDED_WITHIN_S = 10.0
"""The seconds for which a phone that is taken away waits for its programs, which may ignore SIGHUP."""


class FakePhone:
    """A phone, and the adb that reaches it."""

    def __init__(self, folder: Path, serial: str = SERIAL) -> None:
        self.serial = serial
        self.programs, self.root, self._state = folder / "bin", folder / "phone", folder / "adb"
        for made in (self.programs, self.root / "data/local/tmp", self._state / "served"):
            made.mkdir(parents=True)
        (self._state / "serial").write_text(serial)
        self.state = "device"
        adb = self.programs / "adb"
        adb.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E {__file__} {self._state} {self.root} "$@"\n')
        adb.chmod(adb.stat().st_mode | stat.S_IXUSR)

    @property
    def folder(self) -> str:
        """Where the phone's shell may write."""
        return f"{self.root}/data/local/tmp/hwnas"

    @property
    def state(self) -> str:
        """What adb says of it."""
        return (self._state / "state").read_text()

    @state.setter
    def state(self, value: str) -> None:
        draft = self._state / "draft"
        draft.write_text(value)
        draft.replace(self._state / "state")

    def unplug(self) -> None:
        """Take it away, and its programs with it: one that is slow to end answers nobody any more."""
        self.state = "gone"
        deadline = time.monotonic() + ENDED_WITHIN_S
        while any((self._state / "served").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.005)

    def plug_in(self) -> None:
        """Bring it back, with the files that it had."""
        self.state = "device"

    def calls(self) -> list[list[str]]:
        """What adb was called with, without the choice of a phone."""
        path = self._state / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(state: Path, root: Path, words: list[str]) -> int:
    """Be adb."""
    serial = (state / "serial").read_text()
    if words[0] == "-s":
        asked, words = words[1], words[2:]
    else:
        asked = None
    with (state / "calls").open("a") as calls:
        calls.write(json.dumps(words) + "\n")
    now = (state / "state").read_text()
    if now == "hanging":
        time.sleep(LEFT_ALONE_S)
    if asked not in (None, serial) or now == "gone":
        return _fail("adb: no devices/emulators found" if asked is None else f"adb: device '{asked}' not found")
    if now in SAID:
        return _fail(SAID[now])
    if words == ["get-state"]:
        print("device" if now == "full" else now)
        return 0
    if words[0] == "push":
        return _push(root, words[1:-1], words[-1], is_full=now == "full")
    if words[:2] == ["shell", "-T"]:
        return _shell(state, " ".join(words[2:]))
    return _fail(f"adb: unknown command {words[0]}")


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _push(root: Path, sources: list[str], target: str, *, is_full: bool) -> int:
    """Copy what links lead to; a phone without room keeps half of it."""
    folder = Path(target)
    if not (folder.is_relative_to(root) and folder.is_dir()):
        return _fail(f"adb: error: target '{target}' is not a directory")
    for source in map(Path, sources):
        copy = folder / source.name
        shutil.copyfile(source, copy)
        if is_full:
            os.truncate(copy, source.stat().st_size // 2)
            return _fail(f"adb: error: failed to copy '{source}' to '{copy}': remote No space left on device")
    print(f"{len(sources)} files pushed, 0 skipped.")
    return 0


def _shell(state: Path, line: str) -> int:
    life, held = os.pipe()
    status, told = os.pipe()
    served = state / "served" / str(os.getpid())
    served.touch()
    if os.fork() == 0:
        os.setsid()
        os.close(held)
        os.close(status)
        _serve(state, line, life, told)
        served.unlink()
        os._exit(0)
    os.close(life)
    os.close(told)
    return (os.read(status, 1) or b"\xff")[0]


def _serve(state: Path, line: str, life: int, told: int) -> None:
    """Be adb's daemon on the phone: run a line, and hang up once nobody listens any more."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup ignore it, and what they start; a phone does not
    program = subprocess.Popen(["sh", "-c", line])
    while program.poll() is None:
        if select.select([life], [], [], 0.02)[0] or (state / "state").read_text() == "gone":
            program.send_signal(signal.SIGHUP)
            with contextlib.suppress(BrokenPipeError):
                os.write(told, b"\xff")
            try:
                program.wait(LEFT_ALONE_S)
            except subprocess.TimeoutExpired:
                program.kill()
            return
    os.write(told, bytes([program.returncode & 0xFF]))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
