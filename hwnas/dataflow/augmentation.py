"""Augmentation of whole batches in memory. N images, C channels, H x W pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random shifts of up to `shift` pixels over a zero border, and horizontal flips where asked for.

    The usual augmentation for CIFAR (He et al. 2016) is `Augmentation(shift=4, flip=True)`.
    """

    shift: int = 0
    flip: bool = False

    def __call__(self, images_NCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """A changed copy of the images, each changed on its own."""
        x_NCHW = images_NCHW
        num, _, height, width = x_NCHW.shape
        if self.shift:
            padded = functional.pad(x_NCHW, [self.shift] * 4)
            top_N, left_N = torch.randint(0, 2 * self.shift + 1, (2, num), generator=generator)
            rows_NH1 = (top_N[:, None] + torch.arange(height))[:, :, None]
            columns_N1W = (left_N[:, None] + torch.arange(width))[:, None, :]
            image_N11 = torch.arange(num)[:, None, None]
            # Indexing around the channels leaves them last, which is the layout that CPU convolutions want.
            x_NCHW = padded[image_N11, :, rows_NH1, columns_N1W].permute(0, 3, 1, 2)
        if self.flip:
            is_flipped_N = torch.rand(num, generator=generator) < 0.5
            x_NCHW = torch.where(is_flipped_N[:, None, None, None], x_NCHW.flip(3), x_NCHW)
        return x_NCHW
