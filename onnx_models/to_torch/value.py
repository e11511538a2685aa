"""What is known of a tensor of a graph before anything runs.

A graph is followed with three batches at once: the file's own (1 where it takes any), 2 and 3. What differs between
them grows with the batch. Images are followed on torch's meta device, which has shapes only; what does not depend on
pixels, such as arithmetic with shapes, is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Size:
    """A size that is `fixed + per_image * batch`.

    Attributes:
        fixed: what does not depend on the batch.
        per_image: what every image adds.
    """

    fixed: int
    per_image: int = 0

    def of(self, batch: Any) -> Any:
        """Return the size with that batch; batches are symbols while torch exports."""
        if not self.per_image:
            return self.fixed
        scaled = batch if self.per_image == 1 else self.per_image * batch
        return scaled if not self.fixed else self.fixed + scaled


@dataclass(frozen=True, kw_only=True, slots=True)
class Value:
    """A tensor, with each of the batches.

    Attributes:
        name: in the graph.
        lanes: the tensor with each batch; of images only shapes.
        is_data: whether it depends on the images.
        is_statistic: a constant that is no weight, such as BatchNorm's mean.
    """

    name: str
    lanes: tuple[torch.Tensor, ...]
    is_data: bool = False
    is_statistic: bool = False

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every image and every batch."""
        first = self.lanes[0]
        return not self.is_data and all(
            lane is first or (lane.dtype == first.dtype and torch.equal(lane, first)) for lane in self.lanes[1:]
        )

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.lanes[1].ndim

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes with a batch of two, which no size of one can be mistaken for."""
        return tuple(self.lanes[1].shape)

    @property
    def batch_axis(self) -> int | None:
        """The axis that grows with the batch; None where none does.

        Raises:
            ValueError: several do, or one does not by as much for every image.
        """
        return growing_axis([tuple(lane.shape) for lane in self.lanes])

    def sizes(self, batches: Sequence[int]) -> tuple[Size, ...]:
        """Return the numbers that the tensor holds, which are known, as sizes.

        Raises:
            ValueError: they depend on the pixels, or not in proportion on the batch.
        """
        if self.is_data:
            raise ValueError(f"{self.name!r} depends on the pixels")
        own, two, three = ([int(number) for number in lane.reshape(-1).tolist()] for lane in self.lanes)
        if not len(own) == len(two) == len(three):
            raise ValueError(f"{self.name!r} holds {len(two)} numbers with two images, {len(three)} with three")
        per_image = [b - a for a, b in zip(two, three, strict=True)]
        sizes = [Size(a - 2 * step, step) for a, step in zip(two, per_image, strict=True)]
        if any(size.of(batches[0]) != number for size, number in zip(sizes, own, strict=True)):
            raise ValueError(f"{self.name!r} does not grow by as much for every image")
        return tuple(sizes)


def growing_axis(shapes: Sequence[tuple[int, ...]]) -> int | None:
    """Return the axis that grows with the batch, of shapes with the file's own batch, two and three.

    Raises:
        ValueError: several axes do.
    """
    _, two, three = shapes
    if len(two) != len(three):
        raise ValueError("the number of axes depends on the batch")
    axes = [axis for axis, (a, b) in enumerate(zip(two, three, strict=True)) if a != b]
    if len(axes) > 1 or any(2 * three[axis] != 3 * two[axis] for axis in axes):
        raise ValueError(f"the sizes {two} with two images and {three} with three are not in proportion to the batch")
    return axes[0] if axes else None
