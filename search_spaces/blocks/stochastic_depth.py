"""Residual branches left out at random while a network is trained."""

from __future__ import annotations

import torch
from torch import nn


class StochasticDepth(nn.Module):
    """Leaves out a residual branch, for each image alone, and scales what is kept (Huang et al. 2016).

    Stands at the end of a branch, before the sum: `x + stochastic_depth(branch(x))`. In evaluation, and with
    probability 0, the branch passes as it is, so that exported graphs have no trace of it; it has no weights either.
    Draws from torch's global generator, as dropout does.

    Attributes:
        probability: of leaving out, 0 to below 1; 0 when made. A training sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.probability = 0.0

    def forward(self, branch: torch.Tensor) -> torch.Tensor:
        """Return a branch's output, [N, ...], zero for the images that it is left out for."""
        if not self.training or not self.probability:
            return branch
        kept_N = torch.rand(len(branch), device=branch.device) >= self.probability
        scale_N = kept_N.to(branch.dtype) / (1.0 - self.probability)
        return branch * scale_N.reshape(-1, *(1,) * (branch.dim() - 1))

    def extra_repr(self) -> str:
        """Return the probability, for the module's text."""
        return f"probability={self.probability}"
