"""Multi-head self-attention with its layer normalisation and residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import MOST, require_range
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.blocks.tokens import TokenBlock, TokenNorm, init_token_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfAttention(TokenBlock):
    """Layer normalisation, self-attention of `heads` heads, linear projection, residual (Dosovitskiy et al. 2021).

    Queries, keys and values of a head have `head_width` features, however wide the tokens are (Chen et al. 2021).
    """

    family: ClassVar[str] = "attention"

    heads: int
    head_width: int = 64

    def __post_init__(self) -> None:
        TokenBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_range(self, "heads", 1, 64)
        require_range(self, "head_width", 1, MOST)

    def _key_fields(self) -> dict[str, int | str]:
        return {"heads": self.heads, "head": self.head_width}

    def build(self) -> nn.Module:
        """Return the layer, initialised; maps x_NTD to x_NTD."""
        module = Attention((self.num_tokens,), self.in_channels, heads=self.heads, head_width=self.head_width)
        init_token_weights(module)
        return module


class Attention(nn.Module):
    """Adds to tokens what self-attention makes of the normalised ones.

    The linear layer before it gives each head's query, key and value in turn, so that its first rows are those of the
    first heads.

    Args:
        token_shape: sizes of the axes between images and features, the attended tokens last; (T,) where all tokens of
            an image attend to each other, (P, T) for P sets that do so among themselves.
    """

    def __init__(self, token_shape: tuple[int, ...], width: int, *, heads: int, head_width: int) -> None:
        super().__init__()
        self._token_shape = token_shape
        self._head_width = head_width
        self.norm = TokenNorm(width)
        self.to_heads = nn.Linear(width, 3 * heads * head_width)
        self.project = nn.Linear(heads * head_width, width)
        self.stochastic_depth = StochasticDepth()

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        num_tokens, width = self._token_shape[-1], self._head_width
        num_heads = len(self.to_heads.bias) // (3 * width)
        parts = self.to_heads(self.norm(x_NTD)).reshape(-1, num_tokens, num_heads, 3 * width).transpose(1, 2)
        query, key, value = parts.split((width, width, width), dim=-1)
        # Written out: what the exporter makes of torch's own function scales by a number that is no constant where the
        # batch is open, so that runtimes cannot make it part of the product.
        weights_NHTT = ((query * width**-0.5) @ key.transpose(2, 3)).softmax(dim=-1)
        attended = (weights_NHTT @ value).transpose(1, 2).reshape(-1, *self._token_shape, num_heads * width)
        out: torch.Tensor = x_NTD + self.stochastic_depth(self.project(attended))
        return out
