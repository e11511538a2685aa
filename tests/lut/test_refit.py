"""Calibrating stored samples anew, from the command line."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from samples import bare_table, measured_again, small_spec

from lut import LatencyTable, load_table, save_table
from lut.build import block_counts, finished
from lut.networks import NetworkMeasurement, draw_networks
from profilers import Measurement
from search_spaces import make_space

SPACE = make_space(small_spec("nasbench-macro"))


@pytest.fixture
def measured() -> LatencyTable:
    """A table with networks that take a tenth more than their blocks, neither calibrated nor certified."""
    table = bare_table(SPACE)
    networks = []
    for number, plan in enumerate(draw_networks(SPACE, 30, seed=0)):
        counts = block_counts(SPACE, plan.architecture)
        ns = int(1.1e6 * sum(table.latency_ms[key] * num for key, num in counts.items()))
        visits = tuple(10**5 + 7 * number + i for i in range(4))
        measurement = Measurement(key=plan.key, visits=visits, wall_ns=(ns,) * 4, cpu_ns=(1,) * 4)
        networks.append(NetworkMeasurement(architecture=plan.architecture, role=plan.role, measurement=measurement))
    return replace(table, networks=tuple(networks), certificate=None)


def test_refit_certifies_from_the_stored_samples(measured: LatencyTable, tmp_path: Path) -> None:
    path, new = tmp_path / "old.json", tmp_path / "new.json"
    save_table(measured, path)
    before = path.read_bytes()
    outcome = run_cli("lut", "refit", path, "-o", new)
    assert outcome.code == 0 and "held-out networks predicted with" in outcome.out, outcome.err
    assert path.read_bytes() == before
    refitted = load_table(new)
    assert refitted == finished(measured, SPACE)
    assert refitted.entries == measured.entries and refitted.networks == measured.networks
    assert refitted.certificate is not None and refitted.certificate.mape < 0.02
    factors = list(refitted.calibration.factors.values()) if refitted.calibration else []
    assert np.median(factors) == pytest.approx(1.1, abs=0.05)
    assert "a block takes" in run_cli("lut", "show", new).out
    shown = json.loads(run_cli("lut", "show", new, "--json").out)
    assert shown["calibration"]["cache"]["half_mb"] > 0

    assert run_cli("lut", "refit", path).code == 0
    assert load_table(path) == refitted


def test_a_table_without_networks_cannot_be_refitted(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    save_table(bare_table(SPACE), path)
    before = path.read_bytes()
    outcome = run_cli("lut", "refit", path)
    assert outcome.code == 2 and "cannot be calibrated" in outcome.err and "found 0 measured networks" in outcome.err
    assert path.read_bytes() == before


def test_no_other_file_than_a_table_is_written_over(measured: LatencyTable, tmp_path: Path) -> None:
    path, again, notes = tmp_path / "t.json", tmp_path / "again.json", tmp_path / "notes.txt"
    save_table(measured, path)
    save_table(measured_again(measured), again)
    notes.write_text("mine")
    merge = ("merge", path, again)
    for command in (("refit", path), merge, ("import", "proxylessnas", tmp_path / "absent.yaml")):
        outcome = run_cli("lut", *command, "-o", notes)
        assert outcome.code == 2 and "notes.txt would be lost: expected a latency table there or nothing" in outcome.err
    assert notes.read_text() == "mine"
    assert run_cli("lut", *merge, "-o", again).code == 0


def test_what_is_no_regular_file_is_left_alone(measured: LatencyTable, tmp_path: Path) -> None:
    path, pipe = tmp_path / "t.json", tmp_path / "pipe"
    save_table(measured, path)
    os.mkfifo(pipe)
    (tmp_path / "folder").mkdir()
    profile = ("profile", "--space", "nasbench-macro", "--input-size", 8)
    for output in (pipe, tmp_path / "folder"):
        for command in (profile, (*profile, "--fresh"), ("lut", "refit", path)):
            outcome = run_cli(*command, "-o", output)
            assert outcome.code == 2 and "damaged" not in outcome.err
            assert f"{output}: expected a regular file" in outcome.err
    assert pipe.is_fifo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe", "t.json"]
