"""Whole searches on images of squares."""

from __future__ import annotations

from pathlib import Path

import squares
from command_line import Outcome, run_cli
from samples import synthetic_table

from lut import save_table
from search_spaces import SpaceSpec, make_space


def search_squares(folder: Path, task: str, data: str, *flags: object) -> Outcome:
    """Search for a small network of a task in `folder/run`, by a table that nobody measured.

    Args:
        data: boxes or masks.
    """
    return run_cli(*search_of_squares(folder, task, data), "--out", folder / "run", "--quiet", *flags)


def search_of_squares(folder: Path, task: str, data: str) -> tuple[object, ...]:
    """Return the command of such a search, its table made; where it writes is left to whoever runs it."""
    num_classes = {"boxes": 2, "masks": 3}[data]
    spec = SpaceSpec(
        name="nasbench-macro", input_size=squares.SIZE, in_channels=1, num_classes=num_classes, width=0.25, head=task
    )
    table = folder / "t.json"
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), table)
    images = ("--task", task, "--data", f"{squares.__file__}:{data}", "--width", 0.25)
    return ("search", *images, "--lut", table, "--max-latency", "80%", "--epochs", 2, "--evaluations", 6)
