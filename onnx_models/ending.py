"""What classifiers end in behind the scores that they are trained by: a softmax, its logarithm, or a sigmoid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import nn

Ending = Literal["log_softmax", "sigmoid", "softmax"]

OPERATORS = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})
"""The operators of ONNX that these are."""

SMALLEST = 1e-12
"""What a probability of 0 is taken for where its logarithm is."""

_LEAST_SHARE = 1e-7
"""How near to 0 and 1 a sigmoid is told apart from them: nearer there is no number of 32 bits below 1."""

_FUNCTIONS: Mapping[Ending, Callable[[torch.Tensor], torch.Tensor]] = {
    "log_softmax": lambda scores_NK: scores_NK.log_softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "softmax": lambda scores_NK: scores_NK.softmax(dim=1),
}


class Ended(nn.Module):
    """A network with what it ends in once it is deployed."""

    def __init__(self, network: nn.Module, ending: Ending) -> None:
        super().__init__()
        self.network = network
        self.ending: Ending = ending

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return what the network is to give, [N, classes]."""
        return _FUNCTIONS[self.ending](self.network(x_NCHW))


def ended(network: nn.Module, ending: Ending | None) -> nn.Module:
    """Return a network of scores with an ending; itself where there is none."""
    return network if ending is None else Ended(network, ending)


def scores_of(outputs_NK: torch.Tensor, ending: Ending | None) -> torch.Tensor:
    """Return scores that become such outputs by an ending, as losses and metrics take them."""
    if ending == "softmax":
        return outputs_NK.clamp(min=SMALLEST).log()
    if ending == "sigmoid":
        return torch.logit(outputs_NK, eps=_LEAST_SHARE)
    return outputs_NK  # logarithms of probabilities are scores
