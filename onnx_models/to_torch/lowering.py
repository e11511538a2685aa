"""From a graph to the steps of a module: every operation is followed with three batches, and fixed once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from onnx import NodeProto

from onnx_models.errors import ModelError
from onnx_models.to_torch.fusing import fused
from onnx_models.to_torch.graph import Graph
from onnx_models.to_torch.node import Compute, Lowered, Node, NotCoveredError
from onnx_models.to_torch.operators import OPERATORS
from onnx_models.to_torch.operators.joining import single
from onnx_models.to_torch.value import Value, growing_axis

OF_SHAPES = ("Shape", "Size")
"""Operators whose results are known before there are pixels."""

MAX_CONSTANT_ELEMENTS = 1 << 28
"""Most numbers of a constant that is computed; the largest layers of classifiers have a tenth."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Says what the module does at one point.

    Attributes:
        node: name of the ONNX node that it comes from.
        compute: from the batch and the inputs.
        inputs: names of images or constants.
        outputs: names of what is made.
    """

    node: str
    compute: Compute
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """All that a module needs.

    Attributes:
        steps: in order.
        constants: weights and other constants by name.
        statistics: names of those that are no weights.
        last: name of what comes out.
    """

    steps: tuple[Step, ...]
    constants: dict[str, torch.Tensor]
    statistics: frozenset[str]
    last: str


def lower(graph: Graph) -> Steps:
    """Return the steps of a graph; those that do not lead to its output, or depend on no pixels, are gone.

    Raises:
        ModelError: an operation is not covered, or mixes the images of a batch.
    """
    follower = _Follower(graph)
    for proto in fused(graph):
        follower.follow(proto)
    return follower.finished()


class _Follower:
    """Follows a graph; holds what is known of its tensors so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._batches = (graph.batch or 1, 2, 3)
        self._values = {name: Value(name=name, lanes=(tensor,) * 3) for name, tensor in graph.constants.items()}
        images = tuple(torch.empty((batch, *graph.input_shape), device="meta") for batch in self._batches)
        self._values[graph.input_name] = Value(name=graph.input_name, lanes=images, is_data=True)
        self._steps: list[Step] = []
        self._constants: dict[str, Value] = {}

    def follow(self, proto: NodeProto) -> None:
        """Add what a node does.

        Raises:
            ModelError: it is not covered.
        """
        node = Node(
            graph_name=self._graph.name,
            proto=proto,
            inputs=tuple(self._values[name] if name else None for name in proto.input),
            batches=self._batches,
            opset=self._graph.opset,
        )
        try:
            self._take(node, self._lowered(node))
        except NotCoveredError as error:
            raise node.error(str(error)) from error
        except ModelError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, ZeroDivisionError) as error:
            shapes = ", ".join("x".join(map(str, value.shape)) or "a number" for value in node.given())
            reason = str(error).strip().partition("\n")[0]
            raise node.error(f"it does not take several images at a time, of {shapes}: {reason}") from error

    def _lowered(self, node: Node) -> Lowered:
        if node.proto.domain not in ("", "ai.onnx") or node.operator not in OPERATORS:
            domain = f" of {node.proto.domain}" if node.proto.domain not in ("", "ai.onnx") else ""
            raise NotCoveredError(f"the operator{domain} is not known here")
        return OPERATORS[node.operator](node)

    def _take(self, node: Node, lowered: Lowered) -> None:
        is_data = any(value.is_data for value in lowered.inputs) and node.operator not in OF_SHAPES
        inputs = tuple(_as_input(value) for value in lowered.inputs) if is_data else lowered.inputs
        inputs = tuple(replace(value, name=better_name(node.proto, value.name, i)) for i, value in enumerate(inputs))
        lanes = [self._lane(lowered.compute, inputs, lane, is_data=is_data) for lane in range(3)]
        names = tuple(node.proto.output)
        if any(names[len(lanes[0]) :]):
            raise NotCoveredError(f"it gives {len(names)} results, expected {len(lanes[0])}, as outside of training")
        for place, name in enumerate(names[: len(lanes[0])]):
            made = tuple(lane[place] for lane in lanes)
            if not is_data and all(m.dtype == made[0].dtype and torch.equal(m, made[0]) for m in made[1:]):
                made = (made[0],) * 3
            self._values[name] = Value(name=name, lanes=made, is_data=is_data)
            if is_data and growing_axis([tuple(m.shape) for m in made]) is None:
                raise NotCoveredError("it mixes the images of a batch")
        if is_data:
            self._steps.append(
                Step(
                    node=node.proto.name or names[0],
                    compute=lowered.compute,
                    inputs=tuple(value.name if value.is_data else self._kept(value) for value in inputs),
                    outputs=names,
                )
            )

    def _lane(self, compute: Compute, inputs: tuple[Value, ...], lane: int, *, is_data: bool) -> tuple[Any, ...]:
        tensors = [value.lanes[lane] for value in inputs]
        on_meta = [tensor.to("meta") for tensor in tensors]
        if not is_data:
            if not any(tensor.is_meta for tensor in tensors):
                _require_small(compute, self._batches[lane], tensors, on_meta)
            made = compute(self._batches[lane], *tensors)
        else:
            made = compute(self._batches[lane], *on_meta)
        return tuple(made) if isinstance(made, (tuple, list)) else (made,)

    def _kept(self, value: Value) -> str:
        """Return the name that a constant is kept under; one that was changed gets another than the original's."""
        name, number = value.name, 1
        while name in self._constants and not _are_equal(self._constants[name], value):
            number += 1
            name = f"{value.name}_{number}"
        self._constants[name] = value
        return name

    def finished(self) -> Steps:
        """Return the steps that lead to the output.

        Raises:
            ModelError: the output does not depend on the images.
        """
        last = self._graph.output_name
        value = self._values.get(last)
        if value is None or not value.is_data or value.batch_axis != 0:
            raise ModelError(f"{self._graph.name}: the output {last!r} has not one row for each image")
        needed, steps = {last}, []
        for step in reversed(self._steps):
            if needed & set(step.outputs):
                needed |= set(step.inputs)
                steps.append(step)
        kept = {name: value for name, value in self._constants.items() if name in needed}
        return Steps(
            steps=tuple(reversed(steps)),
            constants={name: value.lanes[0] for name, value in kept.items()},
            statistics=frozenset(name for name, value in kept.items() if value.is_statistic),
            last=last,
        )


ANONYMOUS = "onnx::"
"""Begins the names of weights that torch's exporter changed on the way, such as those that BatchNorm is folded into."""

NUMBERED = re.compile(r"val_\d+")
"""Names of such weights by torch's newer exporter."""


def better_name(node: NodeProto, name: str, place: int) -> str:
    """Return the name of a layer's weight in the network before it was exported, where the node's name tells.

    torch's older exporter calls nodes by modules: the weight of /layer1/layer1.0/conv1/Conv was layer1.0.conv1.weight.
    Its newer one calls changed weights by numbers, and leaves the bias its name.
    """
    if node.op_type not in ("Conv", "Gemm", "MatMul") or place not in (1, 2):
        return name
    if place == 1 and NUMBERED.fullmatch(name) and len(node.input) > 2 and node.input[2].endswith(".bias"):
        return f"{node.input[2].removesuffix('.bias')}.weight"
    if not name.startswith(ANONYMOUS):
        return name
    modules: list[str] = []
    for part in node.name.strip("/").split("/")[:-1]:
        if modules and part.startswith(f"{modules[-1]}."):
            modules.pop()
        modules.append(part)
    return ".".join([*modules, ("weight", "bias")[place - 1]]) if modules else name


def _as_input(value: Value) -> Value:
    """Return what stands for a constant that was repeated for every image: its one row, which broadcasts."""
    if value.is_data or value.is_constant:
        return value
    axis = growing_axis([tuple(lane.shape) for lane in value.lanes])
    if axis is None:
        raise NotCoveredError(f"{value.name!r} depends on how many images there are")
    return single(value, axis)


def _are_equal(left: Value, right: Value) -> bool:
    a, b = left.lanes[0], right.lanes[0]
    return a.dtype == b.dtype and left.is_statistic == right.is_statistic and torch.equal(a, b)


def _require_small(compute: Compute, batch: int, tensors: list[torch.Tensor], on_meta: list[torch.Tensor]) -> None:
    """Find out how large a constant would be before it is made.

    Raises:
        NotCoveredError: larger than any model has them.
    """
    try:
        made = compute(batch, *on_meta)
    except (RuntimeError, NotImplementedError):  # needs the numbers, as shapes do
        return
    total = sum(tensor.numel() for tensor in (made if isinstance(made, (tuple, list)) else (made,)))
    if total > MAX_CONSTANT_ELEMENTS:
        raise NotCoveredError(f"it makes a constant of {total:,} numbers, expected at most {MAX_CONSTANT_ELEMENTS:,}")
