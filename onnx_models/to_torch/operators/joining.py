"""Operators that take tensors apart and put them together, and those that make constants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered
from onnx_models.to_torch.value import Size, Value


def concat(node: Node) -> Lowered:
    """Concat; what a file repeats for its one image, such as a class token, is repeated for every image."""
    values = node.given()
    data = next((value for value in values if value.is_data), None)
    axis = int(node.attribute("axis", 1)) % values[0].rank
    if data is None or data.batch_axis is None:
        return lowered(lambda *tensors: torch.cat(tensors, axis), *values)
    batch_axis, per_image = data.batch_axis, data.shape[data.batch_axis] // 2
    if axis == batch_axis:
        raise NotCoveredError("it puts images together along the batch")
    repeated = [not value.is_data for value in values]

    def compute(batch: Any, *tensors: torch.Tensor) -> torch.Tensor:
        size = Size(0, per_image).of(batch)
        alike = [
            x.expand([size if a == batch_axis else -1 for a in range(x.ndim)]) if is_repeated else x
            for x, is_repeated in zip(tensors, repeated, strict=True)
        ]
        return torch.cat(alike, axis)

    return Lowered(compute, tuple(value if value.is_data else single(value, batch_axis) for value in values))


def single(value: Value, axis: int) -> Value:
    """Return a constant that holds the same for every image for one of them.

    Raises:
        NotCoveredError: it does not.
    """
    lane = value.lanes[1]
    first = lane.narrow(axis, 0, 1)
    if not torch.equal(first.expand_as(lane), lane):
        raise NotCoveredError(f"{value.name!r} differs between the images of a batch")
    return replace(value, lanes=(first.contiguous(),) * len(value.lanes))


def split(node: Node) -> Lowered:
    """Split."""
    x, count = node.value(0), len(node.proto.output)
    axis = int(node.attribute("axis", 0)) % x.rank
    if x.is_data and axis == x.batch_axis:
        raise NotCoveredError("it splits the batch")
    sizes = node.ints(1, "split")
    if sizes is None:
        each = -(-x.shape[axis] // count)
        sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    return lowered(lambda x: torch.split(x, sizes, axis), x)


def slice_(node: Node) -> Lowered:
    """Slice; backwards too."""
    x = node.value(0)
    starts, ends = node.ints(1, "starts") or [], node.ints(2, "ends")
    if ends is None:
        raise NotCoveredError("it does not say where it ends")
    axes = node.ints(3, "axes") or list(range(len(starts)))
    steps = node.ints(4, "steps") or [1] * len(starts)
    cuts = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = axis % x.rank
        chosen = range(x.shape[place])[slice(start, end, step)]
        if x.is_data and place == x.batch_axis:
            if len(chosen) != x.shape[place] or step != 1:
                raise NotCoveredError("it leaves images of a batch out")
            continue
        cuts.append((place, chosen))
    return lowered(lambda x: _cut(x, cuts), x)


def _cut(x: torch.Tensor, cuts: list[tuple[int, range]]) -> torch.Tensor:
    for axis, chosen in cuts:
        if chosen.step > 0:
            x = x[(slice(None),) * axis + (slice(chosen.start, chosen.stop, chosen.step),)]
        else:
            lowest = chosen[-1] if chosen else 0
            part = slice(lowest, chosen.start + 1 if chosen else 0, -chosen.step)
            x = x[(slice(None),) * axis + (part,)].flip(axis)
    return x


def gather(node: Node) -> Lowered:
    """Gather with constant indices; of a single one, what stands there."""
    x, axis = node.value(0), int(node.attribute("axis", 0))
    axis %= max(x.rank, 1)
    if x.is_data and axis == x.batch_axis:
        return _within_each(node)
    if not x.is_data and node.value(1).is_data:
        raise NotCoveredError("it looks up what the images say")
    index = node.constant(1)
    size = x.shape[axis]
    if index.ndim == 0:
        place = int(index) % size
        return lowered(lambda x: x.select(axis, place), x)
    places, shape = (index % size).reshape(-1), tuple(index.shape)
    fixed = replace(node.value(1), lanes=(places,) * 3)

    def compute(x: torch.Tensor, chosen: torch.Tensor) -> Any:
        return x.index_select(axis, chosen).unflatten(axis, shape)

    return lowered(compute if index.ndim > 1 else lambda x, chosen: x.index_select(axis, chosen), x, fixed)


def _within_each(node: Node) -> Lowered:
    """Gather from images that were laid end to end, as the exporter writes `as_strided` of one image.

    Raises:
        NotCoveredError: it is something else.
    """
    x, index = node.value(0), node.constant(1)
    length = x.shape[0] // 2
    if x.rank != 1 or node.batches[0] != 1 or index.ndim < 2 or index.shape[0] != 1 or int(index.max()) >= length:
        raise NotCoveredError("it chooses among the images of a batch")
    places, shape = index.reshape(-1), tuple(index.shape[1:])
    if torch.equal(places, torch.arange(length)):
        return Lowered(lambda batch, x: x.reshape(batch, *shape), (x,))
    fixed = replace(node.value(1), lanes=(places,) * 3)
    return Lowered(
        lambda batch, x, chosen: x.reshape(batch, length).index_select(1, chosen).reshape(batch, *shape), (x, fixed)
    )


def scatter(node: Node) -> Lowered:
    """ScatterND into constants, as masks of attention are made."""
    if any(value.is_data for value in node.given()) or str(node.attribute("reduction", "none")) != "none":
        raise NotCoveredError("it writes into what is computed from the images")

    def compute(x: torch.Tensor, places: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        return x.index_put(tuple(places.unbind(-1)), updates)

    return lowered(compute, *node.given())


def constant(node: Node) -> Lowered:
    """Constant."""
    found: Any = None
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if (found := node.attribute(name)) is not None:
            break
    if found is None:
        raise NotCoveredError("it holds neither numbers nor a tensor")
    kind = None if isinstance(found, torch.Tensor) else torch.float32 if "float" in name else torch.int64
    tensor = found if isinstance(found, torch.Tensor) else torch.tensor(found, dtype=kind)
    return lowered(lambda: tensor)


def constant_of_shape(node: Node) -> Lowered:
    """ConstantOfShape, of a shape that may hold the batch."""
    value = node.attribute("value")
    number, dtype = (value.reshape(-1)[0].item(), value.dtype) if value is not None else (0.0, torch.float32)
    return lowered(lambda sizes: torch.full([int(s) for s in sizes.tolist()], number, dtype=dtype), node.value(0))


def range_(node: Node) -> Lowered:
    """Range."""
    first, last, step = (node.constant(index) for index in range(3))
    return lowered(lambda: torch.arange(first.item(), last.item(), step.item(), dtype=first.dtype))


OPERATORS = {
    "Concat": concat,
    "Split": split,
    "Slice": slice_,
    "Gather": gather,
    "ScatterND": scatter,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": range_,
}
