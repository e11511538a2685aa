"""A whole search with every search space and with every training strategy, down to a proven ONNX model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run_cli
from samples import synthetic_table

from hwnas.training import STRATEGIES
from lut import save_table
from search_spaces import SPACES, SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SIZES = {"mobilefacenet": 16, "nasbench201": 16}
ELASTIC = ("autoformer", "ofa-mobilenetv3", "sgnas")
FAST = ("--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128, "--validation-images", 64)
FEW = ("--set", "search.finalists=2", "--set", "retrain.references=false")

RUNS = [(space, "sandwich" if space in ELASTIC else "uniform") for space in sorted(SPACES)] + [
    ("ofa-mobilenetv3" if strategy == "progressive" else "nasbench-macro", strategy) for strategy in sorted(STRATEGIES)
]


@pytest.mark.slow
@pytest.mark.parametrize(("space", "strategy"), sorted(set(RUNS)))
def test_a_search_ends_in_a_proven_model(space: str, strategy: str, tmp_path: Path) -> None:
    spec = SpaceSpec(name=space, input_size=SIZES.get(space, 8), in_channels=1, num_classes=10, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "table.json")  # nothing real is as slow
    agent = "differentiable" if strategy in ("softmax", "gumbel", "binarised") else "predictor"
    outcome = run_cli(
        *("search", *FAST, *FEW, "--space", space, "--width", 0.25, "--input-size", spec.input_size),
        *("--strategy", strategy, "--agent", agent, "--lut", tmp_path / "table.json", "--max-latency", "80%"),
        *("--out", tmp_path / "run", "--json", "--quiet"),
    )
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert summary["budget_kept"] and Path(summary["onnx"]).is_file()
    assert summary["parity"]["equal_predictions"] >= 0.999 and summary["parity"]["num_images"] == 360
    assert summary["parity"]["max_abs_difference"] <= 1e-4 * max(1.0, summary["parity"]["max_abs_output"])
