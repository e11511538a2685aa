"""Whole searches of tasks beyond classification, down to a proven ONNX model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from square_runs import search_squares

pytestmark = pytest.mark.usefixtures("very_short_runs")

SCORES = {"detection": {"map", "ap50", "exp_minus_loss"}, "segmentation": {"mean_iou", "pixel_accuracy", "likelihood"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "data", "strategy"),
    [("detection", "boxes", "sandwich"), ("segmentation", "masks", "sandwich")],
)
def test_a_search_ends_in_a_proven_model(task: str, data: str, strategy: str, tmp_path: Path) -> None:
    outcome = search_squares(
        *(tmp_path, task, data, "--retrain-epochs", 15, "--strategy", strategy, "--set", "retrain.distillation=0.5"),
        *("--set", "supernet.batch_size=16", "--set", "retrain.batch_size=16"),
        *("--set", "retrain.references=false", "--set", "search.finalists=2", "--json"),
    )
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert set(summary["test_metrics"]) == SCORES[task] and summary["parity"]["num_images"] == 48
    assert summary["budget_kept"] and Path(summary["onnx"]).is_file()
    assert next(iter(summary["test_metrics"].values())) > 0.02
    history = [json.loads(line) for line in (tmp_path / "run" / "search" / "history.jsonl").read_text().splitlines()]
    assert len({each["score"] for each in history if "score" in each}) > 1
