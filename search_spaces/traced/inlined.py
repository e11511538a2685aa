"""Regions of a program that run under a setting, such as without gradients, as part of the program."""

from __future__ import annotations

import operator

from torch import fx
from torch.export import ExportedProgram

from search_spaces.errors import SpaceError

SETTINGS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")
"""What torch.export makes of `with torch.no_grad()` and `with torch.autocast(...)`."""


def inline_regions(program: ExportedProgram) -> None:
    """Put the nodes of regions under settings where the regions are, in place.

    Raises:
        SpaceError: another construct, such as a loop, has a region.
    """
    while regions := [node for node in program.graph.nodes if _region_of(program.graph_module, node) is not None]:
        for node in regions:
            _inline(program.graph_module, node)


def _region_of(module: fx.GraphModule, node: fx.Node) -> int | None:
    """Return which argument of a call is a graph."""
    if node.op != "call_function":
        return None
    for position, argument in enumerate(node.args):
        held = getattr(module, str(argument.target), None) if isinstance(argument, fx.Node) else None
        if isinstance(held, fx.GraphModule):
            return position
    return None


def _inline(module: fx.GraphModule, node: fx.Node) -> None:
    name = getattr(node.target, "_name", str(node.target))
    if name not in SETTINGS:
        raise SpaceError(f"the network runs a part of it by {name}, expected a course that depends on no values")
    position = _region_of(module, node)
    assert position is not None
    region = node.args[position]
    assert isinstance(region, fx.Node)
    given = iter(node.args[position + 1 :])
    copies: dict[fx.Node, fx.Node] = {}
    outputs: object = None
    with module.graph.inserting_before(node):
        for inner in getattr(module, str(region.target)).graph.nodes:
            if inner.op == "placeholder":
                copies[inner] = next(given)  # type: ignore[assignment]
            elif inner.op == "output":
                outputs = fx.map_arg(inner.args[0], copies.__getitem__)
            else:
                copies[inner] = module.graph.node_copy(inner, copies.__getitem__)
    _replace(module.graph, node, outputs)


def _replace(graph: fx.Graph, node: fx.Node, outputs: object) -> None:
    """Have what takes the outputs of a region take them where they are now."""
    assert isinstance(outputs, list | tuple)
    for user in list(node.users):
        assert user.target is operator.getitem, user
        user.replace_all_uses_with(outputs[user.args[1]])  # type: ignore[index]
        graph.erase_node(user)
    graph.erase_node(node)
