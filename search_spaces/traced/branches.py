"""What of a network can be left out or made smaller besides widths: residual branches, and kernels."""

from __future__ import annotations

from dataclasses import dataclass

from search_spaces.traced.graph import Argument, Graph, Node, PerImage, Ref, common_path, operators

WEIGHTED = operators(
    "conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul bmm "
    "scaled_dot_product_attention"
)
"""Operators that do a network's multiplications."""

SMALLEST_KERNEL = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """A residual branch: what it computes is added to what it is computed from.

    Attributes:
        name: the path of the modules in it that they have in common.
        addition: the node that adds.
        source: the value that it is computed from and added to.
        nodes: the nodes in the branch.
    """

    name: str
    addition: str
    source: str
    nodes: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """A depthwise convolution's kernel, and what it can become: the middle of what it is.

    Attributes:
        weight: the tensor's name.
        sizes: pixels a side, its own first.
    """

    weight: str
    sizes: tuple[int, ...]


def find_branches(graph: Graph) -> tuple[Branch, ...]:
    """Return the residual branches that can be left out, in the network's order."""
    found = [branch for node in graph.nodes if (branch := _branch(graph, node)) is not None]
    taken: dict[str, int] = {}
    named = []
    for branch in found:
        number = taken[branch.name] = taken.get(branch.name, 0) + 1
        name = branch.name if number == 1 else f"{branch.name}.{number}"
        named.append(Branch(name=name, addition=branch.addition, source=branch.source, nodes=branch.nodes))
    return tuple(named)


def _branch(graph: Graph, node: Node) -> Branch | None:
    if node.kind != "add" or len(node.args) != 2 or not all(isinstance(a, Ref) for a in node.args):
        return None
    names = node.inputs
    if len(set(names)) != 2 or len({graph.shape_of(name) for name in names}) != 1:
        return None
    for source, end in (names, names[::-1]):
        inside = _between(graph, source, end)
        if inside and any(graph.by_name[name].kind in WEIGHTED for name in inside):
            users = {user.name for name in inside for user in graph.users.get(name, ())}
            if users <= inside | {node.name} and graph.output not in inside and _has_own_weights(graph, inside):
                return Branch(
                    name=_common_path(graph, inside), addition=node.name, source=source, nodes=frozenset(inside)
                )
    return None


def _has_own_weights(graph: Graph, inside: set[str]) -> bool:
    """Return whether no node elsewhere takes a weight that the nodes take: it would stay where they are left out."""
    names = {name for node in inside for name in graph.by_name[node].inputs if name in graph.tensor}
    weights = [name for name in names if graph.tensor[name].is_trained]
    return all(user.name in inside for name in weights for user in graph.users[name])


def _between(graph: Graph, source: str, end: str) -> set[str]:
    """Return the nodes that lead from a value to another; none where that depends on more than the one."""
    inside: set[str] = set()
    waiting = [end]
    inputs = {name for name, _ in graph.inputs}
    while waiting:
        name = waiting.pop()
        if name == source or name in inside or name in graph.tensor:
            continue
        if name in inputs:
            return set()
        inside.add(name)
        waiting += graph.by_name[name].inputs
    return inside


def _common_path(graph: Graph, inside: set[str]) -> str:
    tensors = [n for name in inside for n in graph.by_name[name].inputs if n in graph.tensor]
    return common_path(name.rpartition(".")[0] for name in tensors) or min(inside)


def find_kernels(graph: Graph) -> tuple[Kernel, ...]:
    """Return the depthwise kernels that can become smaller without another size of what they give."""
    found: dict[str, Kernel] = {}
    for node in graph.nodes:
        if node.kind in ("conv1d", "conv2d", "conv3d") and (weight := _depthwise(graph, node)) is not None:
            size = graph.tensor[weight].shape[2]
            found.setdefault(weight, Kernel(weight=weight, sizes=tuple(range(size, SMALLEST_KERNEL - 1, -2))))
    return tuple(found.values())


def _depthwise(graph: Graph, node: Node) -> str | None:
    """Return the weight of a depthwise convolution whose padding keeps the size; None of others."""
    args, weight = node.args, node.args[1]
    groups = args[6] if len(args) > 6 else 1
    channels = graph.shape_of(node.inputs[0])[1]
    if groups == 1 or groups != channels or not isinstance(weight, Ref) or weight.name not in graph.tensor:
        return None
    if len(graph.users[weight.name]) != 1:
        return None
    sizes = graph.tensor[weight.name].shape[2:]
    padding = _each(args[4] if len(args) > 4 else 0, len(sizes))
    dilation = _each(args[5] if len(args) > 5 else 1, len(sizes))
    is_square = len(set(sizes)) == 1 and sizes[0] % 2 == 1 and sizes[0] > SMALLEST_KERNEL
    is_centred = all(p == d * (sizes[0] // 2) for p, d in zip(padding, dilation, strict=True))
    return weight.name if is_square and is_centred else None


def _each(argument: Argument, num: int) -> tuple[int, ...]:
    if isinstance(argument, tuple):
        values = argument if len(argument) == num else argument * num
        return tuple(value if isinstance(value, int) else -1 for value in values)
    return (argument if isinstance(argument, int) else -1,) * num


NO_NUMBERS = operators("eq ne lt le gt ge logical_and logical_or logical_not isnan isinf argmax argmin sign")
"""Operators that give other than real numbers: parts begin and end with those."""


def _is_cast_to_no_float(node: Node) -> bool:
    return node.kind == "to" and len(node.args) > 1 and "float" not in str(node.args[1])


def is_per_image(graph: Graph, name: str) -> bool:
    """Return whether a value has one entry, or several, for each image along its first axis and there alone."""
    node = graph.by_name.get(name)
    if node is not None and node.shape is None:
        return False
    if node is not None and (node.kind in NO_NUMBERS or _is_cast_to_no_float(node)):
        return False
    shape = graph.shape_of(name)
    return bool(shape) and isinstance(shape[0], PerImage) and not any(isinstance(s, PerImage) for s in shape[1:])
