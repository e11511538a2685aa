"""Weights & Biases: a server, or files that are sent later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from hwnas.trackers.tracker import TrackerInputs

PROJECT = "hwnas"
"""The project that runs are in where WANDB_PROJECT names none."""

PATIENCE_S = 30.0
"""How long a server that does not answer is waited for as the run begins."""


class WandbTracker:
    """Keeps a run in Weights & Biases; with WANDB_MODE=offline in files, which `wandb sync` sends.

    A run that goes on is the same one there, by its id.
    """

    def __init__(self, inputs: TrackerInputs) -> None:
        import wandb

        self._wandb: Any = wandb
        run_id = inputs.kept("wandb").get("run_id") or uuid4().hex[:12]
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=inputs.name,
            id=run_id,
            resume="allow",
            config={name: _plain(value) for name, value in inputs.settings.items()},
            settings=wandb.Settings(init_timeout=PATIENCE_S, silent=True),
        )
        inputs.keep("wandb", {"run_id": run_id})
        self._groups: set[str] = set()

    def log_metrics(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Send numbers of a step; each group counts its own steps."""
        count = f"{group}/step"
        if group not in self._groups:
            self._groups.add(group)
            self._run.define_metric(count, hidden=True)
            self._run.define_metric(f"{group}/*", step_metric=count)
        self._run.log({count: step, **{f"{group}/{name}": value for name, value in values.items()}})

    def log_files(self, name: str, paths: Sequence[Path]) -> None:
        """Send files as an artifact of the run."""
        artifact = self._wandb.Artifact(f"{self._run.id}-{name}", type=name)
        for path in paths:
            if path.is_dir():
                artifact.add_dir(str(path))
            else:
                artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, *, is_complete: bool) -> None:
        """Send what is left, and say that the run is over, or that it failed."""
        self._run.finish(exit_code=0 if is_complete else 1)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else str(value)
