"""Exported programs of torch, read as graphs: one operator for all that do the same, constants computed."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from search_spaces.errors import SpaceError
from search_spaces.traced.graph import Argument, Graph, Node, PerImage, Ref, Size, Tensor, TracedNetwork

_DROPPED = ("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range", "sym_constrain_range_for_size")
"""Operators that check and compute nothing."""

_SAME = ("detach", "detach_", "alias", "lift_fresh_copy", "lift_fresh", "contiguous", "clone")
"""Operators that give the values they are given."""

_AS_RESHAPE = (
    "view",
    "_unsafe_view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "_reshape_alias",
    "view_as",
    "reshape_as",
)
_AS_EXPAND = ("expand", "expand_as", "broadcast_to")

_END = 2**62
"""Ends of slices from here on mean the end."""


class ProgramReader:
    """Reads an exported program node by node."""

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._same: dict[str, Argument] = {}  # by the name of an fx node, the value that stands for it
        self._nodes: list[Node] = []
        self._tensors: dict[str, tuple[torch.Tensor, bool]] = {}
        self._inputs: list[tuple[str, tuple[Size, ...]]] = []
        self._shapes: dict[str, tuple[Size, ...]] = {}
        self._unbound: dict[str, tuple[Argument, int]] = {}  # what is taken apart along which axis
        self._normalised: set[str] = set()
        self._known: dict[str, Any] = {}  # by the name of an fx node, what it gives whatever the images
        self._held: dict[str, str] = {}  # by the name of an fx node, the buffer that it is

    def network(self) -> TracedNetwork:
        """Return the graph, and the values of what the network holds."""
        self._read_placeholders()
        output: Argument = None
        for node in self._program.graph.nodes:
            if node.op == "call_function":
                self._read_call(node)
            elif node.op == "output":
                output = self._output(node)
        if not isinstance(output, Ref):
            raise SpaceError(f"the network gives {output!r}, expected one tensor that depends on its input")
        graph = Graph(
            inputs=tuple(self._inputs),
            tensors=tuple(
                Tensor(
                    name=name,
                    shape=tuple(value.shape),
                    is_trained=is_trained,
                    dtype=str(value.dtype).removeprefix("torch."),
                )
                for name, (value, is_trained) in self._tensors.items()
            ),
            nodes=tuple(self._nodes),
            output=output.name,
        ).without_dead()
        return TracedNetwork(graph=graph, values={t.name: self._tensors[t.name][0] for t in graph.tensors})

    def _read_placeholders(self) -> None:
        state = {**self._program.constants, **self._program.state_dict}
        specs = {spec.arg.name: spec for spec in self._program.graph_signature.input_specs}
        for node in self._program.graph.nodes:
            if node.op != "placeholder":
                continue
            spec = specs[node.name]
            if spec.kind is InputKind.USER_INPUT:
                self._inputs.append((node.name, _sizes(node.meta["val"].shape)))
                self._same[node.name] = Ref(node.name)
                self._shapes[node.name] = self._inputs[-1][1]
                continue
            target = str(spec.target)
            value = state[target]
            if not isinstance(value, torch.Tensor):
                raise SpaceError(f"the network holds {target}, a {type(value).__name__}; expected tensors alone")
            is_trained = spec.kind is InputKind.PARAMETER
            self._tensors.setdefault(target, (value.detach(), is_trained))
            if not is_trained:
                self._known[node.name], self._held[node.name] = value.detach().clone(), target
            self._same[node.name] = Ref(target)
            self._shapes[target] = tuple(value.shape)
        if len(self._inputs) != 1:
            raise SpaceError(f"the network takes {len(self._inputs)} inputs, expected one")

    def _read_call(self, node: fx.Node) -> None:
        value = node.meta.get("val")
        if node.target is operator.getitem:
            self._read_item(node)
            return
        if isinstance(value, torch.SymInt | int | float | bool) or not isinstance(node.target, torch._ops.OpOverload):
            self._same[node.name] = _size(value) if isinstance(value, torch.SymInt | int) else value
            return
        kind = node.target._schema.name.partition("::")[2]
        if kind in _DROPPED or self._is_known(node, kind):
            return
        if kind in _SAME:
            self._same[node.name] = self._argument(node.args[0])
            return
        _require_own_statistics(node, kind)
        op = f"{kind}.{node.target._overloadname}"
        is_inplace = kind.endswith("_") and not kind.startswith("__") and hasattr(torch.ops.aten, kind[:-1])
        if is_inplace:
            op = f"{kind[:-1]}.{node.target._overloadname}"
        if node.target.namespace != "aten":
            raise SpaceError(
                f"the network calls {node.target} ({_where(node)}), an operator of its own; expected torch's operators "
                "alone"
            )
        self._simplified(node, kind.rstrip("_") if is_inplace else kind, op)
        if is_inplace and self._same[node.name] != self._argument(node.args[0]):  # what follows sees the changed tensor
            changed = node.args[0]
            assert isinstance(changed, fx.Node)
            self._same[changed.name] = Ref(node.name)

    def _is_known(self, node: fx.Node, kind: str) -> bool:
        """Compute a node that depends on no image and no parameter; return whether it is one."""
        if kind.startswith("new_") or kind.endswith("_like"):
            value = node.meta["val"]
            if any(isinstance(size, PerImage) for size in _sizes(value.shape)):
                return False
            args: Any = (torch.empty(value.shape, dtype=value.dtype), *node.args[1:])
        else:
            args = node.args
        names = [inner.name for inner in node.all_input_nodes if not (args is not node.args and inner is node.args[0])]
        if not all(name in self._known for name in names) or "rand" in kind or "bernoulli" in kind:
            return False
        values = fx.map_arg((args, node.kwargs), lambda inner: self._known[inner.name])
        self._known[node.name] = node.target(*values[0], **values[1])  # type: ignore[operator]
        return True

    def _known_ref(self, node: fx.Node) -> Argument:
        """Return a constant as a tensor of the network."""
        value, name = self._known[node.name], self._held.get(node.name)
        if not isinstance(value, torch.Tensor):
            return value  # type: ignore[no-any-return]
        if name is None or not torch.equal(self._tensors[name][0], value):
            name = f"constant_{node.name}"
            self._tensors[name] = (value.clone(), False)
        self._shapes[name] = tuple(value.shape)
        return Ref(name)

    def _simplified(self, node: fx.Node, kind: str, op: str) -> None:
        """Add a call as the one operator that stands for all that do the same."""
        args, value = self._arguments(node), node.meta.get("val")
        if kind in _AS_RESHAPE or kind in _AS_EXPAND:
            given = self._shape_of(args[0])
            shape = _sizes(value.shape)  # type: ignore[union-attr]
            if given == shape:
                self._same[node.name] = args[0]
            else:
                name = "reshape.default" if kind in _AS_RESHAPE else "expand.default"
                self._add(node, name, (args[0], shape))
        elif kind in ("transpose", "swapaxes", "swapdims", "t", "permute"):
            self._add(node, "permute.default", (args[0], _order(kind, args, len(self._shape_of(args[0])))))
        elif kind == "copy":
            shape, given = self._shape_of(args[0]), self._shape_of(args[1])
            if shape == given:
                self._same[node.name] = args[1]
            else:
                self._add(node, "expand.default", (args[1], shape))
        elif kind == "channel_shuffle":
            self._add_channel_shuffle(node, args)
        elif kind in ("split", "chunk", "split_with_sizes", "tensor_split"):
            axis = args[2] if len(args) > 2 else 0
            assert isinstance(value, list | tuple) and isinstance(axis, int)
            axis %= len(value[0].shape)
            self._add(node, "split_with_sizes.default", (args[0], tuple(_size(v.shape[axis]) for v in value), axis))
        elif kind == "unbind":
            self._unbound[node.name] = (args[0], int(args[1]) if len(args) > 1 else 0)  # type: ignore[arg-type]
        elif kind == "select":
            self._add_select(node, args[0], int(args[1]), int(args[2]))  # type: ignore[arg-type]
        elif kind == "slice":
            self._add_slice(node, args)
        elif kind in ("to", "_to_copy", "type_as"):
            if _dtype(node.args[0]) == _dtype(node):
                self._same[node.name] = args[0]
            else:
                self._add(node, "to.dtype", (args[0], self._argument(_dtype(node))))
        elif kind == "_native_batch_norm_legit_no_training":
            self._normalised.add(node.name)
            self._add(node, "batch_norm.default", (*args[:5], False, *args[5:], False), shape=_sizes(value[0].shape))  # type: ignore[index]
        else:
            self._add(node, op, args)

    def _add_channel_shuffle(self, node: fx.Node, args: tuple[Argument, ...]) -> None:
        """Add a shuffle as the moves that it is made of."""
        x, groups = args
        batch, channels, *rest = shape = self._shape_of(x)
        assert isinstance(groups, int) and isinstance(channels, int)
        apart = (batch, groups, channels // groups, *rest)
        turned = (batch, channels // groups, groups, *rest)
        order = (0, 2, 1, *range(3, len(apart)))
        first, second = f"{node.name}_apart", f"{node.name}_turned"
        self._nodes.append(Node(name=first, op="reshape.default", args=(x, apart), shape=apart))
        self._nodes.append(Node(name=second, op="permute.default", args=(Ref(first), order), shape=turned))
        self._shapes |= {first: apart, second: turned}
        self._add(node, "reshape.default", (Ref(second), shape))

    def _read_item(self, node: fx.Node) -> None:
        source, index = node.args
        assert isinstance(source, fx.Node) and isinstance(index, int)
        if source.name in self._known:
            self._known[node.name] = self._known[source.name][index]
        elif source.name in self._normalised:  # BatchNorm and its statistics: only the first is taken
            self._same[node.name] = Ref(source.name)
        elif source.name in self._unbound:
            x, axis = self._unbound[source.name]
            self._add_select(node, x, axis, index)
        else:
            self._add(node, "getitem", (self._argument(source), index))

    def _add_select(self, node: fx.Node, x: Argument, axis: int, index: int) -> None:
        shape = self._shape_of(x)
        size = shape[axis]
        if isinstance(size, PerImage):
            raise SpaceError(f"the network takes one image out of the batch ({_where(node)}); expected all alike")
        self._add(node, "select.int", (x, axis % len(shape), index % size))

    def _add_slice(self, node: fx.Node, args: tuple[Argument, ...]) -> None:
        x, axis, start, end, step = (args + (None, 0, None, None, 1)[len(args) :])[:5]
        shape = self._shape_of(x)
        assert isinstance(axis, int) and isinstance(step, int)
        size = shape[axis]
        if isinstance(size, PerImage):
            if (
                start in (None, 0)
                and step == 1
                and (end is None or end == size or (isinstance(end, int) and end >= _END))
            ):
                self._same[node.name] = x
                return
            raise SpaceError(f"the network takes some images out of the batch ({_where(node)}); expected all alike")
        assert start is None or isinstance(start, int)
        assert end is None or isinstance(end, int)
        first, last, _ = slice(start, end).indices(size)
        if (first, last, step) == (0, size, 1):
            self._same[node.name] = x
        else:
            self._add(node, "slice.Tensor", (x, axis % len(shape), first, last, step))

    def _shape_of(self, argument: Argument) -> tuple[Size, ...]:
        assert isinstance(argument, Ref)
        return self._shapes[argument.name]

    def _add(
        self, node: fx.Node, op: str, args: tuple[Argument, ...], *, shape: tuple[Size, ...] | None = None
    ) -> None:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            shape = _sizes(value.shape)
        if shape is not None:
            self._shapes[node.name] = shape
        self._nodes.append(Node(name=node.name, op=op, args=args, shape=shape))
        self._same[node.name] = Ref(node.name)

    def _arguments(self, node: fx.Node) -> tuple[Argument, ...]:
        """Return all arguments by position, keywords too, without defaults at the end."""
        schema = node.target._schema.arguments  # type: ignore[union-attr]
        args: list[Any] = []
        for position, expected in enumerate(schema):
            if position < len(node.args):
                args.append(self._argument(node.args[position]))
            elif expected.name in node.kwargs:
                args.append(self._argument(node.kwargs[expected.name]))
            else:
                args.append(self._argument(expected.default_value))
        while args and len(args) > len(node.args) and args[-1] == self._argument(schema[len(args) - 1].default_value):
            args.pop()
        return tuple(args)

    def _argument(self, argument: Any) -> Argument:
        if isinstance(argument, fx.Node):
            return self._known_ref(argument) if argument.name in self._known else self._same[argument.name]
        if isinstance(argument, list | tuple):
            return tuple(self._argument(inner) for inner in argument)
        if isinstance(argument, torch.SymInt):
            return _size(argument)
        if isinstance(argument, torch.dtype):
            return f"dtype:{str(argument).partition('.')[2]}"
        if isinstance(argument, torch.device | torch.layout | torch.memory_format):
            return None
        assert argument is None or isinstance(argument, int | float | bool | str), type(argument)
        return argument

    def _output(self, node: fx.Node) -> Argument:
        outputs = node.args[0]
        assert isinstance(outputs, tuple | list)
        if len(outputs) != 1:
            raise SpaceError(f"the network gives {len(outputs)} values, expected one tensor: the logits")
        return self._argument(outputs[0])


def _order(kind: str, args: tuple[Argument, ...], ndim: int) -> tuple[int, ...]:
    """Return the order of axes that an operator puts them in."""
    if kind == "permute":
        assert isinstance(args[1], tuple)
        return tuple(int(axis) % ndim for axis in args[1])  # type: ignore[arg-type]
    order = list(range(ndim))
    one, other = (0, ndim - 1) if kind == "t" else (int(args[1]), int(args[2]))  # type: ignore[arg-type]
    order[one], order[other] = order[other], order[one]
    return tuple(order)


def _require_own_statistics(node: fx.Node, kind: str) -> None:
    """Raise SpaceError where BatchNorm takes the statistics of the batch in evaluation mode too."""
    is_training = kind == "batch_norm" and node.args[5] is True
    if is_training or kind in ("_native_batch_norm_legit", "_native_batch_norm_legit_functional"):
        raise SpaceError(
            f"the BatchNorm in {_where(node)} normalises by the statistics of the batch in evaluation mode too: what "
            "it gives for an image depends on the others, and a model of one image cannot give the same; expected "
            "running statistics: train it with track_running_stats=True, or with GroupNorm in its place"
        )


def _dtype(node: Any) -> object:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value.dtype if isinstance(value, torch.Tensor) else None


def _where(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(path) for path, _ in stack.values()]
    return names[-1] or "the network" if names else "the network"


def _sizes(shape: torch.Size) -> tuple[Size, ...]:
    return tuple(_size(size) for size in shape)


def _size(size: Any) -> Size:
    """Return a size as a number, or as a multiple of the batch."""
    if not isinstance(size, torch.SymInt):
        return int(size)
    expression = size.node.expr
    symbols = expression.free_symbols
    if not symbols:
        return int(expression)
    symbol = next(iter(symbols))
    at: Callable[[int], int] = lambda batch: int(expression.subs(symbol, batch))  # noqa: E731
    if len(symbols) != 1 or at(2) * 3 != at(3) * 2 or at(2) % 2:
        raise SpaceError(f"a size in the network is {expression} for a batch of {symbol}; expected a multiple of it")
    return PerImage(at(2) // 2)
