"""Augmentation of whole batches in memory, targets included. N images, C channels, H x W pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch.nn import functional

from hwnas.augmentation import Augmentation
from hwnas.dataflow.geometry import Move, as_bytes, flip, shift, warp
from hwnas.dataflow.mosaic import mosaics
from hwnas.dataflow.targets import KINDS, Kind, TargetKind


def augmented(
    images_NCHW: torch.Tensor,
    targets: torch.Tensor,
    changes: Augmentation,
    generator: torch.Generator,
    *,
    kind: TargetKind = "classes",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return changed copies of the images, each changed on its own, and the targets as they are then."""
    x_NCHW, its = images_NCHW, KINDS[kind]
    num, _, height, width = x_NCHW.shape
    if changes.mosaic:
        x_NCHW, targets = mosaics(x_NCHW, targets, changes.mosaic, generator, its)
    for move in _moves(changes, num, height, width, generator):
        x_NCHW, targets = _moved(x_NCHW, targets, move, its)
    for _ in range(changes.operations):
        x_NCHW, targets = _operated(x_NCHW, targets, changes.magnitude, generator, its)
    if changes.colour:
        x_NCHW = _coloured(x_NCHW, changes.colour, generator)
    if changes.cutout:
        x_NCHW = _cut_out(x_NCHW, changes.cutout, generator)
    if changes.random_erasing:
        x_NCHW = _erased(x_NCHW, changes.random_erasing, generator)
    return x_NCHW, targets


def _moves(changes: Augmentation, num: int, height: int, width: int, generator: torch.Generator) -> Iterator[Move]:
    if changes.scale:
        yield warp(_scaling(num, changes.scale, generator), height=height, width=width)
    if changes.crop:
        yield warp(_cropping(num, changes.crop, generator), height=height, width=width)
    if changes.shift:
        top_N, left_N = torch.randint(0, 2 * changes.shift + 1, (2, num), generator=generator)
        yield shift(top_N, left_N, margin=changes.shift)
    if changes.flip:
        yield flip(torch.rand(num, generator=generator) < 0.5, width=width)


def _moved(
    images_NCHW: torch.Tensor, targets: torch.Tensor, move: Move, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = images_NCHW.shape[2:]
    window = torch.tensor([0.0, 0.0, width, height])
    return move.pixels(images_NCHW, kind.border, "bilinear"), kind.moved(targets, move, window)


def _scaling(num: int, most: float, generator: torch.Generator) -> torch.Tensor:
    """Return warps by which an enlarged image shows a part of itself, and a reduced one lies somewhere within."""
    size_N, down_N, right_N = torch.rand(3, num, generator=generator)
    inverse_N = 1 / (1 - most + 2 * most * size_N)
    theta = torch.zeros(num, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = inverse_N
    theta[:, 0, 2], theta[:, 1, 2] = (1 - inverse_N) * (2 * right_N - 1), (1 - inverse_N) * (2 * down_N - 1)
    return theta


def _cropping(num: int, least_area: float, generator: torch.Generator) -> torch.Tensor:
    area_N, ratio_N, down_N, right_N = torch.rand(4, num, generator=generator)
    area_N = least_area + (1 - least_area) * area_N
    aspect_N = torch.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * ratio_N)
    wide_N, high_N = (area_N * aspect_N).sqrt().clamp(max=1.0), (area_N / aspect_N).sqrt().clamp(max=1.0)
    theta = torch.zeros(num, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide_N, high_N
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide_N) * (2 * right_N - 1), (1 - high_N) * (2 * down_N - 1)
    return theta


def _operated(
    images_NCHW: torch.Tensor, targets: torch.Tensor, magnitude: float, generator: torch.Generator, kind: Kind
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one operation on each image, drawn at random, with a random sign."""
    num, _, height, width = images_NCHW.shape
    which_N = torch.randint(len(OPERATIONS), (num,), generator=generator)
    strength_N = magnitude * (torch.randint(2, (num,), generator=generator) * 2 - 1).float()
    changed = images_NCHW.clone(memory_format=torch.preserve_format)
    changed_targets = targets.clone()
    for number, name in enumerate(OPERATIONS):
        chosen = torch.nonzero(which_N == number)[:, 0]
        if not len(chosen):
            continue
        if name in WARPS:
            move = operation_move(name, strength_N[chosen], height=height, width=width)
            changed[chosen], changed_targets[chosen] = _moved(images_NCHW[chosen], targets[chosen], move, kind)
        elif name in COLOURS:
            changed[chosen] = COLOURS[name](images_NCHW[chosen], strength_N[chosen])
    return changed, changed_targets


def operation_move(name: str, strength_N: torch.Tensor, *, height: int, width: int) -> Move:
    """Return the move that an operation of `WARPS` makes, at a strength of -1 to 1 for each image."""
    theta = torch.eye(2, 3).repeat(len(strength_N), 1, 1)
    in_pixels = {(0, 1): height / width, (1, 0): width / height}  # coordinates are -1 to 1 along either side
    for (row, column), values in WARPS[name](strength_N).items():
        theta[:, row, column] = values * in_pixels.get((row, column), 1.0)
    return warp(theta, height=height, width=width)


def _rotation(strength_N: torch.Tensor) -> dict[tuple[int, int], torch.Tensor]:
    angle = strength_N * math.radians(60)
    return {(0, 0): angle.cos(), (0, 1): -angle.sin(), (1, 0): angle.sin(), (1, 1): angle.cos()}


def _coloured(images_NCHW: torch.Tensor, most: float, generator: torch.Generator) -> torch.Tensor:
    for name in ("brightness", "contrast", "saturation"):
        strength_N = most * (2 * torch.rand(len(images_NCHW), generator=generator) - 1)
        images_NCHW = COLOURS[name](images_NCHW, strength_N)
    return images_NCHW


def _blend(images_NCHW: torch.Tensor, other: torch.Tensor, strength_N: torch.Tensor) -> torch.Tensor:
    x_NCHW = images_NCHW.float()
    return as_bytes(x_NCHW + strength_N[:, None, None, None] * (x_NCHW - other))


def _sharpness(images_NCHW: torch.Tensor, strength_N: torch.Tensor) -> torch.Tensor:
    return _blend(images_NCHW, functional.avg_pool2d(images_NCHW.float(), 3, 1, 1, count_include_pad=False), strength_N)


WARPS: dict[str, Callable[[torch.Tensor], dict[tuple[int, int], torch.Tensor]]] = {
    "rotate": _rotation,
    "shear_x": lambda s: {(0, 1): 0.6 * s},
    "shear_y": lambda s: {(1, 0): 0.6 * s},
    "shift_x": lambda s: {(0, 2): 0.6 * s},
    "shift_y": lambda s: {(1, 2): 0.6 * s},
}
"""The operations that move pixels: the entries of `affine_grid`'s matrix that they change, of a strength of -1 to 1."""

COLOURS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "brightness": lambda x, s: _blend(x, torch.zeros(()), s),
    "contrast": lambda x, s: _blend(x, x.float().mean(dim=(1, 2, 3), keepdim=True), s),
    "saturation": lambda x, s: _blend(x, x.float().mean(dim=1, keepdim=True), s),
    "sharpness": _sharpness,
    "solarize": lambda x, s: torch.where(x > (255 * (1 - s.abs()))[:, None, None, None], 255 - x, x),
}
"""The operations that change colours: each takes images, and a strength of -1 to 1 for each image."""

OPERATIONS = ("identity", *WARPS, *COLOURS)
"""The operations that RandAugment draws from."""


def _cut_out(images_NCHW: torch.Tensor, side: int, generator: torch.Generator) -> torch.Tensor:
    num, _, height, width = images_NCHW.shape
    rows_N = torch.randint(height, (num,), generator=generator)
    columns_N = torch.randint(width, (num,), generator=generator)
    row_inside_NH = (torch.arange(height) - rows_N[:, None] + side // 2).floor_divide(side) == 0
    column_inside_NW = (torch.arange(width) - columns_N[:, None] + side // 2).floor_divide(side) == 0
    inside_N1HW = (row_inside_NH[:, :, None] & column_inside_NW[:, None, :])[:, None]
    mean_NC11 = images_NCHW.float().mean(dim=(2, 3), keepdim=True).to(torch.uint8)
    return torch.where(inside_N1HW, mean_NC11, images_NCHW)


ERASED_AREA = (0.02, 0.33)
ERASED_ASPECT = 0.3
"""Shares of the image that are erased, and the least ratio of the rectangle's sides (Zhong et al. 2020)."""


def _erased(images_NCHW: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Return images of which some have a rectangle of noise, all of it within the image."""
    num, _, height, width = images_NCHW.shape
    is_erased_N, area_N, aspect_N, down_N, right_N = torch.rand(5, num, generator=generator)
    area_N = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * area_N) * height * width
    aspect_N = torch.exp(math.log(ERASED_ASPECT) * (2 * aspect_N - 1))
    # A side that would be longer than the image's is cut to it.
    high_N = (area_N * aspect_N).sqrt().round().clamp(1, height)
    wide_N = (area_N / aspect_N).sqrt().round().clamp(1, width)
    rows_NH = _is_within(torch.floor(down_N * (height - high_N + 1)), high_N, height)
    columns_NW = _is_within(torch.floor(right_N * (width - wide_N + 1)), wide_N, width)
    inside_N1HW = (rows_NH[:, :, None] & columns_NW[:, None, :])[:, None]
    inside_N1HW &= (is_erased_N < probability)[:, None, None, None]
    noise_NCHW = torch.randint(256, images_NCHW.shape, generator=generator, dtype=torch.uint8)
    return torch.where(inside_N1HW, noise_NCHW, images_NCHW)


def _is_within(first_N: torch.Tensor, length_N: torch.Tensor, size: int) -> torch.Tensor:
    """Return [N, size] which places are among so many from the first on."""
    place_1S = torch.arange(size)[None, :]
    return (place_1S >= first_N[:, None]) & (place_1S < (first_N + length_N)[:, None])
