"""Convolutions that can be trained whatever their shape."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

FEWEST_CHANNELS = 16
"""Input channels that fill one of oneDNN's blocks with AVX-512; 8 do with AVX2."""


class Conv2d(nn.Conv2d):
    """torch's convolution, but that training a strided 1x1 one first picks the pixels that it looks at.

    With fewer input channels than fill a block, oneDNN's gradient of such weights writes past its memory where channels
    are last, which ends the process or spoils other tensors (uxlfoundation/oneDNN, issue 6035). Without a stride it
    does not. What is exported is the plain convolution.
    """

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if not (self.training and x_NCHW.ndim == 4 and x_NCHW.shape[1] < FEWEST_CHANNELS and self._picks_pixels):
            return super().forward(x_NCHW)
        down, right = self.stride
        return functional.conv2d(x_NCHW[:, :, ::down, ::right], self.weight, self.bias)

    @property
    def _picks_pixels(self) -> bool:
        is_pointwise = self.kernel_size == (1, 1) and self.groups == 1 and self.padding in ((0, 0), "valid")
        return is_pointwise and max(self.stride) > 1
