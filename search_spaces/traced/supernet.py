"""The weights of a network that somebody brings, shared by all its slices."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.supernet import Supernet
from search_spaces.traced.graph import Graph, TracedNetwork
from search_spaces.traced.network import GraphNetwork, called, last_uses


class Slicing(Protocol):
    """A space whose networks are slices of one."""

    network: TracedNetwork

    def graph(self, architecture: Architecture) -> Graph:
        """Return the graph of a network."""

    def values(self, architecture: Architecture, whole: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the tensors of a network, cut out of those of the whole."""


class TracedSupernet(Supernet):
    """The whole network; subnets are slices of it."""

    def __init__(self, space: Slicing) -> None:
        super().__init__()
        self._space = space
        self.network = GraphNetwork(space.network.graph, space.network.values)
        self._plan = lru_cache(maxsize=64)(space.graph)

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Return the subnet as one module, with copies of its slices."""
        with torch.no_grad():
            values = self._space.values(architecture, self.network.values())
        return [GraphNetwork(self._plan(architecture), values).train(self.training)]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        if not any(architecture):
            whole: torch.Tensor = self.network(x_NCHW)
            return whole
        whole_values = self.network.values()
        if self.training:  # statistics of slices are not the whole network's
            trained = self.network.graph.tensor
            whole_values = {n: v if trained[n].is_trained else v.clone() for n, v in whole_values.items()}
        tensors = self._space.values(architecture, whole_values)
        return run(self._plan(architecture), x_NCHW, tensors, is_training=self.training)


def run(graph: Graph, x: torch.Tensor, tensors: dict[str, torch.Tensor], *, is_training: bool) -> torch.Tensor:
    """Return what a network computes with those tensors."""
    values: dict[str, Any] = {graph.inputs[0][0]: x}
    frees = last_uses(graph)

    def value_of(name: str) -> Any:
        return values[name] if name in values else tensors[name]

    for node in graph.nodes:
        values[node.name] = called(node, value_of, x.shape[0], is_training=is_training, device=x.device)
        for name in frees.get(node.name, ()):
            del values[name]
    output: torch.Tensor = values[graph.output]
    return output
