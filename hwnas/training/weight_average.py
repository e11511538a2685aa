"""Exponential moving average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """Averages of a module's parameters over training steps (Polyak and Juditsky 1992).

    Only parameters that the step gave a gradient move, so that averaging a supernet costs one path's weights.

    Attributes:
        averages: by parameter name; starts as the weights are.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(module.named_parameters())
        self.averages = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the weights that have gradients."""
        touched = [name for name, p in self._parameters.items() if p.grad is not None]
        if touched:
            averages = [self.averages[name] for name in touched]
            torch._foreach_lerp_(averages, [self._parameters[name] for name in touched], 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make the averages the module's weights meanwhile."""
        weights = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.apply()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in self._parameters.items():
                    parameter.copy_(weights[name])

    @torch.no_grad()
    def apply(self) -> None:
        """Put the averages into the module, for use after training."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.averages[name])
