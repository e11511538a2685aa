"""The weights of a network that somebody brings, shared by all its slices."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.supernet import Supernet
from search_spaces.traced.ending import scoring
from search_spaces.traced.graph import TracedNetwork
from search_spaces.traced.network import GraphNetwork, run
from search_spaces.traced.resolutions import Resolutions
from search_spaces.traced.subnet import Slice

MOST_SLICES = 64
"""Slices that a supernet remembers: those that a training step goes back to, and some."""


class Slicing(Protocol):
    """A space whose networks are slices of one."""

    network: TracedNetwork
    resolutions: Resolutions

    def slice_of(self, architecture: Architecture) -> Slice:
        """Return a network as a slice."""


class TracedSupernet(Supernet):
    """The whole network, up to its scores; subnets are slices of it."""

    def __init__(self, space: Slicing) -> None:
        super().__init__()
        self.network = GraphNetwork(scoring(space.network.graph), space.network.values)
        self._resolutions = space.resolutions
        self._slice_of = lru_cache(maxsize=MOST_SLICES)(space.slice_of)

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Return the subnet as one module, with copies of its slices, behind what brings images to its resolution."""
        slice_ = self._slice_of(architecture)
        with torch.no_grad():
            values = slice_.values(self.network.values())
        return [*self._resolutions.before(architecture), GraphNetwork(slice_.graph, values).train(self.training)]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        if not any(architecture):
            whole: torch.Tensor = self.network(x_NCHW)
            return whole
        tensors = self.network.values()
        if self.training:  # statistics of slices are not the whole network's
            graph = self.network.graph
            tensors = {n: v if graph.tensor[n].is_trained else v.clone() for n, v in tensors.items()}
        slice_ = self._slice_of(architecture)
        values = slice_.values(tensors)
        x = x_NCHW
        for module in self._resolutions.before(architecture):
            x = module(x)
        return run(slice_.graph, (x,), values.__getitem__, is_training=self.training)
