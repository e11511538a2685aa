"""The TVM worker: here, and behind an RPC server on loopback that is killed, frozen and crashed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from general_blocks import GENERAL_BLOCKS
from kept_files import DAMAGES, exchange, forge

from profilers import Device, MeasurementError, Model, Profiler, rpc_supervisor
from profilers.ways import Rpc
from profilers.worker_tvm import require_parity
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.mbconv import MBConv
from search_spaces.onnx_export import export_block

pytest.importorskip("tvm", reason="needs apache-tvm")
pytestmark = pytest.mark.slow

LOCAL = Device(name="test", runtime="tvm", target="native", open_timeout_s=20.0, visit_timeout_s=5.0)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Model]:
    """Three small blocks, nothing of them compiled yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    blocks = [
        ConvBnAct(in_channels=4, out_channels=8, input_size=8, kernel=3),
        MBConv(in_channels=8, out_channels=8, input_size=8, kernel=3, expansion=3),
        MBConv(in_channels=8, out_channels=8, input_size=8, kernel=5, expansion=2, act="hswish", se_ratio=0.25),
    ]
    return [Model(key=b.key, path=export_block(b, tmp_path)) for b in blocks]


@contextmanager
def serving(*arguments: str, python: str = sys.executable) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A supervised RPC server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [python, "-u", rpc_supervisor.__file__, "--port", str(port), *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert "serving on 127.0.0.1" in process.stdout.readline()
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def _board(port: int, **changes: object) -> Device:
    fields = {"rpc": Rpc(host="127.0.0.1", port=port), "start_timeout_s": 20.0, **changes}
    return replace(LOCAL, **fields)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_tokens_and_several_inputs_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = [Model(key=b.key, path=export_block(b, tmp_path)) for b in GENERAL_BLOCKS]
    result = Profiler(device=LOCAL, rounds=3).measure(models, tmp_path / "a.journal")
    assert [m.error for m in result.measurements] == [None, None, None]


def test_blocks_are_compiled_once_and_measured_here(models: list[Model], tmp_path: Path) -> None:
    cache = tmp_path_cache()
    result = Profiler(device=LOCAL, rounds=3).measure(models, tmp_path / "a.journal")
    assert [m.num_samples for m in result.measurements] == [3, 3, 3]
    assert result.worker["tvm"] and "llvm" in str(result.worker["target"])
    before = {p: p.stat().st_mtime_ns for p in cache.glob("*.so")}
    assert len(before) == 3
    Profiler(device=LOCAL, rounds=2).measure(models, tmp_path / "b.journal")
    assert {p: p.stat().st_mtime_ns for p in cache.glob("*.so")} == before


def test_damaged_libraries_are_compiled_again(models: list[Model], tmp_path: Path) -> None:
    Profiler(device=LOCAL, rounds=1).measure(models, tmp_path / "a.journal")
    libraries = sorted(tmp_path_cache().glob("*.so"))
    damages = [DAMAGES[name] for name in ("cut in half", "one bit changed", "noise")]
    for damage, library in zip(damages, libraries, strict=True):
        damage(library)
    result = Profiler(device=LOCAL, rounds=2).measure(models, tmp_path / "b.journal")
    assert [m.num_samples for m in result.measurements] == [2, 2, 2]
    exchange(libraries[0], libraries[1])
    result = Profiler(device=LOCAL, rounds=2).measure(models, tmp_path / "c.journal")
    assert [m.num_samples for m in result.measurements] == [2, 2, 2]
    assert sorted(tmp_path_cache().glob("*.so")) == libraries


def tmp_path_cache() -> Path:
    """Where compiled libraries are kept."""
    return Path(os.environ["XDG_CACHE_HOME"]) / "hwnas" / "tvm"


def test_a_board_over_rpc_survives_its_server_killed_mid_run(models: list[Model], tmp_path: Path) -> None:
    killed = []
    with serving() as (port, supervisor):

        def kill_once(phase: str, done: int, _total: int) -> None:
            if phase == "round" and done == 2 and not killed:
                killed.extend(_children(supervisor.pid))
                os.killpg(killed[0], signal.SIGKILL)

        profiler = Profiler(device=_board(port), rounds=5, on_progress=kill_once)
        result = profiler.measure(models, tmp_path / "t.journal")
    assert killed
    assert [m.num_samples for m in result.measurements] == [5, 5, 5]


def test_a_frozen_server_is_started_again(models: list[Model], tmp_path: Path) -> None:
    frozen = []
    with serving() as (port, supervisor):

        def freeze_once(phase: str, done: int, _total: int) -> None:
            if phase == "round" and done == 2 and not frozen:
                (server,) = _children(supervisor.pid)
                frozen.extend([server, *_children(server)])
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)

        started = time.monotonic()
        profiler = Profiler(device=_board(port, visit_timeout_s=3.0), rounds=4, on_progress=freeze_once)
        result = profiler.measure(models, tmp_path / "t.journal")
    assert frozen
    assert [m.num_samples for m in result.measurements] == [4, 4, 4]
    assert time.monotonic() - started < 90


def test_a_wrong_key_is_an_error_in_time(models: list[Model], tmp_path: Path) -> None:
    with serving("--key", "rpi4") as (port, _):
        device = _board(port, rpc=Rpc(host="127.0.0.1", port=port, key="jetson"), start_timeout_s=15.0)
        started = time.monotonic()
        with pytest.raises(MeasurementError, match=r"cannot start a worker for test: .*hwnas device serve"):
            Profiler(device=device, rounds=2).measure(models, tmp_path / "t.journal")
    assert time.monotonic() - started < 30


def _library(source: str, folder: Path) -> bytes:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / "bad.c").write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(folder / "bad.so"), str(folder / "bad.c")], check=True)
    return (folder / "bad.so").read_bytes()


BAD = {
    "crashes": ("__attribute__((constructor)) static void f(void) { *(volatile int *)0 = 1; }", "while opening"),
    "runs forever": ("__attribute__((constructor)) static void f(void) { for (;;) ; }", "no answer within"),
    "is no library": (None, "Error"),
}


@pytest.mark.parametrize("is_remote", [False, True], ids=["here", "board"])
def test_bad_blocks_cost_an_entry_each(models: list[Model], tmp_path: Path, is_remote: bool) -> None:
    bad = [*BAD.values()]
    for number, model in enumerate(models):
        Profiler(device=LOCAL, rounds=1).measure([model], tmp_path / f"{number}.journal")
    good = ConvBnAct(in_channels=2, out_channels=4, input_size=8, kernel=3)
    libraries = sorted(tmp_path_cache().glob("*.so"), key=lambda p: p.stat().st_mtime_ns)
    for library, (source, _) in zip(libraries, bad, strict=True):
        forge(library, b"no library" if source is None else _library(source, tmp_path))
    models = [*models, Model(key=good.key, path=export_block(good, tmp_path))]
    with serving() as (port, _):
        device = _board(port, open_timeout_s=8.0) if is_remote else replace(LOCAL, open_timeout_s=8.0)
        result = Profiler(device=device, rounds=2).measure(models, tmp_path / "t.journal")
    *failed, last = result.measurements
    for measurement, (_, words) in zip(failed, bad, strict=True):
        assert measurement.error is not None and words in measurement.error
    assert last.num_samples == 2


def test_a_full_disk_costs_the_blocks_that_do_not_fit(
    models: list[Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=220k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a small file system here")
    try:
        large = MBConv(in_channels=64, out_channels=64, input_size=4, kernel=3, expansion=6)
        blocks = [*models[:2], Model(key=large.key, path=export_block(large, tmp_path))]
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
        result = Profiler(device=LOCAL, rounds=2).measure(blocks, tmp_path / "t.journal")
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert [m.num_samples for m in result.measurements] == [2, 2, 0]
    assert result.measurements[2].error is not None


def test_parity_is_demanded() -> None:
    values = np.linspace(-50, 50, 20, dtype=np.float32)
    require_parity(values + 1e-3, values)
    with pytest.raises(ValueError, match=r"differs from ONNX Runtime's by 0\.01"):
        require_parity(values + 1e-2, values)
    with pytest.raises(ValueError, match="differs"):
        require_parity(np.full(20, np.nan, dtype=np.float32), values)
    with pytest.raises(ValueError, match="shape"):
        require_parity(values[1:], values)
    quantized = np.arange(20, dtype=np.uint8)
    require_parity(quantized + 1, quantized)
    with pytest.raises(ValueError, match="differs"):
        require_parity(quantized + 2, quantized)


def test_the_newer_ffi_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    import tvm_ffi

    from profilers.worker_tvm import start

    monkeypatch.setattr(tvm_ffi, "__version__", "0.1.15")
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    command = {"threads": 1, "cores": None, "options": {"target": "native", "cache": "x", "rpc": {"host": "h"}}}
    worker, answer = start(command)
    assert worker is None
    assert "install apache-tvm-ffi==0.1.14.post0" in str(answer["message"])
