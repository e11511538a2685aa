"""What a device's accelerator left to the CPU is kept by its table, and said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from command_line import run_cli
from samples import bare_table

from lut.diff import origin_of
from lut.overview import describe_fallbacks, describe_table
from lut.table import load_table, save_table
from profilers import Device
from search_spaces import SpaceSpec, make_space


def test_fallbacks_are_kept_with_the_provider_and_shown(tmp_path: Path) -> None:
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, width=0.25, num_classes=10))
    table = bare_table(space)
    device = Device(
        name="npu",
        runtime="onnxruntime",
        provider="QNNExecutionProvider",
        provider_options={"htp_performance": "burst"},
    )
    first, second = (m.key for m in table.entries[:2])
    fallbacks = {first: {"Resize": 2, "Gather": 1}, second: {"Resize": 1}}
    provenance = replace(table.provenance, device=device.settings(), fallbacks=fallbacks)
    save_table(replace(table, provenance=provenance), tmp_path / "t.json")
    found = load_table(tmp_path / "t.json")
    assert found.provenance == provenance
    assert describe_fallbacks(found) == "left to the CPU: 4 operations in 2 blocks: Resize (3), Gather (1)"
    assert describe_table(found)["fallbacks"] == fallbacks
    assert origin_of(found)["device.provider"] == "QNNExecutionProvider"
    shown = run_cli("lut", "show", tmp_path / "t.json").out
    assert "onnxruntime test, QNNExecutionProvider, fp32" in shown and "left to the CPU: 4 operations" in shown
