"""Whole searches of tasks beyond classification, down to a proven ONNX model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import squares
from command_line import run_cli
from samples import synthetic_table

from lut import save_table
from search_spaces import SpaceSpec, make_space

SCORES = {"detection": {"map", "ap50", "exp_minus_loss"}, "segmentation": {"mean_iou", "pixel_accuracy", "likelihood"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "data", "strategy"),
    [("detection", "boxes", "uniform"), ("detection", "boxes", "sandwich"), ("segmentation", "masks", "sandwich")],
)
def test_a_search_ends_in_a_proven_model(task: str, data: str, strategy: str, tmp_path: Path) -> None:
    num_classes = {"boxes": 2, "masks": 3}[data]
    spec = SpaceSpec(
        name="nasbench-macro", input_size=32, in_channels=1, num_classes=num_classes, width=0.25, head=task
    )
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(
        *("search", "--task", task, "--data", f"{squares.__file__}:{data}", "--width", 0.25, "--epochs", 2),
        *("--evaluations", 6, "--retrain-epochs", 15, "--strategy", strategy, "--lut", tmp_path / "t.json"),
        *("--max-latency", "80%", "--set", "retrain.distillation=0.5", "--set", "supernet.batch_size=16"),
        *("--set", "retrain.batch_size=16", "--out", tmp_path / "run", "--json", "--quiet"),
    )
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert set(summary["test_metrics"]) == SCORES[task] and summary["parity"]["num_images"] == 48
    assert summary["budget_kept"] and Path(summary["onnx"]).is_file()
    assert next(iter(summary["test_metrics"].values())) > 0.02
    history = [json.loads(line) for line in (tmp_path / "run" / "search" / "history.jsonl").read_text().splitlines()]
    assert len({each["score"] for each in history if "score" in each}) > 1
