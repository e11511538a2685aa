"""Operators that move numbers without changing them, and those that make shapes."""

from __future__ import annotations

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.reshaping import growing_target
from onnx_models.to_torch.value import Size


def reshape(node: Node) -> Lowered:
    """Reshape; what flattens images is called so."""
    x = node.value(0)
    if not node.has(1) and node.attribute("shape") is not None:
        target = [Size(int(size)) for size in node.attribute("shape")]
    else:
        target = list(node.sizes(1))
    if not x.is_data:
        fixed = [size.fixed for size in target]
        resolved = [x.shape[axis] if size == 0 else size for axis, size in enumerate(fixed)]
        if any(size.per_image for size in target):
            raise NotCoveredError("it gives a constant the shape of a batch")
        return lowered(lambda x: x.reshape(resolved), x)
    if all(size.per_image == 0 for size in target):
        keeps_zero = bool(node.attribute("allowzero", 0))
        try:
            target = growing_target(x, [size.fixed for size in target], zero_is_zero=keeps_zero)
        except ValueError as error:
            raise NotCoveredError(str(error)) from error
    elif not node.attribute("allowzero", 0):
        target = [Size(x.shape[a]) if s == Size(0) and a < x.rank else s for a, s in enumerate(target)]
    if x.batch_axis == 0 and len(target) == 2 and target[0] == Size(0, 1):
        return lowered(lambda x: torch.flatten(x, 1), x)
    return Lowered(lambda batch, x: x.reshape([size.of(batch) for size in target]), (x,))


def flatten(node: Node) -> Lowered:
    """Flatten to two axes, of which the first is the batch's."""
    x, axis = node.value(0), int(node.attribute("axis", 1))
    axis = axis + x.rank if axis < 0 else axis
    if not x.is_data:
        return lowered(lambda x: x.reshape(x.shape[:axis].numel(), -1), x)
    if axis == 1 and x.batch_axis == 0:
        return lowered(lambda x: torch.flatten(x, 1), x)
    try:
        target = growing_target(x, [x.lanes[0].shape[:axis].numel(), -1])
    except ValueError as error:
        raise NotCoveredError(str(error)) from error
    return Lowered(lambda batch, x: x.reshape([size.of(batch) for size in target]), (x,))


def transpose(node: Node) -> Lowered:
    """Transpose."""
    x = node.value(0)
    order = [int(axis) for axis in node.attribute("perm", list(range(x.rank))[::-1])]
    return lowered(lambda x: x.permute(order), x)


def squeeze(node: Node) -> Lowered:
    """Squeeze; never the batch."""
    x = node.value(0)
    axes = node.ints(1, "axes")
    chosen = tuple(a % x.rank for a in axes) if axes is not None else _ones(x.shape)
    if x.is_data and x.batch_axis in chosen:
        raise NotCoveredError("it takes the axis of the batch away")
    return lowered(lambda x: torch.squeeze(x, chosen), x)


def _ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis for axis, size in enumerate(shape) if size == 1)


def unsqueeze(node: Node) -> Lowered:
    """Unsqueeze."""
    x, axes = node.value(0), node.ints(1, "axes") or []
    chosen = sorted(axis % (x.rank + len(axes)) for axis in axes)

    def compute(x: torch.Tensor) -> torch.Tensor:
        for axis in chosen:
            x = x.unsqueeze(axis)
        return x

    return lowered(compute, x)


def expand(node: Node) -> Lowered:
    """Expand to a shape that may hold the batch; axes that are as large already stay."""
    x, target = node.value(0), node.sizes(1)
    rank = max(x.rank, len(target))
    sizes = [Size(1)] * (rank - len(target)) + list(target)
    offset = rank - x.rank

    def keeps(axis: int, size: Size) -> bool:
        if size == Size(1):
            return axis >= offset
        own = [1 if axis < offset else lane.shape[axis - offset] for lane in x.lanes]
        return axis >= offset and not size.per_image and own[0] == size.fixed

    kept = [keeps(axis, size) for axis, size in enumerate(sizes)]
    return Lowered(
        lambda batch, x: x.expand([-1 if k else s.of(batch) for k, s in zip(kept, sizes, strict=True)]), (x,)
    )


def tile(node: Node) -> Lowered:
    """Tile."""
    x, repeats = node.value(0), node.sizes(1)
    return Lowered(lambda batch, x: x.repeat([size.of(batch) for size in repeats]), (x,))


def shape_of(node: Node) -> Lowered:
    """Shape; its numbers are known whatever the pixels are."""
    first, last = int(node.attribute("start", 0)), node.attribute("end")
    return lowered(lambda x: torch.tensor(tuple(x.shape)[first:last], dtype=torch.int64), node.value(0))


def size_of(node: Node) -> Lowered:
    """Size, likewise."""
    return lowered(lambda x: torch.tensor(x.numel(), dtype=torch.int64), node.value(0))


def pad(node: Node) -> Lowered:
    """Pad with a constant, by reflection or by repetition of the edge."""
    x, mode = node.value(0), str(node.attribute("mode", "constant"))
    pads = node.ints(1, "pads") or node.ints(1, "paddings") or []
    value = float(node.constant(2).reshape(-1)[0]) if node.has(2) else float(node.attribute("value", 0.0))
    axes = [axis % x.rank for axis in (node.ints(3, "axes") or range(x.rank))]
    pairs = {axis: (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)}
    if x.is_data and any(pairs.get(x.batch_axis if x.batch_axis is not None else -1, ())):
        raise NotCoveredError("it adds images to the batch")
    padded = [axis for axis, pair in pairs.items() if any(pair)]
    flat = [size for axis in range(x.rank - 1, min(padded, default=x.rank) - 1, -1) for size in pairs.get(axis, (0, 0))]
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    if mode not in names:
        raise NotCoveredError(f"torch does not pad by {mode}")
    if mode == "constant":
        return lowered(lambda x: functional.pad(x, flat, value=value) if flat else x, x)
    flat += [0] * (2 * (x.rank - 2) - len(flat))  # torch wants all axes behind the channels
    return lowered(lambda x: functional.pad(x, flat, mode=names[mode]), x)


OPERATORS = {
    "Reshape": reshape,
    "Flatten": flatten,
    "Transpose": transpose,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Shape": shape_of,
    "Size": size_of,
    "Pad": pad,
}
