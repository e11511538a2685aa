"""Layers that exporters write as several nodes, made one again: linear layers, GELU, SiLU, hard swish, LayerNorm.

Only the last node of each is replaced; what nothing needs any more goes when the steps are gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import isclose, sqrt

import torch
from onnx import NodeProto, helper

from onnx_models.to_torch.graph import Graph, tensor_of

_Pattern = Callable[["_Nodes", NodeProto], NodeProto | None]


def fused(graph: Graph) -> tuple[NodeProto, ...]:
    """Return the nodes of a graph, those that end such a layer replaced by the layer."""
    nodes = _Nodes(graph)
    return tuple(_replaced(nodes, node) for node in graph.nodes)


def _replaced(nodes: _Nodes, node: NodeProto) -> NodeProto:
    for pattern in _PATTERNS.get(node.op_type, ()):
        if (found := pattern(nodes, node)) is not None:
            return found
    return node


class _Nodes:
    """Knows what makes a tensor, and which tensors are constants."""

    def __init__(self, graph: Graph) -> None:
        self._makers = {name: node for node in graph.nodes for name in node.output}
        self._constants: dict[str, torch.Tensor] = dict(graph.constants)
        for node in graph.nodes:
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            if node.op_type == "Constant" and value is not None:
                self._constants[node.output[0]] = tensor_of(graph.name, value)
            elif node.op_type == "Identity" and node.input[0] in self._constants:  # equal weights are kept once
                self._constants[node.output[0]] = self._constants[node.input[0]]

    def maker(self, name: str, operator: str) -> NodeProto | None:
        """Return the node that makes a tensor, if it is of that operator."""
        node = self._makers.get(name)
        return node if node is not None and node.op_type == operator and node.domain in ("", "ai.onnx") else None

    def constant(self, name: str, rank: int) -> torch.Tensor | None:
        """Return a constant of that many axes."""
        found = self._constants.get(name)
        return found if found is not None and found.ndim == rank else None

    def number(self, name: str) -> float | None:
        """Return a constant that is one number."""
        found = self._constants.get(name)
        return float(found) if found is not None and found.numel() == 1 else None

    def is_number(self, name: str, wanted: float) -> bool:
        """Return whether a tensor is that number, as float32 has it."""
        found = self.number(name)
        return found is not None and isclose(found, wanted, rel_tol=1e-5)


def _either(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    first, second = names
    return (first, second), (second, first)


def linear(nodes: _Nodes, node: NodeProto) -> NodeProto | None:
    """A product with a constant matrix, and a bias."""
    for product_name, bias_name in _either(node.input):
        product, bias = nodes.maker(product_name, "MatMul"), nodes.constant(bias_name, 1)
        weight = None if product is None else nodes.constant(product.input[1], 2)
        if product is not None and bias is not None and weight is not None and weight.shape[1] == bias.shape[0]:
            return helper.make_node("Gemm", [*product.input, bias_name], list(node.output), product.name)
    return None


def layer_norm(nodes: _Nodes, node: NodeProto) -> NodeProto | None:
    """Layer normalisation over the last axis, from means, roots and quotients."""
    for scaled_name, bias in _either(node.input):
        scaled = nodes.maker(scaled_name, "Mul")
        if scaled is None or nodes.constant(bias, 1) is None:
            continue
        for quotient_name, weight in _either(scaled.input):
            quotient = nodes.maker(quotient_name, "Div")
            if quotient is None or nodes.constant(weight, 1) is None:
                continue
            if (found := _normalised(nodes, quotient)) is not None:
                x, epsilon = found
                inputs, outputs = [x, weight, bias], list(node.output)
                return helper.make_node("LayerNormalization", inputs, outputs, node.name, axis=-1, epsilon=epsilon)
    return None


def _normalised(nodes: _Nodes, quotient: NodeProto) -> tuple[str, float] | None:
    """Return what is normalised and with which epsilon; None where the quotient is something else."""
    centred, root = nodes.maker(quotient.input[0], "Sub"), nodes.maker(quotient.input[1], "Sqrt")
    total = None if root is None else nodes.maker(root.input[0], "Add")
    if centred is None or total is None or not _is_mean(nodes, centred.input[1], of=centred.input[0]):
        return None
    for variance, epsilon_name in _either(total.input):
        epsilon, mean = nodes.number(epsilon_name), nodes.maker(variance, "ReduceMean")
        square = None if mean is None else nodes.maker(mean.input[0], "Pow")
        if epsilon is None or square is None or not nodes.is_number(square.input[1], 2.0):
            continue
        if square.input[0] == quotient.input[0] and _is_mean(nodes, variance, of=square.output[0]):
            return centred.input[0], epsilon
    return None


def _is_mean(nodes: _Nodes, name: str, *, of: str) -> bool:
    """Whether a tensor is the mean of another over its last axis."""
    mean = nodes.maker(name, "ReduceMean")
    if mean is None or mean.input[0] != of:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in mean.attribute}
    axes = attributes.get("axes")
    if axes is None and len(mean.input) > 1 and (given := nodes.constant(mean.input[1], 1)) is not None:
        axes = given.tolist()
    return axes is not None and list(axes) == [-1] and bool(attributes.get("keepdims", 1))


def gelu(nodes: _Nodes, node: NodeProto) -> NodeProto | None:
    """x * (erf(x / sqrt(2)) + 1) / 2, in any order of its factors."""
    factors = _factors(nodes, node)
    halves = [name for name in factors if nodes.is_number(name, 0.5)]
    sums = [name for name in factors if nodes.maker(name, "Add") is not None]
    if len(factors) != 3 or len(halves) != 1:
        return None
    for name in sums:
        x = next((other for other in factors if other not in (halves[0], name)), None)
        if x is not None and _is_erf_and_one(nodes, name, x):
            return helper.make_node("Gelu", [x], list(node.output), node.name)
    return None


def _factors(nodes: _Nodes, node: NodeProto) -> list[str]:
    """Return the factors of a product, those of one product within it apart."""
    names = list(node.input)
    for name in node.input:
        inner = nodes.maker(name, "Mul")
        if inner is not None and len(names) == 2:
            names.remove(name)
            names += inner.input
    return names


def _is_erf_and_one(nodes: _Nodes, name: str, x: str) -> bool:
    total = nodes.maker(name, "Add")
    for erf_name, one in _either(total.input) if total is not None else ():
        erf = nodes.maker(erf_name, "Erf")
        if erf is None or not nodes.is_number(one, 1.0):
            continue
        quotient, product = nodes.maker(erf.input[0], "Div"), nodes.maker(erf.input[0], "Mul")
        if quotient is not None and quotient.input[0] == x and nodes.is_number(quotient.input[1], sqrt(2)):
            return True
        if product is not None and any(
            left == x and nodes.is_number(right, sqrt(0.5)) for left, right in _either(product.input)
        ):
            return True
    return False


def swish(nodes: _Nodes, node: NodeProto) -> NodeProto | None:
    """x * sigmoid(x), and the same with the hard sigmoid."""
    for x, gate_name in _either(node.input):
        gate, hard = nodes.maker(gate_name, "Sigmoid"), nodes.maker(gate_name, "HardSigmoid")
        if gate is not None and gate.input[0] == x:
            return helper.make_node("Swish", [x], list(node.output), node.name)
        if hard is not None and hard.input[0] == x:
            attributes = {a.name: a.f for a in hard.attribute}
            if isclose(attributes.get("alpha", 0.2), 1 / 6, rel_tol=1e-5) and attributes.get("beta", 0.5) == 0.5:
                return helper.make_node("HardSwish", [x], list(node.output), node.name)
    return None


_PATTERNS: Mapping[str, tuple[_Pattern, ...]] = {"Add": (linear, layer_norm), "Mul": (gelu, swish)}
"""By the operator of the last node."""
