"""Tails of whole networks: learnt from the networks for calibration, checked on those held out, by samples alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from samples import bare_table, small_spec
from tailed_table import EXTRA_MS, SCALE, tailed_table

from lut import LatencyTable, save_table
from lut.networks import DUPLICATE, NetworkMeasurement
from lut.tails import Tail, network_tails_ms, quantile_line, tail_of, tails_of
from profilers import Measurement
from search_spaces import make_space

SPACE = make_space(small_spec("nasbench-macro"))


def table_with(rounds: int) -> LatencyTable:
    return tailed_table(SPACE, rounds)


def known(table: LatencyTable, percentile: int) -> Tail:
    tail = tail_of(table, SPACE, percentile)
    assert tail is not None
    return tail


def test_a_tail_is_a_share_of_the_median_and_a_constant() -> None:
    tail = known(table_with(40), 95)
    assert tail.scale == pytest.approx(SCALE, abs=0.02) and tail.extra_ms == pytest.approx(EXTRA_MS, abs=0.1)
    assert tail.covered == pytest.approx(0.95, abs=0.02)
    assert tail.certificate is not None and tail.certificate.mape < 0.02
    assert tail.of_medians(np.array([1.0])) == pytest.approx(SCALE + EXTRA_MS, abs=0.1)
    assert tail.median_of(tail.scale * 2.0 + tail.extra_ms) == pytest.approx(2.0) and tail.median_of(1e-6) > 0


def test_held_out_networks_are_not_learnt_from() -> None:
    """A device whose held-out networks happen to be disturbed more is predicted wrongly, and says so."""
    table = table_with(40)

    def longer(network: NetworkMeasurement) -> NetworkMeasurement:
        ns = np.array(network.measurement.wall_ns)
        tail = np.where(ns > np.percentile(ns, 91), 2 * ns, ns)
        return replace(network, measurement=replace(network.measurement, wall_ns=tuple(tail.tolist())))

    worse = replace(table, networks=tuple(longer(n) if n.role == "held_out" else n for n in table.networks))
    before, after = known(table, 95), known(worse, 95)
    assert (after.scale, after.extra_ms) == (before.scale, before.extra_ms)
    assert after.covered < before.covered and after.certificate is not None and before.certificate is not None
    assert after.certificate.bias < -0.3 < before.certificate.bias


def test_duplicates_and_failures_say_nothing() -> None:
    table = table_with(40)
    fewer = replace(table, networks=tuple(n for n in table.networks if n.role != DUPLICATE))
    assert len(fewer.networks) < len(table.networks) and known(fewer, 95).num_runs == known(table, 95).num_runs


def test_runs_that_never_differ_have_no_tail() -> None:
    same = [Measurement(key=f"{ms}", visits=(0, 1), wall_ns=(ms, ms), cpu_ns=(1, 1)) for ms in (10**6, 2 * 10**6)]
    assert quantile_line(same, [1.0, 2.0], 95) == (1.0, 0.0)


def test_a_percentile_of_few_runs_is_not_certified() -> None:
    """p99 of forty runs would be the longest of them: what all networks together tell is told, and no more."""
    table = table_with(40)
    assert known(table, 99).certificate is None and known(table_with(100), 99).certificate is not None
    measurement = table.networks[0].measurement
    assert network_tails_ms(measurement)[99] is None and network_tails_ms(measurement)[95] is not None


def test_tables_that_know_too_little_tell_no_tails() -> None:
    table = table_with(40)
    assert tails_of(replace(table, certificate=None), SPACE) == {}
    assert tail_of(table_with(5), SPACE, 99) is None and tail_of(bare_table(SPACE), SPACE, 95) is None


def test_lut_show_tells_percentiles_of_networks(tmp_path: Path) -> None:
    table, path = table_with(40), tmp_path / "t.json"
    save_table(table, path)
    shown = json.loads(run_cli("lut", "show", path, "--json").out)
    assert shown["tails"]["p95"]["certificate"]["num_networks"] == 18 and shown["tails"]["p99"]["certificate"] is None
    assert {n["role"] for n in shown["networks"]} == {"calibration", "held_out", "twin"}
    for row, network in zip(shown["networks"], table.networks, strict=True):
        assert row["p50_ms"] == table.estimates_ms[network.measurement.key] and row["p50_ms"] < row["p95_ms"]
        assert row["p99_ms"] is None and row["num_samples"] == 40
    text = run_cli("lut", "show", path).out
    assert "p95 of networks: 1.2" in text and "of the held-out networks' runs keep; 18 held-out networks" in text
    assert "p99 of networks" in text and "no certificate, which takes 100 runs of each network" in text
    assert "p50 ms" in text and f"5 of {len([n for n in table.networks if n.role != DUPLICATE])} whole networks" in text
