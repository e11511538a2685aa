"""Where the time of a model goes: its fused operators in the runtime's order, which sum to the whole run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import onnx

from lut.dissected import fused_graph, moved_bytes, whole_of
from lut.overhead import Overhead, fit_overhead
from lut.roofline import Roofline, fit_roofline
from onnx_models.errors import ModelError
from onnx_models.fused_graph import FusedGraph
from onnx_models.kernels import Kernel, kernels_of
from profilers import Model, Profiler
from profilers.dissection import Dissection, dissect, graphs_of
from profilers.errors import MeasurementError

CUTS = (2, 4)
"""Numbers of parts that a model is cut into, to learn what the profiler adds from other models than the whole."""

CPU = "CPUExecutionProvider"

WHOLE = "whole"
"""Name of the model itself among its parts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Operator:
    """A fused operator of a model, and the time that it takes there.

    Attributes:
        name, operation: as the runtime calls them.
        provider: what executed it.
        ms: milliseconds of a forward pass.
        moved_bytes: weights and activations that it reads and writes.
        kernel: what its time depends on; None where the runtime does not tell the graph.
    """

    name: str
    operation: str
    provider: str
    ms: float
    moved_bytes: int
    kernel: Kernel | None

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates; None where the runtime does not tell the graph."""
        return None if self.kernel is None else self.kernel.macs

    @property
    def gb_per_s(self) -> float | None:
        """Gigabytes that it moves a second; None where it takes no time that could be told."""
        return self.moved_bytes / self.ms / 1e6 if self.ms > 0 else None

    @property
    def gflop_per_s(self) -> float | None:
        """Billions of additions and multiplications a second; None where that is not known."""
        return 2 * self.macs / self.ms / 1e6 if self.macs is not None and self.ms > 0 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """Where the time of a model goes.

    Attributes:
        operators: in the order that they run.
        whole_ms: of a forward pass, measured without the profiler.
        overhead: what the profiler adds, learnt from parts of the model.
        part_errors: by how much nodes sum to more than each of these parts took, relative to it.
        roofline: what operators of this model cost by bytes and multiply-accumulates; None where no graph is told.
        provider: what the device asks for.
        worker: what the worker said of itself and its machine.
    """

    operators: tuple[Operator, ...]
    whole_ms: float
    overhead: Overhead
    part_errors: tuple[float, ...]
    roofline: Roofline | None
    provider: str
    worker: Mapping[str, object]

    @property
    def remainder_ms(self) -> float:
        """Return what the whole takes more than its operators sum to: the part that is not explained."""
        return self.whole_ms - sum(operator.ms for operator in self.operators)

    @property
    def fallen_back(self) -> tuple[Operator, ...]:
        """The operators that ran on the CPU though another provider was asked for."""
        is_asked = self.provider in ("cpu", CPU)
        return () if is_asked else tuple(o for o in self.operators if o.provider == CPU)

    def share(self, operators: Sequence[Operator]) -> float:
        """Return the share of the whole run that operators take."""
        return sum(operator.ms for operator in operators) / self.whole_ms

    def memory_share(self) -> float | None:
        """Return the share of the operators' time that goes with bytes moved; None where that is not known."""
        if self.roofline is None:
            return None
        kernels = [o.kernel for o in self.operators if o.kernel is not None]
        return self.roofline.memory_ms(kernels) / self.roofline.total_ms(kernels)


def explain_model(path: Path, profiler: Profiler, scratch: Path) -> Explanation:
    """Explain a model of fixed shapes on the profiler's device.

    The times of operators are those of the runtime's profiler less what it adds, which is learnt from halves and
    quarters of the model, with the profiler and without. The whole is none of them, so that what the operators lack
    of it is an error that nothing was fitted to.

    Args:
        scratch: a folder for the parts.

    Raises:
        MeasurementError: the device cannot run the model, or its runtime's worker takes no models apart.
        ModelError: the sizes of a tensor depend on what goes in.
    """
    models = [Model(key=WHOLE, path=path), *_parts(path, profiler, scratch)]
    result = dissect(profiler, models)
    whole = _found(result.found, result.failures, profiler)
    graph = fused_graph(whole)
    parts = [whole_of(result.found[m.key]) for m in models[1:] if m.key in result.found]
    overhead = fit_overhead(parts)
    times_ms = overhead.corrected_ms(whole.node_ms()).tolist()
    kernels: list[Kernel] | list[None] = [None] * len(times_ms) if graph is None else kernels_of(graph)
    return Explanation(
        operators=_operators(whole, times_ms, kernels),
        whole_ms=whole.whole_ms(),
        overhead=overhead,
        part_errors=tuple(part.error(overhead) for part in parts),
        roofline=None if graph is None else fit_roofline([k for k in kernels if k is not None], times_ms),
        provider=profiler.device.provider,
        worker=result.worker,
    )


def _operators(whole: Dissection, times_ms: Sequence[float], kernels: Sequence[Kernel | None]) -> tuple[Operator, ...]:
    return tuple(
        Operator(
            name=node.name,
            operation=node.operation,
            provider=node.provider,
            ms=ms,
            moved_bytes=moved_bytes(node) if kernel is None else kernel.moved_bytes,
            kernel=kernel,
        )
        for node, ms, kernel in zip(whole.nodes, times_ms, kernels, strict=True)
    )


def _parts(path: Path, profiler: Profiler, scratch: Path) -> list[Model]:
    """Return halves and quarters of a model by its nodes; none where no graph is told."""
    result = graphs_of(profiler, [Model(key=WHOLE, path=path)])
    whole = _found(result.found, result.failures, profiler)
    if (graph := fused_graph(whole)) is None:
        return []
    _require_flat(graph)
    models = []
    for first, end in part_ranges(len(graph.nodes)):
        target = scratch / f"nodes-{first}-{end}.onnx"
        onnx.save(graph.cut(first, end), target)
        models.append(Model(key=f"nodes {first} to {end - 1}", path=target))
    return models


def _found(found: Mapping[str, Dissection], failures: Mapping[str, str], profiler: Profiler) -> Dissection:
    if WHOLE not in found:
        raise MeasurementError(f"cannot take the model apart on {profiler.device.name}: {failures[WHOLE]}")
    return found[WHOLE]


def part_ranges(num_nodes: int) -> list[tuple[int, int]]:
    """Return the first node and the one after the last of every half and quarter, without what is there twice."""
    ranges: dict[tuple[int, int], None] = {}
    for num in CUTS:
        edges = sorted({round(k * num_nodes / num) for k in range(num + 1)})
        ranges |= {(a, b): None for a, b in pairwise(edges) if b - a < num_nodes}
    return list(ranges)


def _require_flat(graph: FusedGraph) -> None:
    """Raise ModelError where a node runs a graph of its own, which no part can hold."""
    for node in graph.nodes:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ModelError(f"{node.op_type} {node.name!r} runs a graph of its own; what it takes is not known before")
