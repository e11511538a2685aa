"""Simulated machines can be reached as devices, and do what tests tell them to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from samples import small_spec
from simulated_machine import ZEN1, from_json, random_machine, to_json
from simulated_onnx import onnx_layers
from simulated_table import block_layers, network_layers
from simulated_worker import SimulatedDevice, write_devices

from lut import load_table
from profilers import Model, Profiler
from profilers.device import find_device
from profilers.slowdown import slowdown
from search_spaces import make_space
from search_spaces.onnx_export import export_block, export_network

SPACE = make_space(small_spec("nasbench-macro"))


@pytest.fixture
def sim(tmp_path: Path) -> SimulatedDevice:
    return write_devices(tmp_path / "devices.yaml", sim=ZEN1)["sim"]


def _milliseconds(folder: Path, name: str, *, rounds: int = 6) -> dict[str, float]:
    """Of a few blocks."""
    models = [Model(key=b.key, path=export_block(b, folder)) for b in SPACE.blocks((1,) * 8)[:4]]
    profiler = Profiler(device=find_device("sim", folder / "devices.yaml"), rounds=rounds)
    measurements = profiler.measure(models, folder / f"{name}.journal").measurements
    return {m.key: m.median_ms for m in measurements}


def test_onnx_files_have_the_layers_of_the_blocks_they_were_made_of(tmp_path: Path) -> None:
    for name in ("nasbench-macro", "fbnet-s"):
        space = make_space(small_spec(name))
        architecture = space.sample(np.random.default_rng(0))
        blocks = space.blocks(architecture)
        assert onnx_layers(export_network(space, architecture, tmp_path)) == network_layers(blocks)
        assert onnx_layers(export_block(blocks[1], tmp_path)) == block_layers(blocks[1])


def test_machines_survive_the_command_line() -> None:
    assert [from_json(to_json(m)) for m in (ZEN1, random_machine(5))] == [ZEN1, random_machine(5)]


def test_profiling_a_simulated_device_gives_a_certified_table(sim: SimulatedDevice, tmp_path: Path) -> None:
    flags = ("--space", "nasbench-macro", "--input-size", 8, "--channels", 1, "--width", 0.25, "--networks", 10)
    device = ("--devices", tmp_path / "devices.yaml", "--device", "sim")
    outcome = run_cli("profile", *flags, *device, "--rounds", 10, "-o", tmp_path / "t.json", "--quiet")
    assert outcome.code == 0, outcome.err
    table = load_table(tmp_path / "t.json")
    assert table.provenance.worker["cpu_model"] == "simulated zen1"
    assert table.certificate is not None and table.certificate.mape < 0.1 and table.certificate.repeatability_mape > 0
    assert not table.failures
    # Slices of a shared core would show on the machine that the test runs on, and on this one never do.
    assert slowdown([*table.entries, *(n.measurement for n in table.networks)]).preempted == 0
    assert sim.num_rounds == 10


def test_a_simulated_device_is_slowed_as_the_test_says(sim: SimulatedDevice, tmp_path: Path) -> None:
    before = _milliseconds(tmp_path, "before")
    sim.slow_down(1.5)
    slow = _milliseconds(tmp_path, "slow")
    sim.slow_down(1.0)
    sim.slow_down(2.0, cpu=False, after_rounds=2)
    later = _milliseconds(tmp_path, "later")
    for key, ms in before.items():
        assert slow[key] == pytest.approx(1.5 * ms, rel=0.1)
        assert later[key] == pytest.approx(2.0 * ms, rel=0.1)
    first_two = _milliseconds(tmp_path, "again", rounds=2)
    assert sim.num_rounds == 3 * 6 + 2
    assert all(ms == pytest.approx(2.0 * before[key], rel=0.1) for key, ms in first_two.items())


def test_wall_clock_time_alone_can_be_slowed(sim: SimulatedDevice, tmp_path: Path) -> None:
    sim.slow_down(2.0, cpu=False)
    block = SPACE.blocks((1,) * 8)[1]
    profiler = Profiler(device=find_device("sim", tmp_path / "devices.yaml"), rounds=3)
    model = Model(key=block.key, path=export_block(block, tmp_path))
    (measurement,) = profiler.measure([model], tmp_path / "t.journal").measurements
    assert all(1.8 * cpu < wall < 2.0 * cpu for wall, cpu in zip(measurement.wall_ns, measurement.cpu_ns, strict=True))
