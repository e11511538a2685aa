"""The multi-layer perceptron of transformers with its layer normalisation and residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from search_spaces.block import require_range
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.blocks.tokens import TokenBlock, TokenNorm, init_token_weights


@dataclass(frozen=True, kw_only=True, slots=True)
class Mlp(TokenBlock):
    """Layer normalisation, linear layer to `ratio` times the features, GELU, linear layer back, residual."""

    family: ClassVar[str] = "mlp"

    ratio: float

    def __post_init__(self) -> None:
        TokenBlock.__post_init__(self)  # super() does not work in slotted dataclasses before Python 3.14
        require_range(self, "ratio", 0.1, 16)

    @property
    def hidden(self) -> int:
        """The features between the linear layers."""
        return max(1, round(self.in_channels * self.ratio))

    def _key_fields(self) -> dict[str, int | str]:
        return {"hidden": self.hidden}

    def build(self) -> nn.Module:
        """Return the layer, initialised; maps x_NTD to x_NTD."""
        module = Perceptron(self.in_channels, self.hidden, nn.GELU())
        init_token_weights(module)
        return module


class Perceptron(nn.Module):
    """Adds to tokens what two linear layers and an activation make of the normalised ones."""

    def __init__(self, width: int, hidden: int, act: nn.Module) -> None:
        super().__init__()
        self.norm = TokenNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.act = act
        self.project = nn.Linear(hidden, width)
        self.stochastic_depth = StochasticDepth()

    def forward(self, x_NTD: torch.Tensor) -> torch.Tensor:
        hidden = self.act(self.expand(self.norm(x_NTD)))
        out: torch.Tensor = x_NTD + self.stochastic_depth(self.project(hidden))
        return out
