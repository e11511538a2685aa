"""Strided 1x1 convolutions of few channels, whose gradients oneDNN writes past its memory (its issue 6035)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from search_spaces.blocks.convolution import Conv2d
from search_spaces.blocks.skip import Skip


@pytest.mark.parametrize("channels", [4, 8, 15, 16, 24])
@pytest.mark.parametrize("size", [64, 33])
def test_gradients_are_those_of_a_plain_convolution_with_channels_first(channels: int, size: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(channels, 16, 1, 2).double()
    ours = Conv2d(channels, 16, 1, 2).to(memory_format=torch.channels_last)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(4, channels, size, size)
    outputs = ours(x.to(memory_format=torch.channels_last)), plain(x.double())
    weights = torch.randn(outputs[0].shape)
    (outputs[0] * weights).sum().backward()
    (outputs[1] * weights).sum().backward()
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=1e-4, atol=1e-5)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-3, atol=1e-3)


def test_what_is_left_out_at_a_stride_can_be_trained() -> None:
    module = Skip(in_channels=8, out_channels=16, input_size=64, stride=2).build().to(memory_format=torch.channels_last)
    for _ in range(10):
        x = torch.randn(64, 8, 64, 64).to(memory_format=torch.channels_last)
        module(x).pow(2).mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)
