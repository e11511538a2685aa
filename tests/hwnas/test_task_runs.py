"""Whole searches of tasks beyond classification, down to a proven ONNX model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import run_cli
from samples import synthetic_table

from lut import save_table
from search_spaces import SpaceSpec, make_space

DATA = '''
import torch

from hwnas.dataflow import Augmentation, Dataset, Split


def _split(num, seed, kind):
    """A bright and a dark square on noise; the dark one may cover the bright one."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(100, 150, (num, 1, 32, 32), generator=generator)
    boxes, masks = torch.zeros(num, 2, 5), torch.zeros(num, 32, 32, dtype=torch.uint8)
    for image in range(num):
        for row in range(2):
            side, x, y = (int(torch.randint(*ends, (), generator=generator)) for ends in ((8, 13), (0, 20), (0, 20)))
            images[image, 0, y : y + side, x : x + side] += 100 * (1 - 2 * row)
            boxes[image, row] = torch.tensor([row, x, y, x + side, y + side])
            masks[image, y : y + side, x : x + side] = row + 1
    return Split(images_NCHW=images.to(torch.uint8), targets_N=boxes if kind == "boxes" else masks)


def _dataset(kind, classes):
    parts = {"train": _split(160, 0, kind), "test": _split(48, 1, kind), "augmentation": Augmentation()}
    return Dataset(name="squares", classes=classes, target_kind=kind, **parts)


def boxes(_root, _input_size):
    return _dataset("boxes", ("bright", "dark"))


def masks(_root, _input_size):
    return _dataset("masks", ("background", "bright", "dark"))
'''

SCORES = {"detection": {"map", "ap50", "exp_minus_loss"}, "segmentation": {"mean_iou", "pixel_accuracy", "likelihood"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "data", "strategy"),
    [("detection", "boxes", "uniform"), ("detection", "boxes", "sandwich"), ("segmentation", "masks", "sandwich")],
)
def test_a_search_ends_in_a_proven_model(task: str, data: str, strategy: str, tmp_path: Path) -> None:
    (tmp_path / "squares.py").write_text(DATA)
    num_classes = {"boxes": 2, "masks": 3}[data]
    spec = SpaceSpec(
        name="nasbench-macro", input_size=32, in_channels=1, num_classes=num_classes, width=0.25, head=task
    )
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(
        *("search", "--task", task, "--data", f"{tmp_path / 'squares.py'}:{data}", "--width", 0.25, "--epochs", 2),
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
