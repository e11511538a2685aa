"""Tables carried over to another setting by a few networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import small_spec

from lut import TableError, build_table, load_table, plan_table
from lut.adapt import adapt_table, advice
from lut.build import journal_beside
from lut.cache import BlockSize
from lut.calibration import calibrate
from profilers import Profiler
from profilers.device import adjusted, find_device
from search_spaces import make_space


@pytest.mark.slow
def test_a_table_is_carried_over_to_another_batch_size(tmp_path: Path) -> None:
    space = make_space(small_spec("nasbench-macro"))
    device = find_device("cpu")
    plan = plan_table(space, rounds=12, num_networks=10)
    base = build_table(
        space, tmp_path / "base.json", plan, profiler=Profiler(device=device, rounds=12), onnx_folder=tmp_path / "onnx"
    )
    larger = adjusted(device, batch=8)
    new_plan = plan_table(space, rounds=12, num_networks=20, batch=8)
    adapted = adapt_table(
        base,
        space,
        tmp_path / "new.json",
        new_plan,
        profiler=Profiler(device=larger, rounds=12),
        onnx_folder=tmp_path / "onnx",
    )
    assert load_table(tmp_path / "new.json").certificate == adapted.certificate is not None
    assert not journal_beside(tmp_path / "new.json").exists()
    assert adapted.batch == 8
    assert adapted.provenance.stopped_by == "adapted"
    assert not adapted.entries and len(adapted.reported) == len(base.entries)
    assert adapted.provenance.worker["adapted_scale"] > 1.5
    assert adapted.certificate.kendall_tau > 0.5
    assert "full profile" in advice(adapted)


def test_a_base_without_a_block_is_refused(tmp_path: Path) -> None:
    from samples import synthetic_table

    space = make_space(small_spec("nasbench-macro"))
    base = synthetic_table(space)
    plan = plan_table(space, rounds=4, num_networks=10)
    with pytest.raises(TableError, match=r"the base table lacks .* \(1 of \d+ blocks\)"):
        adapt_table(
            replace(base, entries=base.entries[1:]),
            space,
            tmp_path / "t.json",
            plan,
            profiler=Profiler(device=find_device("cpu")),
            onnx_folder=tmp_path,
        )


def test_advice_weighs_the_error_against_the_floor() -> None:
    from samples import synthetic_table

    bare = synthetic_table(make_space(small_spec("nasbench-macro")))
    assert bare.certificate is not None
    assert "give more networks" in advice(bare)
    sizes = dict.fromkeys(bare.latency_ms, BlockSize(weights_mb=0.0, activations_mb=0.0))
    alone = [{key: 1} for key in bare.latency_ms]
    calibration = replace(
        calibrate(bare.latency_ms, alone, list(bare.latency_ms.values()), sizes=sizes), num_networks=4
    )
    table = replace(bare, calibration=calibration)
    assert "little to gain" in advice(table)
    assert "is worth its time" in advice(replace(table, certificate=replace(bare.certificate, mape=0.2)))
    restless = replace(bare.certificate, mape=0.31, within_5pct=0.1, within_10pct=0.14, repeatability_mape=0.2)
    assert "adapt again when nothing else runs" in advice(replace(table, certificate=restless))
    absurd = replace(calibration, factors=dict.fromkeys(calibration.factors, -0.126))
    assert "factor of -0.126, as if slower ones made networks faster" in advice(replace(table, calibration=absurd))
