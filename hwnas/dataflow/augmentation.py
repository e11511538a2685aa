"""Augmentation of whole batches in memory. N images, C channels, H x W pixels."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from hwnas.augmentation import Augmentation


def augmented(images_NCHW: torch.Tensor, changes: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Return a changed copy of the images, each changed on its own."""
    x_NCHW = images_NCHW
    num, _, height, width = x_NCHW.shape
    if changes.crop:
        x_NCHW = _cropped(x_NCHW, changes.crop, generator)
    if changes.shift:
        padded = functional.pad(x_NCHW, [changes.shift] * 4)
        top_N, left_N = torch.randint(0, 2 * changes.shift + 1, (2, num), generator=generator)
        rows_NH1 = (top_N[:, None] + torch.arange(height))[:, :, None]
        columns_N1W = (left_N[:, None] + torch.arange(width))[:, None, :]
        image_N11 = torch.arange(num)[:, None, None]
        # Indexing around the channels leaves them last, which is the layout that CPU convolutions want.
        x_NCHW = padded[image_N11, :, rows_NH1, columns_N1W].permute(0, 3, 1, 2)
    if changes.flip:
        is_flipped_N = torch.rand(num, generator=generator) < 0.5
        x_NCHW = torch.where(is_flipped_N[:, None, None, None], x_NCHW.flip(3), x_NCHW)
    for _ in range(changes.operations):
        x_NCHW = _operated(x_NCHW, changes.magnitude, generator)
    if changes.cutout:
        x_NCHW = _cut_out(x_NCHW, changes.cutout, generator)
    if changes.random_erasing:
        x_NCHW = _erased(x_NCHW, changes.random_erasing, generator)
    return x_NCHW


def _cropped(images_NCHW: torch.Tensor, least_area: float, generator: torch.Generator) -> torch.Tensor:
    num = len(images_NCHW)
    area_N, ratio_N, down_N, right_N = torch.rand(4, num, generator=generator)
    area_N = least_area + (1 - least_area) * area_N
    aspect_N = torch.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * ratio_N)
    wide_N, high_N = (area_N * aspect_N).sqrt().clamp(max=1.0), (area_N / aspect_N).sqrt().clamp(max=1.0)
    theta = torch.zeros(num, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide_N, high_N
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide_N) * (2 * right_N - 1), (1 - high_N) * (2 * down_N - 1)
    return _warped(images_NCHW, theta)


def _warped(images_NCHW: torch.Tensor, theta_N23: torch.Tensor) -> torch.Tensor:
    grid = functional.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
    return _as_bytes(functional.grid_sample(images_NCHW.float(), grid, align_corners=False))


def _as_bytes(x_NCHW: torch.Tensor) -> torch.Tensor:
    return x_NCHW.round_().clamp_(0, 255).to(torch.uint8)


def _operated(images_NCHW: torch.Tensor, magnitude: float, generator: torch.Generator) -> torch.Tensor:
    """Return one operation on each image, drawn at random, with a random sign."""
    num = len(images_NCHW)
    which_N = torch.randint(len(OPERATIONS), (num,), generator=generator)
    strength_N = magnitude * (torch.randint(2, (num,), generator=generator) * 2 - 1).float()
    changed = images_NCHW.clone(memory_format=torch.preserve_format)
    for number, operation in enumerate(OPERATIONS.values()):
        chosen = torch.nonzero(which_N == number)[:, 0]
        if len(chosen):
            changed[chosen] = operation(images_NCHW[chosen], strength_N[chosen])
    return changed


def _affine(make: Callable[[torch.Tensor], dict[tuple[int, int], torch.Tensor]]) -> _Operation:
    def operate(images_NCHW: torch.Tensor, strength_N: torch.Tensor) -> torch.Tensor:
        theta = torch.eye(2, 3).repeat(len(images_NCHW), 1, 1)
        height, width = images_NCHW.shape[2:]
        in_pixels = {(0, 1): height / width, (1, 0): width / height}  # coordinates are -1 to 1 along either side
        for (row, column), values in make(strength_N).items():
            theta[:, row, column] = values * in_pixels.get((row, column), 1.0)
        return _warped(images_NCHW, theta)

    return operate


def _rotation(strength_N: torch.Tensor) -> dict[tuple[int, int], torch.Tensor]:
    angle = strength_N * math.radians(60)
    return {(0, 0): angle.cos(), (0, 1): -angle.sin(), (1, 0): angle.sin(), (1, 1): angle.cos()}


def _blend(images_NCHW: torch.Tensor, other: torch.Tensor, strength_N: torch.Tensor) -> torch.Tensor:
    x_NCHW = images_NCHW.float()
    return _as_bytes(x_NCHW + strength_N[:, None, None, None] * (x_NCHW - other))


def _sharpness(images_NCHW: torch.Tensor, strength_N: torch.Tensor) -> torch.Tensor:
    return _blend(images_NCHW, functional.avg_pool2d(images_NCHW.float(), 3, 1, 1, count_include_pad=False), strength_N)


_Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

OPERATIONS: dict[str, _Operation] = {
    "identity": lambda x, _: x,
    "rotate": _affine(_rotation),
    "shear_x": _affine(lambda s: {(0, 1): 0.6 * s}),
    "shear_y": _affine(lambda s: {(1, 0): 0.6 * s}),
    "shift_x": _affine(lambda s: {(0, 2): 0.6 * s}),
    "shift_y": _affine(lambda s: {(1, 2): 0.6 * s}),
    "brightness": lambda x, s: _blend(x, torch.zeros(()), s),
    "contrast": lambda x, s: _blend(x, x.float().mean(dim=(1, 2, 3), keepdim=True), s),
    "saturation": lambda x, s: _blend(x, x.float().mean(dim=1, keepdim=True), s),
    "sharpness": _sharpness,
    "solarize": lambda x, s: torch.where(x > (255 * (1 - s.abs()))[:, None, None, None], 255 - x, x),
}
"""The operations that RandAugment draws from: each takes images, and a strength of -1 to 1 for each image."""


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
