"""Weight-sharing networks."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.errors import SpaceError

Step = Callable[[torch.Tensor], torch.Tensor]
"""What one slot of a chain computes."""


class Supernet(nn.Module, ABC):
    """Weights shared by all architectures of a space.

    Holds no current path: the architecture is an argument, so that nothing depends on what ran before.
    """

    @abstractmethod
    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Return the modules of a subnet in network order, with the supernet's weights.

        They are the supernet's own where it keeps a block's weights as they are, and copies where it cuts them out of
        larger ones: for reading. Train with `forward`; take a `subnet` for whatever changes modules.
        """

    def subnet(self, architecture: Architecture) -> nn.Sequential:
        """Return the subnet on its own, with copies of weights and statistics: the supernet stays as it is."""
        return copy.deepcopy(nn.Sequential(*self.path(architecture)))

    @abstractmethod
    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        """Compute what the subnet computes."""

    def steps(self, architecture: Architecture) -> list[Step]:
        """Return what the slots of a chain compute, in network order, so that training it trains the supernet."""
        return list(self.path(architecture))

    def drop_end(self, _num_slots: int) -> None:
        """Forget the weights of the last slots, which are fixed and will never be run; it is no fault to keep them."""

    def sort_channels(self) -> None:
        """Put the channels that matter most first, where smaller networks keep the first ones; else nothing."""


class MixableSupernet(Supernet):
    """A supernet with weights of their own for the choices of every decision, whose outputs can be mixed.

    Attributes:
        decision_logits: per decision [num_choices], where a strategy learns which to choose; else empty. See
            `choice_logits`.
    """

    decision_logits: nn.ParameterList

    def choice_logits(self) -> list[torch.Tensor]:
        """Return what a training strategy learnt to choose, as logits, [num_choices] per decision.

        They are `LOGIT_SCALE` times the parameters: gradients of choices are small beside those of weights, and both
        have one learning rate.
        """
        return [LOGIT_SCALE * each for each in self.decision_logits]

    @abstractmethod
    def forward_mixed(self, x_NCHW: torch.Tensor, weights: Sequence[Mapping[int, torch.Tensor]]) -> torch.Tensor:
        """Compute the network in whose every decision the outputs of the choices are summed by weights.

        Args:
            weights: per decision, by choice; choices without a weight are not computed.
        """


def require_choices(architecture: Architecture, num_choices: Sequence[int]) -> None:
    """Raise SpaceError unless an architecture chooses once for each decision, among so many."""
    if len(architecture) != len(num_choices):
        raise SpaceError(f"expected {len(num_choices)} choices, one for each decision, got {len(architecture)}")
    for position, (choice, num) in enumerate(zip(architecture, num_choices, strict=True)):
        if not 0 <= choice < num:
            raise SpaceError(f"decision {position} has choices 0 to {num - 1}, got {choice}")


def with_weights(block: Block, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return the block's module with copies of those weights."""
    with torch.device("meta"):  # no memory, and no random numbers drawn
        module = block.build()
    module.load_state_dict({name: tensor.detach().clone() for name, tensor in state.items()}, assign=True)
    return module


LOGIT_SCALE = 5.0
"""The factor of logits over their parameters; logits learn faster than weights by its square."""


class ChoiceSupernet(MixableSupernet):
    """Separate candidate blocks per layer; an architecture is a path through them (Guo et al. 2020)."""

    def __init__(
        self,
        stem: Sequence[Sequence[nn.Module]],
        layers: Sequence[Sequence[nn.Module]],
        head: Sequence[Sequence[nn.Module]],
    ) -> None:
        super().__init__()
        self.stem = nn.ModuleList(m for slot in stem for m in slot)
        self.layers = nn.ModuleList(nn.ModuleList(candidates) for candidates in layers)
        self.head = nn.ModuleList(m for slot in head for m in slot)
        self.decision_logits = nn.ParameterList()

    def path(self, architecture: Architecture) -> list[nn.Module]:
        require_choices(architecture, [len(layer) for layer in self.layers])  # type: ignore[arg-type]
        chosen = [layer[choice] for layer, choice in zip(self.layers, architecture, strict=True)]  # type: ignore[index]
        return [*self.stem, *chosen, *self.head]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        x = x_NCHW
        for module in self.path(architecture):
            x = module(x)
        return x

    def drop_end(self, num_slots: int) -> None:
        """Forget the weights of the last fixed blocks."""
        self.head = self.head[: len(self.head) - num_slots]

    def forward_mixed(self, x_NCHW: torch.Tensor, weights: Sequence[Mapping[int, torch.Tensor]]) -> torch.Tensor:
        """Compute the network whose every layer is a weighted sum of its candidates."""
        x = x_NCHW
        for step in self.mixed_steps(weights):
            x = step(x)
        return x

    def mixed_steps(self, weights: Sequence[Mapping[int, torch.Tensor]]) -> list[Step]:
        """Return what the slots compute where every layer is a weighted sum of its candidates."""
        layers = [partial(_mixed, layer, weight) for layer, weight in zip(self.layers, weights, strict=True)]
        return [*self.stem, *layers, *self.head]


def _mixed(layer: nn.Module, weight: Mapping[int, torch.Tensor], x_NCHW: torch.Tensor) -> torch.Tensor:
    """Compute the weighted sum of a layer's candidates."""
    assert isinstance(layer, nn.ModuleList)
    return torch.stack([share * layer[choice](x_NCHW) for choice, share in weight.items()]).sum(dim=0)
