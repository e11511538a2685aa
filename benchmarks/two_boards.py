"""Wall time of two emulated boards behind one tracker against one of them, measuring the same models.

Needs what emulated boards need (qemu-user, gcc-aarch64-linux-gnu, libc6-dev-arm64-cross), and TVM's tracker, tornado.
One and two boards take turns, compiled modules are in the cache before the first turn.

    python benchmarks/two_boards.py --blocks 24 --rounds 5 --turns 3
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from profilers import Device, Model, Profiler, rpc_supervisor
from profilers.device import find_device
from profilers.emulator import set_up_rpi4
from profilers.ways import Rpc
from search_spaces import SpaceSpec, make_space
from search_spaces.onnx_export import export_block


def main() -> None:
    """Start tracker and boards, take turns, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()

    python, port = str(set_up_rpi4(print)), _free_port()
    board = (python, "-u", rpc_supervisor.__file__, "--tracker", f"127.0.0.1:{port}", "--key", "rpi4")
    tracker = (sys.executable, "-m", "tvm.exec.rpc_tracker", "--host", "127.0.0.1")
    pooled = replace(find_device("rpi4-qemu"), rpc=Rpc(host="127.0.0.1", port=port, tracker=True, key="rpi4", boards=2))
    assert pooled.rpc is not None
    single = replace(pooled, rpc=replace(pooled.rpc, boards=1))
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        models = _models(Path(folder), options.blocks)
        servers.enter_context(_running(*tracker, "--port", str(port), "--port-end", str(port + 1), says="bind to"))
        for _ in range(2):
            servers.enter_context(_running(*board, "--port", str(_free_port()), says="serving on"))
        for device in (single, pooled):
            _seconds(device, models, 1)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.turns):
            for num, device in ((1, single), (2, pooled)):
                seconds[num].append(_seconds(device, models, options.rounds))
    one, two = (statistics.median(seconds[num]) for num in (1, 2))
    print(f"{len(models)} blocks, {options.rounds} rounds, {options.turns} turns")
    print(f"one board  {one:.1f} s: {', '.join(f'{s:.1f}' for s in seconds[1])}")
    print(f"two boards {two:.1f} s: {', '.join(f'{s:.1f}' for s in seconds[2])}; {two / one:.2f} times one board's")


def _models(folder: Path, num: int) -> list[Model]:
    space = make_space(SpaceSpec(name="fbnet-s", input_size=64, num_classes=10))
    blocks = list({b.key: b for b in space.candidates if not b.is_identity}.values())[:num]
    return [Model(key=b.key, path=export_block(b, folder)) for b in blocks]


def _seconds(device: Device, models: Sequence[Model], rounds: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        result = Profiler(device=device, rounds=rounds).measure(models, Path(folder) / "journal")
        seconds = time.monotonic() - started
    if failed := [m for m in result.measurements if m.error is not None]:
        raise SystemExit(f"{failed[0].key}: {failed[0].error}")
    return seconds


@contextmanager
def _running(*command: str, says: str) -> Iterator[None]:
    """A server, from the time it says that it serves."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        if not any(says in line for line in process.stdout):
            raise SystemExit(f"{command[0]} ended before it served")
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
