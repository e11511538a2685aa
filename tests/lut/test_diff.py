"""Comparing, merging, verifying and drawing tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from PIL import Image
from samples import bare_table, measured_again, scaled, small_spec, synthetic_table

from lut import LatencyModel, TableError, build_table, plan_table, save_table
from lut.build import certificate_of, finished
from lut.diff import compare_tables
from lut.merge import merge_tables
from lut.networks import network_key
from lut.plot import plot_table
from lut.table import LatencyTable, ReportedLatency
from lut.verify import verify_table
from profilers import Measurement, Profiler
from profilers.device import find_device
from profilers.pace import Pace
from profilers.visits import VISITS_PER_RESTART
from search_spaces import SearchSpace, make_space

SPACE = make_space(small_spec("nasbench-macro"))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where exported blocks and networks are kept."""
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def real_table(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> LatencyTable:
    """A small table, really measured."""
    profiler = Profiler(device=find_device("cpu"), rounds=10)
    plan = plan_table(SPACE, rounds=10, num_networks=10)
    path = tmp_path_factory.mktemp("real") / "t.json"
    return build_table(SPACE, path, plan, profiler=profiler, onnx_folder=exported)


def test_difference_finds_the_factor_and_what_sticks_out(space: SearchSpace) -> None:
    table = bare_table(space)
    doubled = scaled(table, 2.0)
    odd = doubled.entries[3]
    entries = tuple(replace(m, wall_ns=tuple(5 * t for t in m.wall_ns)) if m is odd else m for m in doubled.entries[1:])
    other = replace(doubled, entries=entries, provenance=replace(table.provenance, precision="int8"))
    difference = compare_tables(table, other)
    assert difference.median_ratio == pytest.approx(2.0, rel=0.05)
    assert next(iter(difference.ratios)) == odd.key
    assert difference.only_first == (table.entries[0].key,) and difference.only_second == ()
    assert difference.provenance == (("precision", "fp32", "int8"),)
    same = compare_tables(table, table)
    assert (same.median_ratio, same.kendall_tau, same.ratio_spread) == pytest.approx((1.0, 1.0, 0.0))


def test_tables_without_a_common_block_do_not_compare() -> None:
    one, other = (bare_table(make_space(small_spec("fbnet-s", input_size=size))) for size in (16, 72))
    with pytest.raises(TableError, match="no block in common"):
        compare_tables(one, other)


def test_merging_parts_gives_every_block_and_heals_failures(space: SearchSpace) -> None:
    table = bare_table(space)
    half = len(table.entries) // 2
    broken = Measurement(key=table.entries[0].key, error="crashed")
    first = replace(table, entries=(broken, *table.entries[1 : half + 4]))
    second = measured_again(replace(table, entries=(table.entries[0], *table.entries[half:])))
    merged = merge_tables([first, second], space)
    assert set(merged.latency_ms) == set(table.latency_ms)
    assert not merged.failures
    shared = merged.by_key[table.entries[half].key]
    assert shared.num_samples == 2 * table.entries[half].num_samples


def test_merging_keeps_the_pace_of_all() -> None:
    bare = bare_table(SPACE)
    pace = Pace(visits=(0, 17), wall_ns=(5, 6), cpu_ns=(5, 6), after_wall_ns=(4,), after_cpu_ns=(4,))
    told = replace(bare, pace=pace)
    both = merge_tables([told, measured_again(told)], SPACE).pace
    assert both is not None and both.wall_ns == (5, 6, 5, 6) and both.after_wall_ns == (4, 4)
    assert both.visits == (0, 17, VISITS_PER_RESTART, VISITS_PER_RESTART + 17)
    assert merge_tables([told, measured_again(bare)], SPACE).pace == pace
    late = merge_tables([bare, measured_again(told)], SPACE).pace
    assert late is not None and late.visits == both.visits[2:]
    assert merge_tables([bare, measured_again(bare)], SPACE).pace is None


def test_merging_calibrates_anew_whatever_the_order() -> None:
    whole = finished(synthetic_table(SPACE), SPACE)
    broken = Measurement(key=whole.entries[0].key, error="crashed")
    lacking = replace(whole, entries=whole.entries[1:], calibration=None, certificate=None)
    failed = replace(lacking, entries=(broken, *whole.entries[1:]))
    for part in (finished(lacking, SPACE), finished(failed, SPACE), lacking):
        for tables in ([part, measured_again(whole)], [measured_again(whole), part]):
            merged = merge_tables(tables, SPACE)
            assert merged.calibration is not None and merged.calibration.factors.keys() == whole.latency_ms.keys()
            assert merged.certificate == certificate_of(merged, SPACE)
            assert merged.provenance.rounds == 2 * whole.provenance.rounds


def test_samples_are_not_counted_twice() -> None:
    table = synthetic_table(SPACE)
    other = measured_again(table)
    one_block = replace(bare_table(SPACE, seed=1), entries=(table.entries[-1],))
    networks = replace(one_block, entries=(), networks=table.networks)
    both = merge_tables([table, other], SPACE)
    for tables in ([table, table], [table, other, table], [table, one_block], [networks, table], [both, other]):
        with pytest.raises(TableError, match=r"found the same samples of .* leave one of the tables out"):
            merge_tables(tables, SPACE)


def test_what_one_of_the_merged_tables_calibrates_with_certifies_nothing() -> None:
    first = finished(synthetic_table(SPACE), SPACE)
    held_out = [n for n in first.networks if n.role == "held_out"]
    turned = []
    for network in held_out[:3]:
        key = network_key(network.architecture, "calibration")
        turned.append(replace(network, role="calibration", measurement=replace(network.measurement, key=key)))
    second = measured_again(replace(bare_table(SPACE), networks=tuple(turned)))
    merged = merge_tables([first, second], SPACE)
    assert merged.certificate is not None and merged.certificate.num_networks == len(held_out) - 3
    assert merged.calibration is not None and first.calibration is not None
    assert merged.calibration.num_networks == first.calibration.num_networks + 3


def test_latencies_without_samples_do_not_merge() -> None:
    table = bare_table(SPACE)
    told = replace(table, entries=(), reported=(ReportedLatency(key=table.entries[0].key, mean_ms=1.0),))
    for tables in ([told, table], [table, told]):
        with pytest.raises(TableError, match="no samples to merge"):
            merge_tables(tables, SPACE)


def test_merging_uses_shared_blocks_to_level_the_speed_of_the_day(space: SearchSpace) -> None:
    table = bare_table(space)
    half = len(table.entries) // 2
    first = replace(table, entries=table.entries[: half + 4])
    slower = scaled(replace(table, entries=table.entries[half:]), 1.5)
    merged = merge_tables([first, slower], space)
    ratios = np.array([merged.latency_ms[key] / table.latency_ms[key] for key in table.latency_ms])
    assert ratios.max() / ratios.min() < 1.06


def test_tables_of_different_origin_do_not_merge(space: SearchSpace) -> None:
    table = bare_table(space)
    int8 = replace(table, provenance=replace(table.provenance, precision="int8"))
    with pytest.raises(TableError, match="differ in precision do not merge"):
        merge_tables([table, int8], space)
    with pytest.raises(TableError, match="different spaces"):
        merge_tables([table, bare_table(make_space(small_spec(space.spec.name, input_size=20)))], space)


def test_verifying_measures_new_networks_and_tells_drift(real_table: LatencyTable, exported: Path) -> None:
    profiler = Profiler(device=find_device("cpu"), rounds=10)
    slower = scaled(real_table, 0.25)  # as if the device had been four times as fast then
    result = verify_table(slower, SPACE, profiler=profiler, num_networks=5, seed=5, onnx_folder=exported)
    assert result.certificate.num_networks == 5
    assert result.drift > 0.5  # whatever else runs here now, or ran then
    if result.certificate.bias > -1.0:  # a table made beside other work may predict less than nothing
        assert result.without_drift.mape < result.certificate.mape
    with pytest.raises(TableError, match="other settings"):
        other = Profiler(device=find_device("cpu-2threads"), rounds=10)
        verify_table(real_table, SPACE, profiler=other, num_networks=5, seed=5, onnx_folder=exported)


def test_picture_is_written(real_table: LatencyTable, tmp_path: Path) -> None:
    plot_table(real_table, SPACE, tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.width > 500 and len(image.convert("RGB").getcolors(1 << 24) or []) > 50
    with pytest.raises(TableError, match="cannot write the picture"):
        plot_table(real_table, SPACE, tmp_path / "none" / "p.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(TableError, match="expected a regular file or none"):
        plot_table(real_table, SPACE, tmp_path / "pipe.png")
    assert (tmp_path / "pipe.png").is_fifo()
    with pytest.raises(TableError, match="no measured networks"):
        plot_table(replace(real_table, certificate=None), SPACE, tmp_path / "p.png")


def test_blocks_that_the_space_no_longer_has_are_refused_wherever_both_meet(tmp_path: Path) -> None:
    table = finished(synthetic_table(SPACE), SPACE)
    old = replace(table.entries[0], key="gone(in=1)")
    stale = replace(table, entries=(*table.entries, old), calibration=None)
    profiler = Profiler(device=find_device("cpu"), rounds=2)
    save_table(stale, tmp_path / "t.json")
    tries: list[Callable[[], object]] = [
        lambda: finished(stale, SPACE),
        lambda: merge_tables([measured_again(table), stale], SPACE),
        lambda: LatencyModel(SPACE, stale),
        lambda: verify_table(stale, SPACE, profiler=profiler, num_networks=2, seed=1, onnx_folder=tmp_path),
        lambda: plot_table(stale, SPACE, tmp_path / "p.png"),
    ]
    for attempt in tries:
        with pytest.raises(TableError, match=r"holds gone\(in=1\), which nasbench-macro no longer has \(1 such"):
            attempt()
    refused = run_cli("lut", "refit", tmp_path / "t.json")
    assert refused.code == 2 and "gone(in=1)" in refused.err
    shown = run_cli("lut", "show", tmp_path / "t.json")
    assert shown.code == 0 and "holds 1 blocks that its space no longer has, such as gone(in=1)" in shown.out
