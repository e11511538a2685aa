"""What every way to a worker keeps: the same tests run here, behind commands, over ssh and over adb."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import fake_adbd
import hostile_worker
import pytest
from boards_here import ssh_of
from fake_adb import FakePhone
from small_models import save_chain

from profilers import Device, MeasurementError, Model, Profiler
from profilers.check import check_device
from profilers.connection import Connection
from profilers.transport import Transport, transport_for
from profilers.ways import Adb
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.onnx_export import export_block

ODD = 'it\'s a $(touch owned) `touch owned`; "folder" & \\ * é'
"""A name that a shell reads as something else unless it is quoted."""

TALKER = """
import ctypes, json, os, sys, time
ctypes.CDLL(None).prctl(1, 9)
for line in sys.stdin.buffer:
    command = json.loads(line)
    if command["say"] == "bytes":
        sys.stdout.buffer.write(bytes(b for b in range(256) if b != 10) + b"\\n")
    elif command["say"] == "back":
        sys.stdout.buffer.write(line)
    else:
        sys.stdout.buffer.write(str(os.getpid()).encode() + b"\\n")
        sys.stdout.buffer.flush()
        while command["say"] == "nothing more":
            time.sleep(0.01)
    sys.stdout.buffer.flush()
"""


@dataclass(frozen=True)
class Place:
    """A device, and where its files come to lie; None where they stay where they are."""

    device: Device
    folder: Path | None


ELSEWHERE = ("copied", "ssh", "adb", "real adb")
WAYS = ("here", "command", *ELSEWHERE)


def _device(**fields: object) -> Device:
    return Device(name="board", runtime="onnxruntime", start_timeout_s=15.0, **fields)  # type: ignore[arg-type]


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    """A phone whose adb comes first."""
    made = FakePhone(tmp_path / "usb")
    monkeypatch.setenv("PATH", f"{made.programs}{os.pathsep}{os.environ['PATH']}")
    return made


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The way that a test names, or all of them in turn."""
    way = request.param
    python: Path = request.getfixturevalue("board_python")
    if way == "here":
        yield Place(_device(), None)
    elif way == "command":
        yield Place(_device(command=("env", "BOARD=1", str(python))), None)
    elif way == "copied":
        (tmp_path / ODD).mkdir()
        copy = ("cp", "{local}", "{remote}")
        yield Place(_device(command=(str(python),), copy=copy, folder=str(tmp_path / ODD)), tmp_path / ODD)
    elif way == "ssh":
        options = request.getfixturevalue("ssh_options")
        yield Place(_device(ssh=ssh_of(options, _oddly_called(python, tmp_path), tmp_path / ODD)), tmp_path / ODD)
    elif way == "real adb":
        with fake_adbd.running(tmp_path / "adb") as serial:
            adb = Adb(serial=serial, python=str(_oddly_called(python, tmp_path)), folder=str(tmp_path / ODD))
            yield Place(_device(adb=adb), tmp_path / ODD)
    else:
        phone: FakePhone = request.getfixturevalue("phone")
        folder = f"{phone.folder} {ODD}"
        adb = Adb(serial=phone.serial, python=str(_oddly_called(python, tmp_path)), folder=folder)
        yield Place(_device(adb=adb), Path(folder))


def _oddly_called(python: Path, folder: Path) -> Path:
    program = folder / f"{ODD.replace('/', '')} python"
    program.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    program.chmod(0o755)
    return program


def _ways(*names: str, slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    marked = [pytest.param(name, marks=pytest.mark.slow if name in slow else ()) for name in names]
    return pytest.mark.parametrize("place", marked, indirect=True)


def _talker(folder: Path) -> Path:
    (folder / "talker.py").write_text(TALKER)
    return folder / "talker.py"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Two blocks, and a model with a file of weights."""
    folder = tmp_path_factory.mktemp("models")
    blocks = [ConvBnAct(in_channels=4, out_channels=4 * i, input_size=8, kernel=3) for i in (1, 2)]
    (folder / "model").mkdir()
    weights = save_chain(folder / "model" / "m.onnx", (1, 8), location="weights of m.bin")
    return [*(Model(key=b.key, path=export_block(b, folder)) for b in blocks), Model(key="m", path=weights)]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 20
    while _is_alive(pid):
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.02)


@_ways("command", "adb")
def test_a_device_is_checked(place: Place, models: list[Model]) -> None:
    assert all(finding.is_good for finding in check_device(place.device, models[0].path))


@_ways(*WAYS)
def test_every_byte_goes_through_and_a_worker_ends_with_its_input(place: Place, tmp_path: Path) -> None:
    with transport_for(place.device).start([_talker(tmp_path)]) as connection:
        connection.send({"say": "bytes"})
        assert connection.receive(15.0) == bytes(byte for byte in range(256) if byte != 10)
        long = {"say": "back", "text": "é\r\x03\x04" * 100_000}
        connection.send(long)
        assert json.loads(connection.receive(15.0)) == long
        connection.send({"say": "pid"})
        pid = int(connection.receive(15.0))
        connection._input.close()
        _wait_for_end(pid)


@_ways(*WAYS)
def test_killing_a_connection_ends_the_worker_there_even_while_it_hangs(place: Place, tmp_path: Path) -> None:
    with transport_for(place.device).start([_talker(tmp_path)]) as connection:
        connection.send({"say": "nothing more"})
        pid = int(connection.receive(15.0))
        assert _is_alive(pid)
    _wait_for_end(pid)


@_ways("copied", "ssh", "adb")
def test_files_are_copied_once(place: Place, models: list[Model]) -> None:
    paths = [model.path for model in models]
    transport = transport_for(place.device)
    placed = transport.place(paths)
    written = {path: Path(path).stat().st_mtime_ns for path in placed}
    assert [Path(path).parent for path in placed] == [place.folder] * len(paths)
    again = transport if place.device.command else transport_for(place.device)
    assert again.place(paths) == placed and again.place(paths[:1]) == placed[:1]
    assert {path: Path(path).stat().st_mtime_ns for path in placed} == written


class _Watched:
    """A transport that keeps its connections in sight."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.connections: list[Connection] = []

    def start(self, program: Sequence[Path]) -> Connection:
        self.connections.append(self._transport.start(program))
        return self.connections[-1]

    def place(self, paths: Sequence[Path]) -> list[str]:
        return self._transport.place(paths)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost devices are sought again at once."""
    monkeypatch.setattr("profilers.session.RECONNECT_S", (0.1, 0.1, 0.1))


@_ways(*WAYS)
def test_models_are_measured_though_the_connection_drops(
    place: Place, models: list[Model], at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    watched = _Watched(transport_for(place.device))
    dropped: list[int] = []

    def drop_once(phase: str, done: int, _total: int) -> None:
        if phase == "round" and done == 4 and not dropped:
            dropped.append(watched.connections[-1].pid)
            os.kill(dropped[0], 9)

    profiler = Profiler(device=place.device, rounds=8, on_progress=drop_once, transport=watched)
    profiler.require_reachable()
    result = profiler.measure(models, tmp_path / "t.journal")
    assert dropped and len(watched.connections) == 2
    assert [(m.key, m.num_samples, m.error) for m in result.measurements] == [(m.key, 8, None) for m in models]
    if place.folder is not None:
        there = [path for path in place.folder.iterdir() if path.is_file()]
        assert {path.suffix for path in there} == {".py", ".onnx", ".bin"}
        assert not any(path.name == "owned" for path in tmp_path.rglob("*"))


HOSTILE = {
    "hangs": ("visit", "time.sleep(600)", "no answer within 0.6 s"),
    "crashes": ("visit", "os.kill(os.getpid(), 11)", "the worker ended"),
    "ends with a word": ("open", "os.write(2, b'no \\x1b[31mluck\\n'); os._exit(3)", r"exit code 3): no [31mluck"),
    "says a line without end": ("open", "forever('x' * 65536)", "expected a line of at most"),
    "complains without end": ("open", "while True: os.write(2, b'x' * 65536)", "no answer within 0.6 s"),
    "says no text": ("open", r"raw(b'\xff\xfe\x00\n')", "found"),
    "says two answers": ("open", r"say(good, '\n' + json.dumps(good) + '\n')", "nobody asked"),
}


OFTEN = ("hangs", "ends with a word")
"""What the default suite tries; tests of hostile workers here try all of them and more."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in OFTEN else pytest.mark.slow) for n in HOSTILE])
@_ways(*ELSEWHERE, slow=("copied", "ssh", "real adb"))
def test_a_model_that_ends_or_confuses_its_worker_fails_alone(place: Place, name: str, tmp_path: Path) -> None:
    at, code, words = HOSTILE[name]
    worker = tmp_path / "hostile.py"
    worker.write_text(
        f"import runpy, sys\nsys.argv[1:] = {[at, '1', code]!r}\n"
        f"runpy.run_path({hostile_worker.__file__!r}, run_name='__main__')\n"
    )
    models = []
    for key in "abc":
        (tmp_path / key).write_bytes(key.encode())
        models.append(Model(key=key, path=tmp_path / key))
    device = replace(place.device, runtime=str(worker), open_timeout_s=0.6, visit_timeout_s=0.6)
    result = Profiler(device=device, rounds=2).measure(models, tmp_path / "j")
    assert [m.num_samples for m in result.measurements] == [2, 0, 2]
    assert words in str(result.measurements[1].error) and str(result.measurements[1].error).isprintable()


ADB_SAYS = {
    "unauthorized": r"device unauthorized.*; unlock it and allow this computer on its screen",
    "offline": "device offline.*; plug it in again",
    "forbidden": "insufficient permissions.*; this user may not open it: sudo apt-get install",
    "doubled": r"more than one device.*; say which in the devices file, adb: \{serial: ",
    "gone": "device '1A2B3C4D' not found.*; plug it in with USB debugging on",
    "recovery": "expected 'device', found 'recovery'; adb devices must list it",
    "steering": r"found 'error: \[2J \]0;owned device said this'",
    "full": "adb failed: .*No space left on device",
    "hanging": "adb did not end within 1 s",
}


@pytest.mark.parametrize(("state", "words"), ADB_SAYS.items(), ids=ADB_SAYS)
def test_what_keeps_adb_from_a_phone_is_said_with_what_to_do(
    state: str, words: str, phone: FakePhone, tmp_path: Path
) -> None:
    device = replace(_device(adb=Adb(serial=phone.serial, folder=phone.folder)), start_timeout_s=1.0)
    phone.state = state
    started = time.monotonic()
    with pytest.raises(MeasurementError, match=f"cannot reach board: .*{words}.*try: adb -s 1A2B3C4D shell") as caught:
        Profiler(device=device).require_reachable()
    assert str(caught.value).isprintable() and "hwnas docs boards" in str(caught.value)
    assert time.monotonic() - started < 20
    phone.state = "device"
    (path,) = transport_for(device).place([_talker(tmp_path)])
    assert Path(path).read_text() == TALKER  # what was copied halfway is copied again


def test_an_adb_that_the_phone_does_not_trust_says_what_to_do(tmp_path: Path) -> None:
    with (
        fake_adbd.running(tmp_path / "adb", is_authorized=False) as serial,
        pytest.raises(
            MeasurementError, match=r"(un|still )authoriz.*; unlock it and allow this computer on its screen"
        ),
    ):
        Profiler(device=_device(adb=Adb(serial=serial, folder=str(tmp_path / "phone")))).require_reachable()


def test_the_only_phone_needs_no_serial_number(phone: FakePhone, tmp_path: Path) -> None:
    transport = transport_for(_device(adb=Adb(python=sys.executable, folder=phone.folder)))
    with transport.start([_talker(tmp_path)]) as connection:
        connection.send({"say": "bytes"})
        assert len(connection.receive(15.0)) == 255
    assert {words[0] for words in phone.calls()} == {"get-state", "push", "shell"}


def test_without_adb_it_is_said_where_it_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MeasurementError, match=r"cannot run adb: No such file.*; install .*: sudo apt-get install adb"):
        Profiler(device=_device(adb=Adb())).require_reachable()


def test_a_python_that_the_phone_may_not_run_is_named(
    phone: FakePhone, models: list[Model], at_once: None, tmp_path: Path
) -> None:
    device = _device(adb=Adb(python=f"{phone.root}/data/data/termux/python3", folder=phone.folder))
    words = r"cannot start a worker for board: .*/python3: not found; try: adb shell '.*--version'; its python needs"
    with pytest.raises(MeasurementError, match=words):
        Profiler(device=device).measure(models, tmp_path / "j")


def test_a_phone_that_goes_away_costs_the_round(
    phone: FakePhone, models: list[Model], board_python: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone: list[float] = []

    def leave_once(phase: str, done: int, _total: int) -> None:
        if phase == "round" and done == 4 and not gone:
            gone.append(time.monotonic())
            phone.unplug()

    def come_back(_pause_s: float) -> None:
        phone.plug_in()

    monkeypatch.setattr("profilers.session.sleep", come_back)
    device = _device(adb=Adb(serial=phone.serial, python=str(board_python), folder=phone.folder))
    result = Profiler(device=device, rounds=8, on_progress=leave_once).measure(models, tmp_path / "t.journal")
    assert gone
    assert [(m.key, m.num_samples) for m in result.measurements] == [(m.key, 8) for m in models]


def test_a_phone_that_stays_away_ends_the_work_which_continues_later(
    phone: FakePhone, models: list[Model], board_python: Path, at_once: None, tmp_path: Path
) -> None:
    device = _device(adb=Adb(serial=phone.serial, python=str(board_python), folder=phone.folder))

    def leave(phase: str, done: int, _total: int) -> None:
        if phase == "round" and done == 4:
            phone.unplug()

    with pytest.raises(MeasurementError, match=r"lost 3 workers in a row on board: .*'1A2B3C4D' not found.*; plug it"):
        Profiler(device=device, rounds=8, on_progress=leave).measure(models, tmp_path / "t.journal")
    phone.plug_in()
    result = Profiler(device=device, rounds=8).measure(models, tmp_path / "t.journal")
    assert [m.num_samples for m in result.measurements] == [8] * len(models)
