"""Geometric changes of whole batches: computed once, then applied to images and to what belongs to them.

N images, C channels, H x W pixels. Points are (x, y) in pixels, x to the right, y down; the first pixel's centre is
(0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

Interpolation = Literal["bilinear", "nearest"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Move:
    """A change of where the pixels of each image are.

    Attributes:
        pixels: gives moved uint8 images of some, with a value for what comes from outside.
        matrix_N23: gives the new place of a point (x, y, 1).
    """

    pixels: Callable[[torch.Tensor, int, Interpolation], torch.Tensor]
    matrix_N23: torch.Tensor

    def corners(self, boxes_NM4: torch.Tensor) -> torch.Tensor:
        """Return x1, y1, x2, y2 of the smallest upright box around each moved box."""
        x_NM4, y_NM4 = boxes_NM4[..., [0, 2, 0, 2]], boxes_NM4[..., [1, 1, 3, 3]]
        points_NM43 = torch.stack([x_NM4, y_NM4, torch.ones_like(x_NM4)], dim=-1)
        moved_NM42 = torch.einsum("nij,nmkj->nmki", self.matrix_N23, points_NM43)
        return torch.cat([moved_NM42.amin(dim=2), moved_NM42.amax(dim=2)], dim=-1)


def shift(top_N: torch.Tensor, left_N: torch.Tensor, *, margin: int) -> Move:
    """Return the move that cuts images out of themselves with a margin around, from that row and column on."""

    def pixels(images_NCHW: torch.Tensor, fill: int, _: Interpolation) -> torch.Tensor:
        num, height, width = len(images_NCHW), *images_NCHW.shape[2:]
        padded = functional.pad(images_NCHW, [margin] * 4, value=fill)
        rows_NH1 = (top_N[:, None] + torch.arange(height))[:, :, None]
        columns_N1W = (left_N[:, None] + torch.arange(width))[:, None, :]
        image_N11 = torch.arange(num)[:, None, None]
        # Indexing around the channels leaves them last, which is the layout that CPU convolutions want.
        return padded[image_N11, :, rows_NH1, columns_N1W].permute(0, 3, 1, 2)

    matrix = torch.eye(2, 3).repeat(len(top_N), 1, 1)
    matrix[:, 0, 2], matrix[:, 1, 2] = margin - left_N, margin - top_N
    return Move(pixels=pixels, matrix_N23=matrix)


def flip(is_flipped_N: torch.Tensor, *, width: int) -> Move:
    """Return the move that mirrors some of the images, left to right."""

    def pixels(images_NCHW: torch.Tensor, _fill: int, _: Interpolation) -> torch.Tensor:
        return torch.where(is_flipped_N[:, None, None, None], images_NCHW.flip(3), images_NCHW)

    matrix = torch.eye(2, 3).repeat(len(is_flipped_N), 1, 1)
    matrix[is_flipped_N, 0, 0], matrix[is_flipped_N, 0, 2] = -1.0, float(width)
    return Move(pixels=pixels, matrix_N23=matrix)


def warp(theta_N23: torch.Tensor, *, height: int, width: int) -> Move:
    """Return the move by which pixels of the result are taken from where `theta_N23` says.

    Args:
        theta_N23: from places of the result to places of the image, both from -1 to 1 along either side, as
            `affine_grid` of torch takes it.
    """

    def pixels(images_NCHW: torch.Tensor, fill: int, mode: Interpolation) -> torch.Tensor:
        grid = functional.affine_grid(theta_N23, list(images_NCHW.shape), align_corners=False)
        # Outside is 0 to the sampling.
        return as_bytes(functional.grid_sample(images_NCHW.float() - fill, grid, mode, align_corners=False) + fill)

    return Move(pixels=pixels, matrix_N23=_in_pixels(theta_N23, height, width))


def as_bytes(x_NCHW: torch.Tensor) -> torch.Tensor:
    """Return values rounded to 0 to 255."""
    return x_NCHW.round_().clamp_(0, 255).to(torch.uint8)


def _in_pixels(theta_N23: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Return the inverse of a warp, in pixels: from places of the image to places of the result."""
    inverse_N22 = torch.linalg.inv(theta_N23[:, :, :2])
    half = torch.tensor([width / 2, height / 2])
    linear_N22 = half[:, None] * inverse_N22 / half
    # x' = half + half * inverse(x / half - 1 - offset)
    offset_N2 = half - half * torch.einsum("nij,nj->ni", inverse_N22, 1 + theta_N23[:, :, 2])
    return torch.cat([linear_N22, offset_N2[:, :, None]], dim=2)
