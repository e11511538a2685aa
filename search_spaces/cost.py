"""Costs that follow from the graph alone: parameters and multiply-accumulates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.space import SearchSpace

KEEPS_SHAPE = (
    *(nn.BatchNorm2d, nn.LayerNorm),
    *(nn.ReLU, nn.ReLU6, nn.PReLU, nn.Hardswish, nn.SiLU, nn.GELU, nn.Hardsigmoid, nn.Sigmoid),
)
"""Layers that cost nothing here and give as many elements as they take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """Costs at batch 1.

    Attributes:
        params: weights, biases, BatchNorm scale and shift.
        macs: multiply-accumulates of convolutions, linear layers and the products of attention, biases not counted, as
            in the papers' tables.
        activations: elements that these give (Radosavovic et al. 2020, Designing Network Design Spaces).
    """

    params: int
    macs: int
    activations: int


@lru_cache(maxsize=4096)
def block_cost(block: Block) -> GraphCost:
    """Return the cost of a block, counted on a module without memory."""
    # What is made in inference mode does not pass where operators are counted, and the wrong cost would be kept.
    with torch.inference_mode(False):
        with torch.device("meta"):
            module = block.build().to("meta")
            inputs = [torch.empty(1, *shape) for shape in block.input_shapes]
        try:
            return module_cost(module, *inputs)  # a device that holds for all of torch takes most of the time
        except RuntimeError:  # it makes tensors as it runs, which must not be on another device than the rest
            with torch.device("meta"):
                return module_cost(module, *inputs)


def module_cost(module: nn.Module, *inputs: torch.Tensor) -> GraphCost:
    """Return the cost of a module, counted while it runs on the inputs, which are one example of a batch."""
    counter = _Counter()
    with torch.no_grad(), _passing_through(module), _attention_in_parts(), counter:
        module.eval()(*inputs)
    num_params = sum(p.numel() for p in module.parameters())
    return GraphCost(params=num_params, macs=counter.macs, activations=counter.activations)


class _Counter(TorchDispatchMode):
    """Counts what convolutions and matrix products do, whether layers or functions call them."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = self.activations = 0

    def __torch_dispatch__(
        self, func: Any, _types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if (flops := flop_registry.get(func.overloadpacket)) is not None:
            self.macs += flops(*args, **(kwargs or {}), out_val=output) // 2
            self.activations += output.numel()
        return output


@contextmanager
def _attention_in_parts() -> Iterator[None]:
    """Have attention call the matrix products that it is made of, and no kernel of its own."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


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
