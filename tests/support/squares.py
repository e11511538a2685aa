"""Data that tests name as `squares.py:boxes`: a bright and a dark square on noise, which may cover the bright one."""

from __future__ import annotations

from pathlib import Path

import torch

from hwnas.dataflow import Augmentation, Dataset, Split

SIZE, NUM_SQUARES = 32, 2
CLASSES = ("bright", "dark")


def boxes(_root: Path, _input_size: object = None) -> Dataset:
    """Return images with a box around each square."""
    return _dataset("boxes")


def masks(_root: Path, _input_size: object = None) -> Dataset:
    """Return images with a class for each pixel."""
    return _dataset("masks")


def _dataset(kind: str) -> Dataset:
    is_boxes = kind == "boxes"
    return Dataset(
        name="squares",
        classes=CLASSES if is_boxes else ("background", *CLASSES),
        train=_split(160, 0, is_boxes),
        test=_split(48, 1, is_boxes),
        augmentation=Augmentation(),
        target_kind="boxes" if is_boxes else "masks",
    )


def _split(num: int, seed: int, is_boxes: bool) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(100, 150, (num, 1, SIZE, SIZE), generator=generator)
    boxes, masks = torch.zeros(num, NUM_SQUARES, 5), torch.zeros(num, SIZE, SIZE, dtype=torch.uint8)
    for image in range(num):
        for kind in range(NUM_SQUARES):
            side, x, y = (int(torch.randint(*ends, (), generator=generator)) for ends in ((8, 13), (0, 20), (0, 20)))
            images[image, 0, y : y + side, x : x + side] = 220 - 200 * kind
            boxes[image, kind] = torch.tensor([kind, x, y, x + side, y + side])
            masks[image, y : y + side, x : x + side] = kind + 1
    return Split(images_NCHW=images.to(torch.uint8), targets_N=boxes if is_boxes else masks)
