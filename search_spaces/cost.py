"""Costs that follow from the graph alone: parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.space import SearchSpace

KEEPS_SHAPE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.PReLU, nn.Hardswish, nn.SiLU, nn.Hardsigmoid, nn.Sigmoid)
"""Layers that cost nothing here and give as many elements as they take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """Costs at batch 1.

    Attributes:
        params: weights, biases, BatchNorm scale and shift.
        macs: multiply-accumulates of convolutions and linear layers, biases not counted, as in the papers' tables.
        activations: elements that these layers give (Radosavovic et al. 2020, Designing Network Design Spaces).
    """

    params: int
    macs: int
    activations: int


@lru_cache(maxsize=4096)
def block_cost(block: Block) -> GraphCost:
    """Return the cost of a block, counted on a module without memory."""
    with torch.device("meta"):
        module = block.build()
        x_NCHW = torch.empty(1, block.in_channels, block.input_size, block.input_size)
    return module_cost(module, x_NCHW)


def module_cost(module: nn.Module, x_NCHW: torch.Tensor) -> GraphCost:
    """Return the cost of a module of convolutions and linear layers, counted while it runs on `x_NCHW`."""
    macs = activations = 0

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal macs, activations
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        positions = output.numel() // output.shape[1]
        macs += weight.numel() * positions
        activations += output.numel()

    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.no_grad(), _passing_through(module):
            module.eval()(x_NCHW)
    finally:
        for handle in handles:
            handle.remove()
    return GraphCost(params=sum(p.numel() for p in module.parameters()), macs=macs, activations=activations)


@contextmanager
def _passing_through(module: nn.Module) -> Iterator[None]:
    """Have layers that keep the shape give back their input meanwhile; without memory they take most of the time."""
    layers = [m for m in module.modules() if isinstance(m, KEEPS_SHAPE)]
    for layer in layers:
        vars(layer)["forward"] = lambda x: x
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


class GraphCosts:
    """Parameters and multiply-accumulates of architectures, vectorised."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        costs = [block_cost(block) for block in space.candidates]
        self._params = np.array([c.params for c in costs], dtype=np.float64)
        self._macs = np.array([c.macs for c in costs], dtype=np.float64)
        self._activations = np.array([c.activations for c in costs], dtype=np.float64)

    def params(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return parameter counts, [num_architectures]."""
        return self._space.block_sum(self._params, architectures)

    def macs(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return multiply-accumulates of one forward pass at batch 1, [num_architectures]."""
        return self._space.block_sum(self._macs, architectures)

    def activations(self, architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return elements that convolutions and linear layers give at batch 1, [num_architectures]."""
        return self._space.block_sum(self._activations, architectures)

    def of(self, architecture: Architecture) -> GraphCost:
        """Return all costs of one architecture."""
        row = self._space.as_array([architecture])
        return GraphCost(
            params=int(self.params(row)[0]), macs=int(self.macs(row)[0]), activations=int(self.activations(row)[0])
        )
