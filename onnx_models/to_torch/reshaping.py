"""Which size of a constant shape stands for the batch.

Files are often made with a batch of one, which is then written into their shapes as any other number: [1, 1280]. The
batch keeps its place among the axes in row-major order, so that the size that has as many elements before it as the
batch has in the input is the one that grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from onnx_models.to_torch.value import Size, Value


def resolved(shape: Sequence[int], target: Sequence[int], *, zero_is_zero: bool = False) -> list[int]:
    """Return the sizes that ONNX's Reshape makes of a target with 0 (as in the input) and -1 (the rest).

    Raises:
        ValueError: they do not hold as many elements.
    """
    sizes = [
        shape[axis] if size == 0 and not zero_is_zero and axis < len(shape) else size
        for axis, size in enumerate(target)
    ]
    known = prod(size for size in sizes if size != -1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = prod(shape) // known if known else 0
    if prod(sizes) != prod(shape) or min(sizes, default=1) < 0:
        raise ValueError(f"{list(target)} does not hold the elements of {list(shape)}")
    return sizes


def growing_target(value: Value, target: Sequence[int], *, zero_is_zero: bool = False) -> list[Size]:
    """Return the sizes of a constant target of Reshape, the one that stands for the batch growing with it.

    A size of -1 remains where it does not stand for the batch.

    Raises:
        ValueError: none can be told to stand for it.
    """
    shape, axis = tuple(value.lanes[0].shape), value.batch_axis
    sizes = resolved(shape, target, zero_is_zero=zero_is_zero)
    if axis is None:
        return [Size(size) for size in sizes]
    per_image = value.lanes[2].shape[axis] - value.lanes[1].shape[axis]
    place = _place(shape, axis, sizes, batch=shape[axis] // per_image)
    if place is None:
        raise ValueError(f"none of {list(target)} stands for the batch of {list(shape)}")
    kept = [Size(-1 if wanted == -1 else known) for wanted, known in zip(target, sizes, strict=True)]
    kept[place] = Size(0, sizes[place] * per_image // shape[axis])
    return kept


def _place(shape: Sequence[int], axis: int, sizes: Sequence[int], *, batch: int) -> int | None:
    """Return which size the batch is in; None where it can be in none.

    A batch of one fits everywhere. Best is a size of its own, then one that begins with it, as heads of attention do;
    features of the last axis do not grow if positions before them can.
    """
    before, per_image = prod(shape[:axis]), shape[axis] // batch
    begins = [p for p, size in enumerate(sizes) if prod(sizes[:p]) == before and size % batch == 0 and size]
    ends = [p for p in range(len(sizes) - 1) if prod(sizes[: p + 1]) == before * batch and sizes[p] % batch == 0]
    if per_image > 1:  # the axis holds the batch and something else, on either side of it
        own = [p for p, size in enumerate(sizes) if size == batch and _is_within(sizes[:p], before, per_image)]
    else:
        own = [p for p in begins if sizes[p] == batch]
        if axis in own and list(sizes[:axis]) == list(shape[:axis]):
            return axis
    if own:
        return own[0]
    if ends and begins == [len(sizes) - 1] and axis < len(shape) - 1:
        return ends[-1]
    return begins[0] if begins else None


def _is_within(sizes: Sequence[int], before: int, per_image: int) -> bool:
    """Whether what comes before a size is what comes before the axis of the batch, and a part of that axis."""
    return prod(sizes) % before == 0 and per_image % (prod(sizes) // before) == 0
