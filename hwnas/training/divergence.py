"""The handling of a training whose numbers are no longer finite."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.errors import RunError
from safe_files import write_text

CHANGEABLE = ("learning_rate", "warmup_epochs", "clip_norm")
"""Settings of a training that may be changed once it diverged; its checkpoint tells each epoch's learning rate."""


class DivergedError(RunError):
    """A training ended in numbers that are not finite.

    Attributes:
        what: in which epoch, and what was found.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what


def is_finite(loss: float, module: nn.Module) -> bool:
    """Return whether a loss, and the weights and statistics after it, are finite."""
    tensors = (t for t in module.state_dict().values() if t.is_floating_point())
    return math.isfinite(loss) and all(bool(torch.isfinite(t).all()) for t in tensors)


def diverged(
    *, name: str, settings: str, epoch: int, loss: float, num_kept: int, config: TrainingConfig
) -> DivergedError:
    """Return the error that ends a training.

    Args:
        settings: under which name the configuration holds those of the training.
        epoch: counted from one.
        num_kept: epochs that the checkpoint holds.
    """
    found = "weights that are not finite" if math.isfinite(loss) else f"a loss of {loss}"
    rate = f"{settings}.learning_rate"
    what = (
        f"{name} diverged in epoch {epoch} of {config.epochs}: expected finite numbers, found {found}; "
        f"most likely {rate}, {config.learning_rate:g}, is too high"
    )
    lower = f"--set {rate}={config.learning_rate / 10:g}"
    if config.clip_norm is None:
        lower += f" --set {settings}.clip_norm=5"
    kept = f"the checkpoint after epoch {num_kept} is kept" if num_kept else "no epoch was kept"
    return DivergedError(
        what, f"{kept}: the same command with {lower} goes on from there, another --out with it begins anew"
    )


def marker(checkpoint: Path) -> Path:
    """Return the file that says that a training diverged after what its checkpoint holds."""
    return checkpoint.with_suffix(".diverged")


def mark(checkpoint: Path, error: DivergedError) -> None:
    """Write the file that says that a training diverged, which is there until the training is finished."""
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write_text(marker(checkpoint), error.what + "\n")


def changeable_settings(trainings: Mapping[str, Path]) -> frozenset[str]:
    """Return the dotted names of the settings that a run may change, since trainings by them diverged.

    Args:
        trainings: the folders of checkpoints, by the name that the configuration has the settings under.
    """
    suffix = marker(Path("x")).suffix
    diverged = [name for name, folder in trainings.items() if any(folder.glob(f"*{suffix}"))]
    return frozenset(f"{name}.{setting}" for name in diverged for setting in CHANGEABLE)
