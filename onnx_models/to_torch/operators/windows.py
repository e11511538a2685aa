"""What convolutions and poolings share: kernels, steps and what is added at the edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Node, NotCoveredError


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Says how a kernel goes over a map; one number an axis.

    Attributes:
        kernel: its sides.
        stride: steps.
        dilation: distances between its points.
        before, after: what is added at the two edges.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def is_symmetric(self) -> bool:
        """Whether as much is added before as after, as torch's own padding does."""
        return self.before == self.after

    @property
    def num_axes(self) -> int:
        """Axes of the map."""
        return len(self.kernel)

    def padded(self, x: torch.Tensor, value: float) -> torch.Tensor:
        """Return the map with its edges added."""
        pairs = [size for pair in zip(self.before, self.after, strict=True) for size in pair]
        return functional.pad(x, _reversed_pairs(pairs), value=value)


def window_of(node: Node, kernel: Sequence[int]) -> Window:
    """Return the window that a node's attributes describe.

    Raises:
        NotCoveredError: the map has other axes than the kernel.
    """
    axes = len(kernel)
    sides = node.value(0).shape[2:]
    if len(sides) != axes or not 1 <= axes <= 3:
        raise NotCoveredError(f"the kernel has {axes} axes, the map {len(sides)}, expected as many and at most three")
    stride = _numbers(node, "strides", [1] * axes)
    dilation = _numbers(node, "dilations", [1] * axes)
    pads = _numbers(node, "pads", [0] * (2 * axes))
    before, after = pads[:axes], pads[axes:]
    same = str(node.attribute("auto_pad", "NOTSET"))
    if same in ("SAME_UPPER", "SAME_LOWER"):
        totals = tuple(
            max((-(-side // step) - 1) * step + (size - 1) * gap + 1 - side, 0)
            for side, step, size, gap in zip(sides, stride, kernel, dilation, strict=True)
        )
        small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        before, after = (small, large) if same == "SAME_UPPER" else (large, small)
    elif same == "VALID":
        before = after = (0,) * axes
    return Window(kernel=tuple(kernel), stride=stride, dilation=dilation, before=before, after=after)


def _numbers(node: Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(number) for number in node.attribute(name, default))


def _reversed_pairs(pairs: Sequence[int]) -> list[int]:
    """Return pairs in torch's order, which begins with the last axis."""
    return [size for start in range(len(pairs) - 2, -1, -2) for size in pairs[start : start + 2]]
