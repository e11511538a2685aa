"""Batches of mixed images: mixup and CutMix. N images, C channels, H x W pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from hwnas.agents import TrainingAgent
from hwnas.config import TrainingConfig
from hwnas.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MixedTargets:
    """The targets of images that are two images each.

    A loss of them is the mean of the losses of both, weighted by how much of each there is: of cross entropy that is
    the loss of the mixed targets, and other losses of single images need to know nothing of it.

    Attributes:
        targets_N: of the one image.
        others_N: of the other image.
        share: how much of a mixed image is the one, 0 to 1.
    """

    targets_N: torch.Tensor
    others_N: torch.Tensor
    share: float

    def tensor_split(self, num: int) -> list[MixedTargets]:
        """Return the targets in parts, as a tensor's method of that name does."""
        parts = zip(self.targets_N.tensor_split(num), self.others_N.tensor_split(num), strict=True)
        return [MixedTargets(targets_N=one, others_N=other, share=self.share) for one, other in parts]


Targets = torch.Tensor | MixedTargets

Batch = tuple[torch.Tensor, Targets]
"""x_NCHW and the targets of its images."""


def mixed(batch: tuple[torch.Tensor, torch.Tensor], config: TrainingConfig, rng: np.random.Generator) -> Batch:
    """Return a batch with its images mixed as the configuration says, each with another one of the batch.

    All images of a batch are mixed alike; where both mixup and CutMix are asked for, half of the batches by each.
    """
    x_NCHW, targets_N = batch
    is_cut = bool(config.cutmix) and (not config.mixup or rng.random() < 0.5)
    strength = config.cutmix if is_cut else config.mixup
    share = float(rng.beta(strength, strength))
    order = torch.from_numpy(rng.permutation(len(x_NCHW))).to(x_NCHW.device)
    if is_cut:
        x_NCHW, share = _cut_mixed(x_NCHW, order, share, rng)
    else:
        x_NCHW = torch.lerp(x_NCHW[order], x_NCHW, share)  # Zhang et al. 2018
    return x_NCHW, MixedTargets(targets_N=targets_N, others_N=targets_N[order], share=share)


def _cut_mixed(
    x_NCHW: torch.Tensor, order: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, float]:
    """Return images with a box of others in them, and the share that is left of each (Yun et al. 2019).

    The box has the images' proportions, and is what lies inside of them of one whose centre is anywhere.
    """
    height, width = x_NCHW.shape[2:]
    side = math.sqrt(1.0 - share)
    top, bottom = _span(height, side, rng)
    left, right = _span(width, side, rng)
    x_NCHW = x_NCHW.clone(memory_format=torch.preserve_format)
    x_NCHW[:, :, top:bottom, left:right] = x_NCHW[order, :, top:bottom, left:right]
    return x_NCHW, 1.0 - (bottom - top) * (right - left) / (height * width)


def _span(size: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    length = round(size * share)
    first = int(rng.integers(size)) - length // 2
    return max(0, first), min(size, first + length)


def require_mixable(config: TrainingConfig, agent: type[TrainingAgent], criterion: object) -> None:
    """Raise RequestError where images are to be mixed and the loss is not one of single images and their classes."""
    given = [setting for setting in ("mixup", "cutmix") if getattr(config, setting)]
    if not given:
        return
    if agent.target_kind != "classes" or agent.holds_out_classes:
        found = "a task whose targets are no classes of those images"
    elif config.images_per_class is not None:
        found = f"batches of {config.images_per_class} images of a class, which are compared"
    elif getattr(criterion, "compares_images", False):
        found = "a loss that compares the images of a batch"
    else:
        return
    names = " and ".join(given)
    raise RequestError(
        f"{names}: images are mixed with their classes, expected classification by a loss of single images, found "
        f"{found}; set {names} of this training to 0"
    )
