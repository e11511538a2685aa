"""Optimisers: what decays, and what of them is kept in checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.training.depth import layers_of

STATES: Mapping[str, Mapping[str, str]] = {
    "sgd": {"momentum": "momentum_buffer"},
    "adamw": {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq", "step": "step"},
}
"""What each optimiser keeps of a parameter: torch's names by those that checkpoints have them under."""


def make_optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser of a training.

    It decays neither norms nor biases, as is usual (He et al. 2019, Bag of Tricks), nor what a module of the network
    declares by `no_weight_decay`, names of its parameters or a function that returns them, as of position embeddings.

    Each layer learns `layer_decay` times as fast as the one after it (Clark et al. 2020, ELECTRA; Bao et al. 2022,
    BEiT); the groups of parameters have their share of the learning rate as "share".
    """
    spared = {id(p) for p in _spared(module)}
    groups = [group for share, layer in _shares(module, config) for group in _groups(layer, share, spared, config)]
    # Not fused: torch's fused SGD fails while only some parameters have momentum, as after a first path.
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, foreach=True)
    return torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, nesterov=config.momentum > 0, foreach=True
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate, of which each group of parameters has its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def _shares(module: nn.Module, config: TrainingConfig) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the parameters with the shares of the learning rate that they learn at."""
    if config.layer_decay == 1.0:
        return [(1.0, list(module.parameters()))]
    layers = layers_of(module)
    return [(config.layer_decay ** (len(layers) - number), layer) for number, layer in enumerate(layers, start=1)]


def _groups(
    parameters: list[nn.Parameter], share: float, spared: set[int], config: TrainingConfig
) -> list[dict[str, Any]]:
    """Return the groups of some parameters: those that decay, and the others."""
    decayed = [p for p in parameters if p.ndim > 1 and id(p) not in spared]
    others = [p for p in parameters if p.ndim <= 1 or id(p) in spared]
    return [
        {"params": decayed, "weight_decay": config.weight_decay, "share": share},
        {"params": others, "weight_decay": 0.0, "share": share},
    ]


def _spared(module: nn.Module) -> Iterator[nn.Parameter]:
    for part in module.modules():
        names = getattr(part, "no_weight_decay", ())
        for name in names() if callable(names) else names:
            yield part.get_parameter(name)


def kept_state(optimizer: torch.optim.Optimizer, module: nn.Module, kind: str) -> dict[str, torch.Tensor]:
    """Return what an optimiser of that kind keeps of a module's parameters, by the names of checkpoints."""
    names = {id(p): name for name, p in module.named_parameters()}
    return {
        f"{part}.{names[id(parameter)]}": state[own]
        for parameter, state in optimizer.state.items()
        for part, own in STATES[kind].items()
        if state.get(own) is not None
    }


def restore_state(
    optimizer: torch.optim.Optimizer, module: nn.Module, kind: str, parts: Mapping[str, Mapping[str, torch.Tensor]]
) -> None:
    """Give an optimiser what it had kept, part by part and by parameter.

    Raises:
        KeyError: there is no such parameter.
        RuntimeError: one is of another shape.
    """
    parameters = dict(module.named_parameters())
    for part, own in STATES[kind].items():
        for name, tensor in parts[part].items():
            parameter = parameters[name]
            # A count of steps is one number, which stays on the CPU; all else is laid out as the parameter is.
            kept = tensor if part == "step" else torch.empty_like(parameter).copy_(tensor)
            optimizer.state[parameter][own] = kept
