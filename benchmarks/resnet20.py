"""ResNet-20 for CIFAR-10 (He et al. 2015, Deep Residual Learning, section 4.2).

Where the width changes, shortcuts are projections (option B of the paper): Torch-Pruning cuts the ones that are padded
with zeros (option A) into a network that does not run.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_out)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the sum of both ways."""
        out = torch.relu(self.bn1(self.conv1(x_NCHW)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.shortcut(x_NCHW))


class ResNet20(nn.Module):
    """Three stages of three blocks, of 16, 32 and 64 channels."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        self.layers = nn.Sequential(*(Residual(a, b, 1 if a == b else 2) for a, b in pairwise(widths)))
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.layers(torch.relu(self.bn1(self.conv1(x_NCHW))))
        return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def build() -> nn.Module:
    """Return the network, as --model takes it."""
    return ResNet20()
