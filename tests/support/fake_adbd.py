"""A program that stands for adb's daemon on a phone, and that a real adb talks to over TCP.

    with running(tmp_path) as serial:      # adb in PATH is connected to it
        ...

Speaks the protocol of Android's packages/modules/adb (docs/dev/protocol.md, shell_protocol.h, SYNC.TXT) as far as
`adb shell` and `adb push` need it. Its shell and its files are this machine's. A program is sent SIGHUP when its
connection goes, and this process, which started it, lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from boards_here import free_port

VERSION, MAX_DATA = 0x01000001, 1 << 18
BANNER = b"device::ro.product.name=fake;ro.product.model=fake;ro.product.device=fake;features=shell_v2"
TOKEN, PUBLIC_KEY = 1, 3
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


@contextlib.contextmanager
def running(folder: Path, *, is_authorized: bool = True) -> Iterator[str]:
    """Run a daemon, and an adb server of its own that knows it; yield the serial number of the phone."""
    if shutil.which("adb") is None:
        pytest.skip("needs adb: sudo apt-get install adb")
    folder.mkdir()
    serial = f"127.0.0.1:{free_port()}"
    settings = {"HOME": str(folder), "ANDROID_ADB_SERVER_PORT": str(free_port())}
    daemon = subprocess.Popen([sys.executable, "-u", __file__, serial, str(is_authorized)], stdout=subprocess.PIPE)
    with mock.patch.dict(os.environ, settings):
        try:
            assert daemon.stdout is not None and daemon.stdout.readline() == b"ready\n"
            subprocess.run(["adb", "connect", serial], capture_output=True, check=False, timeout=30)
            yield serial
        finally:
            subprocess.run(["adb", "kill-server"], capture_output=True, check=False, timeout=30)
            daemon.kill()
            daemon.wait()
            daemon.stdout.close()


class Link:
    """One connection of an adb server, with its streams."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_authorized: bool) -> None:
        self._reader, self._writer, self._is_authorized = reader, writer, is_authorized
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        """Send one message."""
        number = int.from_bytes(command, "little")
        self._writer.write(
            struct.pack("<6I", number, first, second, len(data), sum(data) & 0xFFFFFFFF, number ^ 0xFFFFFFFF) + data
        )

    async def serve(self) -> None:
        """Answer until the other side goes, and hang up on what runs then."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                number, first, second, length, _, _ = struct.unpack("<6I", await self._reader.readexactly(24))
                self._answer(number.to_bytes(4, "little"), first, second, await self._reader.readexactly(length))
        for stream in self._streams.values():
            stream.received.put_nowait(b"")

    def _answer(self, command: bytes, theirs: int, ours: int, data: bytes) -> None:
        if command in (b"CNXN", b"AUTH") and not self._is_authorized:
            if theirs != PUBLIC_KEY:  # now its owner is asked, who does not answer
                self.send(b"AUTH", TOKEN, 0, bytes(20))
        elif command == b"CNXN":
            self.send(b"CNXN", VERSION, MAX_DATA, BANNER)
        elif command == b"OPEN":
            stream = Stream(self, theirs)
            self._streams[theirs] = stream
            self.send(b"OKAY", theirs, theirs)
            task = asyncio.create_task(stream.run(data.rstrip(b"\0").decode()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif command == b"WRTE":
            self.send(b"OKAY", ours, theirs)
            self._streams[theirs].received.put_nowait(data)
        elif command == b"OKAY":
            self._streams[theirs].may_write.set()
        elif command == b"CLSE" and theirs in self._streams:
            self._streams.pop(theirs).received.put_nowait(b"")


class Stream:
    """What one `adb shell` or `adb push` says and hears; both sides call it by the same number."""

    def __init__(self, link: Link, number: int) -> None:
        self._link, self._number = link, number
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self._turn = asyncio.Lock()
        self._rest = b""

    async def run(self, service: str) -> None:
        """Serve what was asked for."""
        kind, _, line = service.partition(":")
        try:
            if kind == "sync":
                await self._sync()
            elif {"shell", "v2", "raw"} <= {*kind.split(",")}:
                await self._shell(line)
            else:
                raise NotImplementedError(service)
        except (EOFError, ConnectionError):
            return
        self._link.send(b"CLSE", self._number, self._number)

    async def _write(self, data: bytes) -> None:
        async with self._turn:
            await self.may_write.wait()
            self.may_write.clear()
            self._link.send(b"WRTE", self._number, self._number, data)

    async def _read(self, length: int) -> bytes:
        while len(self._rest) < length:
            more = await self.received.get()
            if not more:
                raise EOFError
            self._rest += more
        found, self._rest = self._rest[:length], self._rest[length:]
        return found

    async def _shell(self, line: str) -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", line, stdin=-1, stdout=-1, stderr=-1)
        assert process.stdout and process.stderr
        listening = asyncio.create_task(self._feed(process))
        await asyncio.gather(self._pump(process.stdout, STDOUT), self._pump(process.stderr, STDERR))
        code = await process.wait()
        listening.cancel()
        await self._write(struct.pack("<BIB", EXIT, 1, code & 0xFF))

    async def _pump(self, source: asyncio.StreamReader, kind: int) -> None:
        while data := await source.read(1 << 15):
            await self._write(struct.pack("<BI", kind, len(data)) + data)

    async def _feed(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin
        try:
            while True:
                kind, length = struct.unpack("<BI", await self._read(5))
                data = await self._read(length)
                if kind == STDIN:
                    process.stdin.write(data)
                elif kind == CLOSE_STDIN:
                    process.stdin.close()
        except EOFError:
            process.send_signal(signal.SIGHUP)
            self.may_write.set()

    async def _sync(self) -> None:
        while True:
            command, length = struct.unpack("<4sI", await self._read(8))
            if command == b"QUIT":
                return
            path = (await self._read(length)).decode()
            if command == b"STAT":
                mode = Path(path).stat().st_mode if Path(path).exists() else 0
                await self._write(struct.pack("<4sIII", b"STAT", mode, 0, 0))
            elif command == b"SEND":
                await self._receive_file(Path(path.rpartition(",")[0]))

    async def _receive_file(self, path: Path) -> None:
        content = b""
        while True:
            command, length = struct.unpack("<4sI", await self._read(8))
            if command == b"DONE":
                break
            content += await self._read(length)
        try:
            path.write_bytes(content)
        except OSError as error:
            words = str(error).encode()
            await self._write(struct.pack("<4sI", b"FAIL", len(words)) + words)
        else:
            await self._write(struct.pack("<4sI", b"OKAY", 0))


async def main(serial: str, *, is_authorized: bool) -> None:
    """Listen for adb servers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Link(reader, writer, is_authorized=is_authorized).serve()

    host, _, port = serial.partition(":")
    async with await asyncio.start_server(serve, host, int(port)) as server:
        print("ready")
        await server.serve_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # tests under nohup ignore it, and what they start; a phone does not
    asyncio.run(main(sys.argv[1], is_authorized=sys.argv[2] == "True"))
