"""From a space to a table, with the real worker."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kept_files import DAMAGES, exchange, forge
from samples import small_spec

from lut import LatencyModel, TableError, build_table, load_table, plan_table
from lut import build as build_module
from lut.build import journal_beside
from profilers import Profiler
from profilers.device import find_device
from search_spaces import Block, ExportError, make_space
from search_spaces.onnx_export import export_block

SPACE = make_space(small_spec("nasbench-macro"))
PROFILER = Profiler(device=find_device("cpu"), rounds=3)
PLAN = plan_table(SPACE, rounds=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The space's blocks, exported for tests that leave them as they are."""
    folder = tmp_path_factory.mktemp("onnx")
    for block in PLAN.blocks:
        export_block(block, folder)
    return folder


def test_plan_counts_each_distinct_block_once() -> None:
    plan = plan_table(SPACE, rounds=60)
    assert len({b.key for b in plan.blocks}) == len(plan.blocks)
    assert not any(b.is_identity for b in plan.blocks)
    assert plan.num_positions == 24
    assert plan.estimated_s > plan_table(SPACE, rounds=6).estimated_s > 0


def test_table_holds_every_block_and_the_journal_goes_when_it_is_written(tmp_path: Path, exported: Path) -> None:
    path = tmp_path / "folder" / "t.json"
    table = build_table(SPACE, path, PLAN, profiler=PROFILER, onnx_folder=exported)
    assert set(table.by_key) == {b.key for b in plan_table(SPACE, rounds=3).blocks}
    assert not table.failures
    assert table.provenance.rounds == 3
    assert set(table.provenance.onnx_sha256) == set(table.by_key)
    assert load_table(path) == table
    assert not journal_beside(path).exists()
    assert LatencyModel(SPACE, table).extreme()[1] > 0


def test_unexportable_block_costs_one_entry(tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(block: Block, folder: Path, **settings: Any) -> Path:
        if block.family == "head":
            raise ExportError("no such operator")
        return export_block(block, folder, **settings)

    monkeypatch.setattr(build_module, "export_block", export)
    table = build_table(SPACE, tmp_path / "t.json", PLAN, profiler=PROFILER, onnx_folder=exported)
    assert [(m.key.split("(")[0], m.error) for m in table.failures] == [("head", "no such operator")]


def test_block_that_the_runtime_rejects_costs_one_entry(tmp_path: Path, exported: Path) -> None:
    broken = PLAN.blocks[2]
    folder = shutil.copytree(exported, tmp_path / "onnx")
    forge(export_block(broken, folder), b"no model")
    table = build_table(SPACE, tmp_path / "t.json", PLAN, profiler=PROFILER, onnx_folder=folder)
    assert [m.key for m in table.failures] == [broken.key]
    assert len(table.latency_ms) == len(table.entries) - 1


def test_a_damaged_cache_gives_the_same_table_as_a_clean_one(tmp_path: Path) -> None:
    """Blocks and what is made of them alike: the cache of an int8 table holds both."""
    plan = plan_table(SPACE, rounds=3, precision="int8")
    plan = replace(plan, blocks=plan.blocks[: len(DAMAGES)])

    def hashes(name: str, **settings: bool) -> Mapping[str, str]:
        table = build_table(SPACE, tmp_path / name, plan, profiler=PROFILER, onnx_folder=tmp_path / "onnx", **settings)
        assert not table.failures
        return table.provenance.onnx_sha256

    clean = hashes("clean.json")
    kept = sorted((tmp_path / "onnx").glob("*.onnx"))
    for number, path in enumerate(kept):
        list(DAMAGES.values())[number % len(DAMAGES)](path)
    exchange(kept[0], kept[1])
    assert hashes("damaged.json") == clean
    forge(kept[0], kept[1].read_bytes())  # what cannot be noticed goes with --fresh
    forge(kept[2], kept[1].read_bytes())
    assert hashes("fresh.json", is_fresh=True) == clean


def test_unwritable_folder_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TableError, match=r"cannot write to .*give another folder"):
        build_table(
            SPACE,
            tmp_path / "file" / "t.json",
            plan_table(SPACE, rounds=3),
            profiler=PROFILER,
            onnx_folder=tmp_path / "onnx",
        )
    assert not (tmp_path / "onnx").exists()


def test_networks_calibrate_and_certify_the_table(tmp_path: Path, exported: Path) -> None:
    plan = plan_table(SPACE, rounds=12, num_networks=10, seed=1)
    table = build_table(SPACE, tmp_path / "t.json", plan, profiler=replace(PROFILER, rounds=12), onnx_folder=exported)
    assert table.calibration is not None and table.calibration.num_networks == 4
    assert table.certificate is not None and table.certificate.num_networks == 6
    assert table.certificate.duplicates_mape is not None
    assert load_table(tmp_path / "t.json") == table
    assert all(n.measurement.num_samples == table.provenance.rounds for n in table.networks)


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(TableError, match=r"5 networks are too few .*give 10 or more, or 0"):
        plan_table(SPACE, rounds=3, num_networks=5)


def test_int8_table_is_made_from_the_same_blocks(tmp_path: Path, exported: Path) -> None:
    plan = plan_table(SPACE, rounds=3, precision="int8")
    table = build_table(SPACE, tmp_path / "t.json", plan, profiler=PROFILER, onnx_folder=exported)
    assert table.provenance.precision == "int8" and not table.failures
    assert set(table.by_key) == {b.key for b in PLAN.blocks}
