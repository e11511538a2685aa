"""Networks that run a graph."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from onnx_models.export import is_exporting
from search_spaces.blocks.convolution import Conv2d
from search_spaces.traced.exportable import exportable
from search_spaces.traced.graph import Argument, Graph, Node, PerImage, Ref, Tensor, mapped, times_of

WEIGHTS = ("weight", "bias")
STATISTICS = ("batch_norm", "instance_norm")
DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout")


@functools.cache
def operator_of(op: str) -> Callable[..., Any]:
    """Return the function that computes an operator, taking all its arguments by position."""
    if op == "getitem":
        return operator.getitem
    kind, _, overload = op.partition(".")
    function = getattr(getattr(torch.ops.aten, kind), overload)
    keywords = [a.name for a in function._schema.arguments if a.kwarg_only]
    if not keywords:
        return function  # type: ignore[no-any-return]
    num = len(function._schema.arguments) - len(keywords)

    def by_position(*args: Any) -> Any:
        return function(*args[:num], **dict(zip(keywords, args[num:], strict=False)))

    return by_position


def _on(device: torch.device, op: str, args: list[Any]) -> list[Any]:
    """Return the arguments by which an operator makes its tensor on a device."""
    arguments = getattr(getattr(torch.ops.aten, op.partition(".")[0]), op.partition(".")[2])._schema.arguments
    names = [argument.name for argument in arguments]
    if "device" not in names:
        return args
    place = names.index("device")
    missing = [argument.default_value for argument in arguments[len(args) : place]]
    return [*args[:place], *missing, device, *args[place + 1 :]]


def called(
    node: Node, values: Callable[[str], Any], batch: int, *, is_training: bool, device: torch.device | None = None
) -> Any:
    """Return what a node gives.

    Args:
        values: what it takes, by name.
        batch: images in the batch.
        is_training: whether statistics are those of the batch, and dropout drops.
        device: where tensors are made that depend on no others.
    """

    def value(argument: Ref | PerImage) -> Any:
        return values(argument.name) if isinstance(argument, Ref) else argument.times * batch

    args = list(node.args)
    if node.kind == "reshape":
        assert isinstance(args[1], tuple)
        args[1] = tuple(-1 if isinstance(size, PerImage) else size for size in args[1])
    elif node.kind in STATISTICS:
        args[5] = is_training or args[3] is None
    elif node.kind in DROPOUTS:
        args[2] = is_training
    given = [_typed(mapped(argument, value)) for argument in args]
    if node.kind in ("expand", "repeat"):  # as methods exporters follow the batch in their sizes
        return getattr(given[0], node.kind)(*given[1])
    if device is not None and not node.inputs:
        given = _on(device, node.op, given)
    if is_exporting() and (other := exportable(node, given)) is not None:
        return other(*given)
    return operator_of(node.op)(*given)


def _typed(argument: Any) -> Any:
    if isinstance(argument, str) and argument.startswith("dtype:"):
        return getattr(torch, argument.partition(":")[2])
    return argument


def run(
    graph: Graph,
    inputs: Sequence[torch.Tensor],
    tensor: Callable[[str], torch.Tensor],
    *,
    is_training: bool,
    layers: Mapping[str, nn.Module] = MappingProxyType({}),
) -> torch.Tensor:
    """Return what a network computes.

    Args:
        tensor: gives what the network holds, by name.
        layers: that stand for nodes and what they hold, by the node's name.
    """
    times = times_of(graph.inputs[0][1])
    batch = inputs[0].shape[0] if times == 1 else inputs[0].shape[0] // times
    values: dict[str, Any] = {name: x for (name, _), x in zip(graph.inputs, inputs, strict=True)}

    def value_of(name: str) -> Any:
        return values[name] if name in values else tensor(name)

    for node in graph.nodes:
        layer = layers.get(node.name)
        if layer is not None:
            values[node.name] = layer(value_of(node.inputs[0]))
        else:
            values[node.name] = called(node, value_of, batch, is_training=is_training, device=inputs[0].device)
        for name in graph.last_uses.get(node.name, ()):
            del values[name]
    output: torch.Tensor = value_of(graph.output)
    return output


class GraphNetwork(nn.Module):
    """A network that runs a graph, its layers modules under the names that they had where it was traced.

    Args:
        values: of its tensors by name; None for fresh ones.
    """

    def __init__(self, graph: Graph, values: Mapping[str, torch.Tensor] | None = None) -> None:
        super().__init__()
        self.graph = graph
        self._places: dict[str, tuple[str, str]] = {}  # of each tensor, its module and its name there
        self._layers: dict[str, nn.Module] = {}  # by node
        self._layer_paths: set[str] = set()
        self._made: dict[str, tuple[str, tuple[Argument, ...]]] = {}  # of each layer, the call that it was made for
        for node in graph.nodes:
            self._add_layer(node)
        for tensor in graph.tensors:
            if tensor.name not in self._places:
                self._add_tensor(tensor)
        if values is not None:
            self.load_values(values)

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphNetwork:
        copy = GraphNetwork(self.graph, {name: value.detach().clone() for name, value in self.values().items()})
        return copy.train(self.training)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return run(self.graph, inputs, self.tensor, is_training=self.training, layers=self._layers)

    def values(self) -> dict[str, torch.Tensor]:
        """Return the network's tensors by their names in the graph."""
        return {tensor.name: self.tensor(tensor.name) for tensor in self.graph.tensors}

    def load_values(self, values: Mapping[str, torch.Tensor]) -> None:
        """Take the values of tensors by their names in the graph, as they are; those without one stay."""
        for tensor in self.graph.tensors:
            path, name = self._places[tensor.name]
            if tensor.name not in values:
                continue
            owner, value = self.get_submodule(path), values[tensor.name]
            if name in owner._parameters:
                owner._parameters[name] = nn.Parameter(value.detach().clone(), requires_grad=tensor.is_trained)
            else:
                owner._buffers[name] = value.detach().clone()

    def is_of_layer(self, name: str) -> bool:
        """Return whether a tensor is held by one of torch's layers."""
        return self._places[name][0] in self._layer_paths

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor by its name in the graph."""
        path, own = self._places[name]
        found: torch.Tensor = getattr(self.get_submodule(path), own)
        return found

    def _add_layer(self, node: Node) -> None:
        make = LAYERS.get(node.kind)
        if make is None or not _has_own_tensors(self.graph, node):
            return
        held = [a.name for a in node.args[1:] if isinstance(a, Ref)]
        layer, names = make(self.graph, node)
        if not held or len(names) != len(held):
            return
        if any(
            name in WEIGHTS and not self.graph.tensor[full].is_trained for full, name in zip(held, names, strict=True)
        ):
            return  # such as a fixed filter
        if held[0] in self._places:  # a layer that is used twice
            path = self._places[held[0]][0]
            if self._made.get(path) == (node.op, node.args[1:]):
                self._layers[node.name] = self.get_submodule(path)
            return
        path = self._free_path(held[0].removesuffix("weight").rstrip("._") or node.name, held)
        self._layers[node.name] = self._put(path, layer)
        self._layer_paths.add(path)
        self._made[path] = (node.op, node.args[1:])
        for name, own in zip(held, names, strict=True):
            self._places[name] = (path, own)

    def _free_path(self, path: str, held: Collection[str]) -> str:
        """Return a path like that one at which no other layer is, and no tensor that the layer does not hold."""
        taken = {place for place, _ in self._places.values()}
        taken |= {tensor.name.rpartition(".")[0] for tensor in self.graph.tensors if tensor.name not in held}
        while path in taken:
            path += "_"
        return path

    def _put(self, path: str, module: nn.Module) -> nn.Module:
        parent, _, name = path.rpartition(".")
        self._module(parent).add_module(name, module)
        return module

    def _module(self, path: str) -> nn.Module:
        module: nn.Module = self
        for name in path.split(".") if path else ():
            if name not in module._modules:
                module.add_module(name, nn.Module())
            inner = module._modules[name]
            assert inner is not None
            module = inner
        return module

    def _add_tensor(self, tensor: Tensor) -> None:
        path, _, name = tensor.name.rpartition(".")
        owner = self._module(path)
        dtype = getattr(torch, tensor.dtype)
        # What is a constant may be divided by, or looked up with.
        value = (
            torch.ones(tensor.shape, dtype=dtype) if dtype.is_floating_point else torch.zeros(tensor.shape, dtype=dtype)
        )
        if tensor.is_trained:
            value.zero_()
            owner.register_parameter(name, nn.Parameter(value))
        else:
            owner.register_buffer(name, value)
        self._places[tensor.name] = (path, name)


def _has_own_tensors(graph: Graph, node: Node) -> bool:
    """Return whether all that a node takes but its first input are tensors of the network."""
    return all(name in graph.tensor for name in node.inputs[1:]) and node.inputs[0] not in graph.tensor


Made = tuple[nn.Module, tuple[str, ...]]
"""A layer, and the names in it of the tensors that its node takes, in the node's order."""


def _numbers(argument: Argument, num: int) -> tuple[Any, ...]:
    if isinstance(argument, tuple):
        return argument if len(argument) == num else argument * num
    return (argument,) * num


def _optional(args: Sequence[Argument], position: int, default: Argument) -> Any:
    return args[position] if len(args) > position else default


def _weight_and_bias(node: Node) -> tuple[str, ...]:
    return ("weight", "bias") if isinstance(_optional(node.args, 2, None), Ref) else ("weight",)


def _conv(graph: Graph, node: Node) -> Made:
    weight = node.args[1]
    assert isinstance(weight, Ref)
    shape, args = graph.tensor[weight.name].shape, node.args
    num, groups = len(shape) - 2, int(_optional(args, 6, 1))
    padding = _optional(args, 4, 0)
    made = (nn.Conv1d, Conv2d, nn.Conv3d)[num - 1](
        shape[1] * groups,
        shape[0],
        shape[2:],  # type: ignore[arg-type]
        stride=_numbers(_optional(args, 3, 1), num),
        padding=padding if isinstance(padding, str) else _numbers(padding, num),
        dilation=_numbers(_optional(args, 5, 1), num),
        groups=groups,
        bias="bias" in _weight_and_bias(node),
    )
    return made, _weight_and_bias(node)


def _conv_transpose(graph: Graph, node: Node) -> Made:
    weight = node.args[1]
    assert isinstance(weight, Ref)
    shape, args = graph.tensor[weight.name].shape, node.args
    num, groups = len(shape) - 2, int(_optional(args, 6, 1))
    made = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[num - 1](
        shape[0],
        shape[1] * groups,
        shape[2:],  # type: ignore[arg-type]
        stride=_numbers(_optional(args, 3, 1), num),
        padding=_numbers(_optional(args, 4, 0), num),
        output_padding=_numbers(_optional(args, 5, 0), num),
        groups=groups,
        bias="bias" in _weight_and_bias(node),
        dilation=_numbers(_optional(args, 7, 1), num),
    )
    return made, _weight_and_bias(node)


def _linear(graph: Graph, node: Node) -> Made:
    weight = node.args[1]
    assert isinstance(weight, Ref)
    num_out, num_in = graph.tensor[weight.name].shape
    names = _weight_and_bias(node)
    return nn.Linear(num_in, num_out, bias="bias" in names), names


def _batch_norm(graph: Graph, node: Node) -> Made:
    _, weight, _, mean, _, _, momentum, eps = node.args[:8]
    ndim = len(graph.shape_of(node.inputs[0]))
    channels = graph.shape_of(node.inputs[0])[1]
    norm = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}[ndim]
    made = norm(
        channels,  # type: ignore[arg-type]
        eps=eps,  # type: ignore[arg-type]
        momentum=momentum,  # type: ignore[arg-type]
        affine=weight is not None,
        track_running_stats=mean is not None,
    )
    names = (("weight", "bias") if weight is not None else ()) + (
        ("running_mean", "running_var") if mean is not None else ()
    )
    return made, names


def _layer_norm(graph: Graph, node: Node) -> Made:
    shape, weight, bias = node.args[1], _optional(node.args, 2, None), _optional(node.args, 3, None)
    made = nn.LayerNorm(
        list(shape),  # type: ignore[arg-type]
        eps=_optional(node.args, 4, 1e-5),
        elementwise_affine=weight is not None,
        bias=bias is not None,
    )
    return made, ("weight", "bias")[: (weight is not None) + (bias is not None)]


def _group_norm(graph: Graph, node: Node) -> Made:
    channels = graph.shape_of(node.inputs[0])[1]
    is_affine = isinstance(_optional(node.args, 2, None), Ref)
    made = nn.GroupNorm(
        node.args[1],  # type: ignore[arg-type]
        channels,  # type: ignore[arg-type]
        eps=_optional(node.args, 4, 1e-5),
        affine=is_affine,
    )
    return made, ("weight", "bias") if is_affine else ()


def _prelu(graph: Graph, node: Node) -> Made:
    weight = node.args[1]
    assert isinstance(weight, Ref)
    return nn.PReLU(graph.tensor[weight.name].shape[0]), ("weight",)


LAYERS: dict[str, Callable[[Graph, Node], Made]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "prelu": _prelu,
}
"""Operators that become modules."""


def fill(network: GraphNetwork) -> None:
    """Give a network random weights that keep values in a sensible range, in place."""
    from search_spaces.blocks.layers import init_weights

    init_weights(network)
    if any(p.is_meta for p in network.parameters()):
        return
    with torch.no_grad():
        for tensor in network.graph.tensors:
            value = network.tensor(tensor.name)
            if not tensor.is_trained or value.any() or network.is_of_layer(tensor.name):
                continue
            if value.ndim > 1:
                value.normal_(std=0.02)
            else:
                value.fill_(1.0)
