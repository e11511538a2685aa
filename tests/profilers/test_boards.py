"""Boards: over a real OpenSSH server, behind commands, emulated under QEMU, pooled by a tracker."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import run_cli
from kept_files import forge
from small_models import save_chain

from lut import load_table
from profilers import Device, MeasurementError, Model, Profiler
from profilers.check import check_device
from profilers.device import Rpc, Ssh, find_device
from profilers.emulator import set_up_rpi4
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.mbconv import MBConv
from search_spaces.onnx_export import export_block


def _models(folder: Path, num: int = 4) -> list[Model]:
    blocks = [MBConv(in_channels=8, out_channels=8, input_size=8, kernel=3, expansion=e) for e in range(1, num)] + [
        ConvBnAct(in_channels=4, out_channels=8, input_size=8, kernel=3)
    ]
    return [Model(key=b.key, path=export_block(b, folder)) for b in blocks]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ssh_device(tmp_path: Path) -> Iterator[Device]:
    """A device behind an OpenSSH server on loopback, whose python is another than this one."""
    sshd, keygen = shutil.which("sshd") or "/usr/sbin/sshd", shutil.which("ssh-keygen")
    if not Path(sshd).exists() or keygen is None or shutil.which("scp") is None:
        pytest.skip("needs openssh-server and openssh-client")
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    shutil.copy(folder / "user.pub", folder / "authorized")
    (folder / "authorized").chmod(0o600)
    Path("/run/sshd").mkdir(exist_ok=True)
    port = _free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
        f"Subsystem sftp internal-sftp\n"
    )
    board = tmp_path / "board"
    environment = tmp_path / "python"
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(environment)], check=True)
    _share_packages(environment)
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "config")], stderr=subprocess.DEVNULL)
    options = (
        *("-o", f"Port={port}", "-o", f"IdentityFile={folder}/user", "-o", "IdentitiesOnly=yes"),
        *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={folder}/known", "-o", "LogLevel=ERROR"),
        *("-o", f"User={getpass.getuser()}"),
    )
    try:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield Device(
            name="board",
            runtime="onnxruntime",
            ssh=Ssh(host="127.0.0.1", python=str(environment / "bin/python"), folder=str(board), options=options),
            start_timeout_s=15.0,
        )
    finally:
        server.terminate()
        server.wait(10)


def _share_packages(environment: Path) -> None:
    """Let an environment see numpy and onnxruntime of this one, and nothing else of it."""
    import numpy
    import onnxruntime

    (site,) = environment.glob("lib/python*/site-packages")
    for package in (numpy, onnxruntime):
        source = Path(package.__file__).parent
        (site / source.name).symlink_to(source)
    libraries = Path(numpy.__file__).parent.parent / "numpy.libs"
    if libraries.exists():
        (site / "numpy.libs").symlink_to(libraries)


def test_a_board_over_ssh_is_measured_with_its_own_python(ssh_device: Device, tmp_path: Path) -> None:
    models = _models(tmp_path)
    result = Profiler(device=ssh_device, rounds=3).measure(models, tmp_path / "t.journal")
    assert [m.num_samples for m in result.measurements] == [3] * len(models)
    assert ssh_device.ssh is not None
    there = {p.suffix for p in Path(ssh_device.ssh.folder).iterdir() if p.is_file()}
    assert there == {".py", ".onnx"}
    (tmp_path / "model").mkdir()
    path = save_chain(tmp_path / "model" / "m.onnx", (1, 8), location="weights of m.bin")
    result = Profiler(device=ssh_device, rounds=2).measure([Model(key="m", path=path)], tmp_path / "m.journal")
    assert [m.num_samples for m in result.measurements] == [2]
    findings = list(check_device(ssh_device, models[0].path))
    assert all(f.is_good for f in findings)
    assert findings[-1].step == "run one block"


def test_a_dropped_connection_resumes_and_ends_with_the_same_keys(ssh_device: Device, tmp_path: Path) -> None:
    models, dropped = _models(tmp_path), []

    def drop_once(phase: str, done: int, _total: int) -> None:
        if phase == "round" and done == 4 and not dropped:
            found = subprocess.run(["pgrep", "-f", f"ssh .*{tmp_path}"], capture_output=True, text=True, check=True)
            dropped.extend(int(pid) for pid in found.stdout.split())
            for pid in dropped:
                os.kill(pid, 9)

    result = Profiler(device=ssh_device, rounds=8, on_progress=drop_once).measure(models, tmp_path / "t.journal")
    assert dropped
    assert [(m.key, m.num_samples) for m in result.measurements] == [(m.key, 8) for m in models]


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


def test_a_device_behind_a_command_gets_files_copied(tmp_path: Path) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    device = Device(
        name="phone",
        runtime="onnxruntime",
        command=("env", "BOARD=1", sys.executable),
        copy=("cp", "{local}", "{remote}"),
        folder=str(copies),
    )
    models = _models(tmp_path)
    result = Profiler(device=device, rounds=2).measure(models, tmp_path / "t.journal")
    assert [m.num_samples for m in result.measurements] == [2] * len(models)
    assert sorted(p.suffix for p in copies.iterdir()) == [".onnx"] * len(models) + [".py"] * 3
    absent = replace(device, command=("no-such-program",))
    with pytest.raises(MeasurementError, match="cannot run no-such-program"):
        Profiler(device=absent, rounds=2).measure(models, tmp_path / "u.journal")


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

    port = _free_port()
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
    port, boards = _free_port(), [_free_port(), _free_port()]
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

    port = _free_port()
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
