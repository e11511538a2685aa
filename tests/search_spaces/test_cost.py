"""Costs of modules of any kind, against sums by hand."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import pytest
import torch
from general_blocks import Join, TokenMlp
from torch import nn
from torch.nn import functional

from search_spaces import SpaceSpec, make_space
from search_spaces.cost import block_cost, module_cost


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        return self.attention(x_NTD, x_NTD, x_NTD, need_weights=False)[0]


class _Functions(nn.Module):
    """The same convolution twice, called as a function, and products of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4, 4, 3, 3))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        for _ in range(2):
            x_NCHW = functional.conv2d(x_NCHW, self.weight, padding=1)
        return x_NCHW @ x_NCHW.transpose(2, 3)


LAYERS = {
    "linear": (nn.Linear(8, 16), (8,), 8 * 16),
    "linear on tokens": (nn.Linear(8, 16), (5, 8), 5 * 8 * 16),
    "linear on pixels": (nn.Linear(8, 16, bias=False), (3, 5, 8), 15 * 8 * 16),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, groups=2), (4, 10), 6 * 2 * 3 * 10),
    "conv2d": (nn.Conv2d(4, 6, (3, 5), stride=2), (4, 9, 11), 6 * 4 * 15 * 16),
    "conv3d": (nn.Conv3d(4, 6, 3, padding=1), (4, 4, 5, 6), 6 * 4 * 27 * 120),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 2, stride=2), (4, 5), 4 * 6 * 2 * 5),
    "transposed 2d": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 7), 4 * 3 * 9 * 35),
    "attention": (_Attention(), (5, 8), 5 * 8 * 24 + 5 * 8 * 8 + 2 * 5 * 5 * 8),
    "functions": (_Functions(), (4, 6, 9), 2 * 4 * 4 * 9 * 54 + 4 * 6 * 9 * 6),
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", LAYERS)
def test_multiply_accumulates_by_hand(name: str, device: str) -> None:
    module, shape, macs = LAYERS[name]
    cost = module_cost(module.to(device), torch.empty(1, *shape, device=device))
    assert cost.macs == macs
    module.to_empty(device="cpu")


def test_outputs_of_layers_are_the_activations() -> None:
    assert module_cost(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), torch.empty(1, 5, 8)) == (
        module_cost(nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)), torch.empty(1, 5, 8))
    )
    assert module_cost(nn.Linear(8, 16), torch.empty(1, 5, 8)).activations == 5 * 16


def test_blocks_of_tokens_and_of_several_inputs() -> None:
    tokens, join = block_cost(TokenMlp()), block_cost(Join())
    assert (tokens.macs, tokens.params) == (2 * 5 * 8 * 16, 2 * 8 + 8 * 16 + 16 + 16 * 8 + 8)
    assert (join.macs, join.activations) == (4 * 8 * 9 * 54, prod(Join().output_shape))


def test_how_attention_runs_is_left_as_it_was() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    module_cost(_Attention(), torch.empty(1, 5, 8))
    assert torch.backends.mha.get_fastpath_enabled()


def test_costs_that_are_asked_for_in_inference_mode_are_the_same() -> None:
    block = make_space(SpaceSpec(name="nasbench-macro", input_size=8, num_classes=10)).candidates[0]
    expected = block_cost(block)
    block_cost.cache_clear()
    with torch.inference_mode():
        assert block_cost(block) == expected
    assert expected.macs > 0


@dataclass(frozen=True, kw_only=True)
class _Numbered(TokenMlp):
    """Makes a tensor of its own as it runs."""

    def build(self) -> nn.Module:
        return _Numbering(super().build())


class _Numbering(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._inner = inner

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        return self._inner(x_NTD + torch.arange(x_NTD.shape[1])[:, None])


def test_blocks_may_make_tensors_as_they_run() -> None:
    assert block_cost(_Numbered()) == block_cost(TokenMlp())
