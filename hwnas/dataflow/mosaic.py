"""Images put together from four (Bochkovskiy et al. 2020, YOLOv4). N images, C channels, H x W pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hwnas.dataflow.geometry import Move, warp
from hwnas.dataflow.targets import Kind

NEAREST_EDGE = 0.3
"""The share of a side that every part has at least."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Layout:
    """Where the parts of each image meet, in pixels, and how large they are shown, as a share of whole images."""

    column_N: torch.Tensor
    row_N: torch.Tensor
    scale_N: torch.Tensor

    @classmethod
    def drawn(cls, size: tuple[int, int, int], portion: float, generator: torch.Generator) -> _Layout:
        """Return random layouts in which every part is filled by its image; of the others, one part is all."""
        num, height, width = size
        is_whole_N = torch.rand(num, generator=generator) >= portion
        x_N, y_N, size_N = torch.rand(3, num, generator=generator)
        column_N = ((NEAREST_EDGE + (1 - 2 * NEAREST_EDGE) * x_N) * width).round()
        row_N = ((NEAREST_EDGE + (1 - 2 * NEAREST_EDGE) * y_N) * height).round()
        column_N, row_N = column_N.masked_fill(is_whole_N, width), row_N.masked_fill(is_whole_N, height)
        right_N, down_N = column_N / width, row_N / height
        least_N = torch.stack([right_N, 1 - right_N, down_N, 1 - down_N]).amax(dim=0)
        return cls(column_N=column_N, row_N=row_N, scale_N=least_N + (1 - least_N) * size_N)

    def part(self, height: int, width: int) -> torch.Tensor:
        """Return [N, H, W] the part of each pixel: 0 and 1 above, 2 and 3 below."""
        is_right_N1W = torch.arange(width) >= self.column_N[:, None, None]
        is_below_NH1 = torch.arange(height)[:, None] >= self.row_N[:, None, None]
        return is_right_N1W.long() + 2 * is_below_NH1.long()

    def move(self, part: int, height: int, width: int) -> Move:
        """Return the move of whole images by which a corner of theirs lies where the parts meet."""
        left_N = self.column_N / width - (0 if part % 2 else self.scale_N)
        top_N = self.row_N / height - (0 if part // 2 else self.scale_N)
        theta = torch.zeros(len(self.scale_N), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 / self.scale_N
        theta[:, 0, 2] = (1 - 2 * left_N) / self.scale_N - 1
        theta[:, 1, 2] = (1 - 2 * top_N) / self.scale_N - 1
        return warp(theta, height=height, width=width)

    def window(self, part: int, height: int, width: int) -> torch.Tensor:
        """Return [N, 1, 4] x1, y1, x2, y2 of a part."""
        zero, one = torch.zeros_like(self.column_N), torch.ones_like(self.column_N)
        x1, x2 = (self.column_N, width * one) if part % 2 else (zero, self.column_N)
        y1, y2 = (self.row_N, height * one) if part // 2 else (zero, self.row_N)
        return torch.stack([x1, y1, x2, y2], dim=1)[:, None]


def mosaics(
    images_NCHW: torch.Tensor, targets: torch.Tensor, portion: float, generator: torch.Generator, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images, a portion of them put together from four of all, and their targets."""
    num, _, height, width = images_NCHW.shape
    layout = _Layout.drawn((num, height, width), portion, generator)
    images, labels = [], []
    for part in range(4):
        source_N = torch.randperm(num, generator=generator) if part else torch.arange(num)
        move = layout.move(part, height, width)
        images.append(move.pixels(images_NCHW[source_N], kind.border, "bilinear"))
        labels.append(kind.moved(targets[source_N], move, layout.window(part, height, width)))
    part_NHW = layout.part(height, width)
    index_1NCHW = part_NHW[None, :, None].expand(1, *images_NCHW.shape)
    return torch.stack(images).gather(0, index_1NCHW)[0], kind.joined(labels, part_NHW)
