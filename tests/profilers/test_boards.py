"""Boards: over a real OpenSSH server, behind commands, emulated under QEMU, pooled by a tracker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from boards_here import free_port
from command_line import run_cli
from kept_files import forge

from lut import load_table
from profilers import Device, MeasurementError, Model, Profiler
from profilers.device import find_device
from profilers.emulator import set_up_rpi4
from profilers.ways import Rpc, Ssh
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.mbconv import MBConv
from search_spaces.onnx_export import export_block


def _models(folder: Path, num: int = 4) -> list[Model]:
    blocks = [MBConv(in_channels=8, out_channels=8, input_size=8, kernel=3, expansion=e) for e in range(1, num)] + [
        ConvBnAct(in_channels=4, out_channels=8, input_size=8, kernel=3)
    ]
    return [Model(key=b.key, path=export_block(b, folder)) for b in blocks]


def test_what_a_board_lacks_is_named(ssh_device: Device, tmp_path: Path) -> None:
    assert ssh_device.ssh is not None
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    device = replace(ssh_device, ssh=replace(ssh_device.ssh, python=str(bare / "bin/python")))
    with pytest.raises(MeasurementError, match=r"No module named 'numpy'.*pip install numpy onnxruntime"):
        Profiler(device=device, rounds=2).measure(_models(tmp_path), tmp_path / "t.journal")
    absent = replace(ssh_device, ssh=Ssh(host="nowhere.invalid"))
    started = time.monotonic()
    with pytest.raises(MeasurementError, match=r"cannot reach board.*try: ssh nowhere\.invalid"):
        Profiler(device=absent).require_reachable()
    assert time.monotonic() - started < 20


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = Device(name="phone", runtime="onnxruntime", command=("no-such-program",))
    with pytest.raises(MeasurementError, match="cannot run no-such-program"):
        Profiler(device=absent, rounds=2).measure(_models(tmp_path), tmp_path / "u.journal")


@pytest.fixture(scope="session")
def emulated_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The python of the emulated board; set up once, in the user's cache."""
    if shutil.which("qemu-aarch64") is None or shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("needs qemu-user and gcc-aarch64-linux-gnu")
    pytest.importorskip("tvm", reason="needs apache-tvm")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    try:
        return str(set_up_rpi4())
    finally:
        patch.undo()


@contextmanager
def _running(*command: str, says: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if says in line:
                break
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


@pytest.mark.slow
def test_emulated_board_with_onnxruntime_computes_what_this_machine_computes(
    emulated_python: str, tmp_path: Path
) -> None:
    device = find_device("rpi4-qemu-ort")
    result = Profiler(device=device, rounds=2).measure(_models(tmp_path), tmp_path / "t.journal")
    assert all(m.num_samples == 2 for m in result.measurements)
    assert result.worker["machine"] == "aarch64"


@pytest.mark.slow
def test_emulated_board_runs_cross_compiled_code(emulated_python: str, tmp_path: Path) -> None:
    from profilers import rpc_supervisor

    port = free_port()
    device = replace(find_device("rpi4-qemu"), rpc=Rpc(host="127.0.0.1", port=port))
    models = _models(tmp_path)
    arguments = (emulated_python, "-u", rpc_supervisor.__file__, "--port", str(port))
    with _running(*arguments, says="serving on"):
        result = Profiler(device=device, rounds=2).measure(models, tmp_path / "t.journal")
        assert all(m.num_samples == 2 for m in result.measurements)
        # A library for this processor must not run there, and must not end the others.
        cache = Path(os.environ["XDG_CACHE_HOME"]) / "hwnas" / "tvm"
        arm = {p for p in cache.glob("*.so") if b"\xb7\x00" in p.read_bytes()[18:20]}
        foreign = min(arm, key=lambda p: p.stat().st_mtime_ns)
        content = foreign.read_bytes()
        try:
            forge(foreign, Path(shutil.which("ls") or "/bin/ls").read_bytes())
            again = Profiler(device=device, rounds=2).measure(models, tmp_path / "u.journal")
        finally:
            forge(foreign, content)
    assert sorted(m.num_samples for m in again.measurements) == [0, 2, 2, 2]


@pytest.mark.slow
def test_two_emulated_boards_share_a_space(emulated_python: str, tmp_path: Path) -> None:
    from profilers import rpc_supervisor

    pytest.importorskip("tornado", reason="TVM's tracker needs tornado")
    port, boards = free_port(), [free_port(), free_port()]
    tracker = (sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1")
    tracker += ("--port", str(port), "--port-end", str(port + 1))
    board = (emulated_python, "-u", rpc_supervisor.__file__, "--tracker", f"127.0.0.1:{port}", "--key", "rpi4")
    models = _models(tmp_path, 12)
    device = replace(find_device("rpi4-qemu"), rpc=Rpc(host="127.0.0.1", port=port, tracker=True, key="rpi4", boards=2))
    with (
        _running(*tracker, says="bind to"),
        _running(*board, "--port", str(boards[0]), says="serving on"),
        _running(*board, "--port", str(boards[1]), says="serving on"),
    ):
        result = Profiler(device=device, rounds=3).measure(models, tmp_path / "t.journal")
        wrong = replace(device, rpc=replace(device.rpc, key="jetson", boards=1), start_timeout_s=15.0)
        with pytest.raises(MeasurementError, match=r"no board under key 'jetson' at the tracker; boards there: rpi4"):
            Profiler(device=wrong, rounds=2).measure(models, tmp_path / "u.journal")
    assert [m.key for m in result.measurements] == [m.key for m in models]
    samples = [m.num_samples for m in result.measurements]
    assert set(samples) == {3, 6}  # anchors by both boards, every other block by one
    assert samples.count(3) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["tvm", "onnxruntime"])
def test_the_profile_command_makes_a_table_of_an_emulated_board(
    runtime: str, emulated_python: str, tmp_path: Path
) -> None:
    """End to end: cross-compiled or copied, run as aarch64 code, equal to this machine's, marked, refused by search."""
    from profilers import rpc_supervisor

    port = free_port()
    way = f"command: [{emulated_python}]"
    if runtime == "tvm":
        way = f"rpc: {{host: 127.0.0.1, port: {port}}}, target: raspberry-pi/4b-aarch64"
        way += ", cross_compiler: aarch64-linux-gnu-gcc"
    limits = "open_timeout_s: 60, visit_timeout_s: 60"
    (tmp_path / "devices.yaml").write_text(f"board: {{runtime: {runtime}, emulated: true, {way}, {limits}}}\n")
    board = ("--device", "board", "--devices", tmp_path / "devices.yaml")
    flags = ("--space", "nasbench-macro", "--input-size", 8, "--channels", 1, "--width", 0.25, "--networks", 0)
    serving = _running(emulated_python, "-u", rpc_supervisor.__file__, "--port", str(port), says="serving on")
    with serving if runtime == "tvm" else nullcontext():
        outcome = run_cli("profile", *flags, *board, "--rounds", 2, "-o", tmp_path / "t.json", "--quiet")
    assert outcome.code == 0, outcome.err
    table = load_table(tmp_path / "t.json")
    assert table.provenance.is_emulated and len(table.entries) == 17
    assert all(entry.error is None for entry in table.entries)
    search = ("search", "--width", 0.25, "--lut", tmp_path / "t.json", "--max-latency", "60%")
    refused = run_cli(*search, *board, "--out", tmp_path / "run")
    assert refused.code == 2 and "made under an emulator" in refused.err and "--accept-table" in refused.err
