"""From a supernet to a network of its own."""

from __future__ import annotations

import torch
from torch import nn

from search_spaces import Architecture
from search_spaces.supernet import Supernet


@torch.no_grad()
def inherit_weights(network: nn.Sequential, supernet: Supernet, architecture: Architecture) -> None:
    """Copy a subnet's weights and statistics from the supernet into the standalone network of the same architecture."""
    for own, shared in zip(network, supernet.path(architecture), strict=True):
        own.load_state_dict(shared.state_dict())
