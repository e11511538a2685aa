"""Small data, outputs and networks of every kind of task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from samples import ToySpace
from torch import nn

from hwnas.agents import TASKS, TrainingAgent
from hwnas.criteria import CRITERIA, CriterionSpec, SmoothedCrossEntropy
from hwnas.dataflow import Augmentation, Dataset, Split
from search_spaces import SpaceSpec
from search_spaces.point_grid import PointGrid

GRID = PointGrid.of_levels([(4, 4, 2), (2, 2, 4)])
"""Twenty points of images of 8 pixels."""

CLASSES = ("a", "b", "c", "d")


class PointSpace(ToySpace):
    """A space whose networks find boxes at the points of the grid."""

    spec = SpaceSpec(name="toy", input_size=8, in_channels=1, num_classes=4)
    point_grid = GRID


def made_agent(name: str, criterion: str | None = None) -> TrainingAgent:
    """Return a built-in training agent, for a space that suits it."""
    task = TASKS[name]
    spec = CriterionSpec(num_outputs=4, num_classes=4, label_smoothing=0.0)
    own = criterion or (task.default_criterion if task.criteria else None)
    return task(criterion=CRITERIA[own](spec) if own else SmoothedCrossEntropy()).for_space(PointSpace())


def targets_for(kind: str, num: int, *, are_empty: bool = False) -> torch.Tensor:
    """Return targets of images of 8 pixels, of four classes."""
    classes_N = torch.arange(num) % len(CLASSES)
    if kind == "boxes":
        targets_NM5 = torch.tensor([[0.0, 1.0, 1.0, 5.0, 6.0], [0.0, 4.0, 3.0, 7.5, 8.0], [-1.0, 0.0, 0.0, 0.0, 0.0]])
        targets_NM5 = targets_NM5.repeat(num, 1, 1)
        targets_NM5[:, :2, 0] = torch.stack([classes_N, classes_N.flip(0)], dim=1).float()
        targets_NM5[1::2, 1] = targets_NM5[1::2, 2]
        return targets_NM5[:, 2:] if are_empty else targets_NM5
    if kind == "masks":
        masks_NHW = classes_N[:, None, None].repeat(1, 8, 8).to(torch.uint8)
        masks_NHW[:, :2] = 0
        masks_NHW[:, :, 7] = 255
        return torch.full_like(masks_NHW, 255) if are_empty else masks_NHW
    return classes_N


def dataset_for(kind: str) -> Dataset:
    """Return forty images with targets of a kind."""
    images = torch.randint(0, 255, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = Split(images_NCHW=images, targets_N=targets_for(kind, 40))
    return Dataset(name="toy", classes=CLASSES, train=split, test=split, augmentation=Augmentation(), target_kind=kind)


def forward_for(kind: str, num: int = 8) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a stand-in for a network that gives some `num` outputs for an image, four classes for points or pixels."""

    def points(x_NCHW: torch.Tensor) -> torch.Tensor:
        values = (x_NCHW / 255).flatten(1).repeat(1, 3)[:, :160].reshape(-1, 20, 8)
        return torch.cat([3 * values[..., :4], 4 * values[..., 4:] - 3], dim=2)

    def pixels(x_NCHW: torch.Tensor) -> torch.Tensor:
        return torch.cat([x_NCHW.roll(shift, dims=3) / 64 for shift in range(4)], dim=1)

    return {"boxes": points, "masks": pixels}.get(kind, lambda x_NCHW: x_NCHW.flatten(1)[:, :num] / 64)


class TinyDetector(nn.Module):
    """Finds boxes of two classes on images of 32 pixels, at strides 4 and 8."""

    grid = PointGrid.of_levels([(8, 8, 4), (4, 4, 8)])

    def __init__(self) -> None:
        super().__init__()
        layers = [_conv(3, 16), _conv(16, 32), _conv(32, 32, stride=1)]
        self.fine, self.coarse = nn.Sequential(*layers), nn.Sequential(_conv(32, 48), _conv(48, 48, stride=1))
        self.heads = nn.ModuleList([nn.Conv2d(32, 6, 1), nn.Conv2d(48, 6, 1)])
        for head in self.heads:
            nn.init.constant_(head.bias[4:], -4.0)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x_NCHW)
        maps = [head(x) for head, x in zip(self.heads, (fine, self.coarse(fine)), strict=True)]
        outputs = torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2)
        return torch.cat([nn.functional.softplus(outputs[..., :4]), outputs[..., 4:]], dim=2)


def _conv(num_in: int, num_out: int, *, stride: int = 2) -> nn.Sequential:
    conv = nn.Conv2d(num_in, num_out, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(num_out), nn.ReLU())
