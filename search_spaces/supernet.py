"""The weight-sharing network of chain spaces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from search_spaces.space import Architecture


class ChoiceSupernet(nn.Module):
    """Separate candidate blocks per layer; an architecture is a path through them (Guo et al. 2020).

    Holds no current path: it is an argument, so that nothing depends on what ran before.
    """

    def __init__(
        self,
        stem: Sequence[Sequence[nn.Module]],
        layers: Sequence[Sequence[nn.Module]],
        head: Sequence[Sequence[nn.Module]],
    ) -> None:
        super().__init__()
        self.stem = nn.ModuleList(m for slot in stem for m in slot)
        self.layers = nn.ModuleList(nn.ModuleList(candidates) for candidates in layers)
        self.head = nn.ModuleList(m for slot in head for m in slot)

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """The modules of a subnet in network order, sharing their weights with the supernet."""
        chosen = [layer[choice] for layer, choice in zip(self.layers, architecture, strict=True)]  # type: ignore[index]
        return [*self.stem, *chosen, *self.head]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        x = x_NCHW
        for module in self.path(architecture):
            x = module(x)
        return x
