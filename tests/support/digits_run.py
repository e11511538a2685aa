"""A small finished run on digits, for tests of what comes after it."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import run_cli, shorten_runs
from samples import synthetic_table

from lut import save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)


def finish_digits_run(folder: Path, *, epochs: int, evaluations: int, retrain_epochs: int) -> Path:
    """Search on digits by a synthetic table of SPEC's networks, and return the folder of the run."""
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "t.json")
    training = ("--epochs", epochs, "--evaluations", evaluations, "--retrain-epochs", retrain_epochs)
    budget = ("--lut", folder / "t.json", "--max-latency", "70%")
    with pytest.MonkeyPatch.context() as patched:
        shorten_runs(patched)
        outcome = run_cli("search", "--width", SPEC.width, *training, "--quiet", *budget, "--out", folder / "run")
    assert outcome.code == 0, outcome.err
    return folder / "run"
