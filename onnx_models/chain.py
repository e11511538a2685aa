"""A network as a chain of blocks: one tensor passes from each to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

import onnx

from onnx_models.errors import ExportError

COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operations that take nearly all of the time; a block has at least one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainBlock:
    """A part of a network's graph that takes one tensor and gives one.

    Attributes:
        nodes: names of its nodes, in the order they run.
        macs: multiply-accumulates of its convolutions and products.
    """

    nodes: tuple[str, ...]
    macs: int

    @property
    def name(self) -> str:
        """Return what its nodes' names begin with; where they have nothing in common, those of the first and last."""
        scopes = [node.strip("/").split("/") for node in self.nodes]
        shared: list[str] = []
        for parts in zip(*scopes, strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        return "/".join(shared) or f"{'/'.join(scopes[0])} to {'/'.join(scopes[-1])}"


def chain_blocks(path: Path, *, most: int) -> tuple[ChainBlock, ...]:
    """Return the blocks of a model in order, cut wherever only one tensor passes.

    Operations that compute little, such as an activation or a pooling, belong to the block before them. Where there are
    more blocks than `most`, neighbours with the fewest multiply-accumulates are put together.

    Args:
        path: a model with inferred shapes, as `prepare` writes it.

    Raises:
        ExportError: its nodes have no names to tell them by, or none of them is a convolution or a product.
    """
    graph = onnx.load(path, load_external_data=False).graph
    names = [node.name for node in graph.node]
    if "" in names or len(set(names)) < len(names):
        raise ExportError(f"{path.name}: expected a name of its own for each node, found several without one")
    macs = _macs(graph)
    pieces = _with_computing([list(graph.node[first:after]) for first, after in pairwise(_cuts(graph))])
    if not pieces:
        raise ExportError(f"{path.name} has no convolution and no product that could be computed in int8")
    while len(pieces) > max(most, 1):
        sums = [sum(macs[node.name] for node in (*a, *b)) for a, b in pairwise(pieces)]
        at = sums.index(min(sums))
        pieces[at : at + 2] = [[*pieces[at], *pieces[at + 1]]]
    return tuple(
        ChainBlock(nodes=tuple(node.name for node in piece), macs=sum(macs[node.name] for node in piece))
        for piece in pieces
    )


def _cuts(graph: onnx.GraphProto) -> list[int]:
    """Return the numbers of nodes before which the graph can be cut, its beginning and its end among them."""
    last_use = {name: number for number, node in enumerate(graph.node) for name in node.input}
    last_use |= {output.name: len(graph.node) for output in graph.output}
    weights = {tensor.name for tensor in graph.initializer}
    live = {value.name for value in graph.input if value.name not in weights}
    cuts = [0]
    for number, node in enumerate(graph.node[:-1]):
        if set(node.input) - weights - {""}:  # what depends on no input is a constant, which passes nothing on
            live |= {name for name in node.output if name}
        else:
            weights |= set(node.output)
        live = {name for name in live if last_use.get(name, -1) > number}
        if len(live) == 1:
            cuts.append(number + 1)
    return [*cuts, len(graph.node)]


def _with_computing(pieces: Sequence[list[onnx.NodeProto]]) -> list[list[onnx.NodeProto]]:
    """Join pieces that compute little with the one before them, the first ones with that after them."""
    found: list[list[onnx.NodeProto]] = []
    waiting: list[onnx.NodeProto] = []
    for piece in pieces:
        if any(node.op_type in COMPUTING for node in piece):
            found.append([*waiting, *piece])
            waiting = []
        elif found:
            found[-1].extend(piece)
        else:
            waiting.extend(piece)
    return found


def _macs(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the multiply-accumulates of each node by its name; 0 where its shapes are not known."""
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input, *graph.output)
    } | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        given = prod(shapes.get(node.output[0], [0])) if node.op_type in COMPUTING else 0
        taken, weights = (shapes.get(name, [0]) for name in [*node.input, "", ""][:2])
        each = prod(weights[1:]) if node.op_type.startswith("Conv") else taken[-1] if taken else 0
        if node.op_type == "ConvTranspose":  # each element of the input meets the kernels of a group
            given = prod(taken)
        found[node.name] = given * each
    return found
