"""The module that computes what an ONNX file does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import torch
from torch import nn

from onnx_models.to_torch.lowering import Step, Steps


class OnnxModule(nn.Module):
    """An ONNX graph in torch: weights are parameters, named as in the file; any number of images goes in at a time.

    Args:
        steps: what it does.
        input_name: of the images.

    Attributes:
        input_shape: sizes behind the batch.
    """

    def __init__(self, steps: Steps, *, input_name: str, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_shape = input_shape
        self._steps, self._input_name, self._last = steps.steps, input_name, steps.last
        self._paths = _paths(steps.constants)
        for name, tensor in steps.constants.items():
            is_weight = tensor.is_floating_point() and name not in steps.statistics
            _put(self, self._paths[name], tensor.clone(), is_weight=is_weight)
        self._last_uses = _last_uses(self._steps, keep=self._last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the graph gives for images."""
        batch = x.shape[0]
        made = {self._input_name: x}
        for step, over in zip(self._steps, self._last_uses, strict=True):
            inputs = [made[name] if name in made else self._constant(name) for name in step.inputs]
            results = step.compute(batch, *inputs)
            made.update(zip(step.outputs, results if isinstance(results, (tuple, list)) else (results,), strict=False))
            for name in over:
                made.pop(name, None)
        return made[self._last]

    def _constant(self, name: str) -> torch.Tensor:
        module: nn.Module = self
        *folders, last = self._paths[name]
        for folder in folders:
            module = getattr(module, folder)
        found = getattr(module, last)
        assert isinstance(found, torch.Tensor)
        return found


def _put(root: nn.Module, path: tuple[str, ...], tensor: torch.Tensor, *, is_weight: bool) -> None:
    module = root
    for name in path[:-1]:
        if name not in module._modules:
            module.add_module(name, nn.Module())
        module = module.get_submodule(name)
    if is_weight:
        module.register_parameter(path[-1], nn.Parameter(tensor))
    else:
        module.register_buffer(path[-1], tensor)


def _paths(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return where constants are kept: at their names' dots, where the names allow it, else at one plain name."""
    split = {name: _split(name) for name in names}
    ends = Counter(split.values())
    folders = {path[:depth] for path in split.values() for depth in range(1, len(path))}
    paths: dict[str, tuple[str, ...]] = {}
    for number, (name, path) in enumerate(split.items()):
        is_free = ends[path] == 1 and path not in folders and not any(part in _TAKEN for part in path)
        paths[name] = path if is_free else (f"constant_{number}_{'_'.join(path)}",)
    return paths


def _split(name: str) -> tuple[str, ...]:
    parts = [re.sub(r"\W+", "_", part).strip("_") for part in name.split(".")]
    return tuple(part for part in parts if part) or ("constant",)


_TAKEN = frozenset(dir(nn.Module())) | {"input_shape"}
"""Names that modules have already."""


def _last_uses(steps: tuple[Step, ...], *, keep: str) -> tuple[tuple[str, ...], ...]:
    """Return, for each step, what nothing needs after it."""
    last = {name: number for number, step in enumerate(steps) for name in (*step.outputs, *step.inputs)}
    over: list[list[str]] = [[] for _ in steps]
    for name, number in last.items():
        if name != keep:
            over[number].append(name)
    return tuple(tuple(names) for names in over)
