"""The weights that a training ended with, out of its checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from hwnas.errors import RunError
from hwnas.training.checkpoint import load_checkpoint

_NETWORK, _CRITERION = "network.", "criterion."
"""The parts of what is trained where a criterion has weights of its own."""


def load_trained(module: nn.Module, checkpoint: Path) -> None:
    """Give a network the weights that its training ended with: those of the best epoch, or averaged, where it has them.

    What a checkpoint holds besides, such as momentum and a criterion's weights, is left out.

    Raises:
        RunError: the file is damaged, or of another network.
    """
    try:
        module.load_state_dict(trained_weights(checkpoint))
    except RuntimeError as error:  # torch's own for shapes and names that do not fit
        raise RunError(
            f"the checkpoint {checkpoint} is of another network: {error}; restore a copy of it, or remove it to train "
            "again"
        ) from error


def trained_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the network that a checkpoint's training ended with, by their names in the network.

    Raises:
        RunError: the file is damaged.
    """
    tensors, _ = load_checkpoint(checkpoint)
    weights = _part(tensors, "best") or {**_part(tensors, "module"), **_part(tensors, "average")}
    if any(name.startswith(_CRITERION) for name in weights):
        weights = {n.removeprefix(_NETWORK): t for n, t in weights.items() if n.startswith(_NETWORK)}
    return weights


def _part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    prefix = f"{name}."
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
