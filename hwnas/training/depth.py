"""The order of a network's parts, by which early ones learn more slowly and late ones are left out more often."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.dense import DenseSupernet
from search_spaces.supernet import Supernet
from search_spaces.traced.network import GraphNetwork


def places_of(module: nn.Module) -> list[nn.Module]:
    """Return the parts that follow each other in a network; the candidates for one place of a supernet are one part."""
    if isinstance(module, DenseSupernet):
        # Its heads are by width, each with a block for every place.
        return [*places_of(module.backbone), *(nn.ModuleList(own) for own in module.blocks_by_place())]
    found: list[nn.Module] = []
    children = list(module.children())
    if len(children) == 1 and not isinstance(children[0], nn.ModuleList | GraphNetwork):
        return places_of(children[0]) or children  # a network around one that has the parts
    for child in children:
        if isinstance(child, nn.ModuleList):
            found.extend(child)
        elif isinstance(module, nn.ModuleDict) or isinstance(child, Supernet):
            found.extend(places_of(child))
        else:
            found.append(child)
    return found


def set_stochastic_depth(module: nn.Module, most: float) -> bool:
    """Set the probabilities of leaving out residual branches; return whether there are any such branches.

    They rise linearly with the place of the branch among those that have one, up to `most` at the last (Huang et al.
    2016, equation 4). Candidates for one place of a supernet have one probability.
    """
    branches = [[part for part in place.modules() if isinstance(part, StochasticDepth)] for place in places_of(module)]
    branches = [parts for parts in branches if parts]
    for number, parts in enumerate(branches, start=1):
        for part in parts:
            part.probability = most * number / len(branches)
    return bool(branches)


def layers_of(module: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of a network by the layers that they are of, from input to output.

    A layer is a block, or the candidates for its place. In a network that somebody brought, one begins with each
    weight of two axes or more, in the order in which its graph uses them. What stands beside the network, such as a
    criterion's weights, belongs to the last layer.
    """
    layers: list[list[nn.Parameter]] = []
    left = dict.fromkeys(module.parameters(), True)
    for place in places_of(module):
        found = _layers_of_graph(place) if isinstance(place, GraphNetwork) else [[*place.parameters()]]
        for parameters in found:
            # What several layers share is of the first of them.
            layers.append([p for p in dict.fromkeys(parameters) if left.pop(p, False)])
    layers = [parameters for parameters in layers if parameters] or [[]]
    layers[-1].extend(left)
    return layers


def _layers_of_graph(network: GraphNetwork) -> Iterator[list[nn.Parameter]]:
    used = dict.fromkeys(name for node in network.graph.nodes for name in node.inputs)
    values = {name: network.tensor(name) for name in used if name in network.graph.tensor}
    layer: list[nn.Parameter] = []
    for parameter in values.values():
        if not isinstance(parameter, nn.Parameter):
            continue
        if parameter.ndim > 1 and layer:
            yield layer
            layer = []
        layer.append(parameter)
    yield layer
