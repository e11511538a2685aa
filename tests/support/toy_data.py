"""Data that a few steps of training learn."""

from __future__ import annotations

import torch

from hwnas.dataflow import Augmentation, Dataset, Split


def two_brightnesses(augmentation: Augmentation) -> Dataset:
    """Return 64 images of 8x8 pixels, of two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(64) % 2
    noise = torch.randint(0, 60, (64, 1, 8, 8), generator=generator)
    images = (noise + 120 * targets[:, None, None, None]).to(torch.uint8)
    split = Split(images_NCHW=images, targets_N=targets)
    return Dataset(name="toy", classes=("dark", "light"), train=split, test=split, augmentation=augmentation)
