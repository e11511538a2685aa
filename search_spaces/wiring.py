"""How the blocks of a network are connected that do not run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

IMAGE = -1
"""The source that stands for the network's input."""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """The sources of every slot of a network, which run in order; the last one gives the network's output.

    Attributes:
        sources: per slot, the earlier slots whose outputs go into it, in order; `IMAGE` is the network's input.

    Raises:
        ValueError: a slot takes nothing, or the output of a slot that does not run before it.
    """

    sources: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for slot, own in enumerate(self.sources):
            if not own or not all(IMAGE <= source < slot for source in own):
                raise ValueError(f"slot {slot}: expected sources among the slots before it, found {own}")

    @cached_property
    def last_uses(self) -> dict[int, int]:
        """Return the last slot that takes each source."""
        return {source: slot for slot, own in enumerate(self.sources) for source in own}

    def held(self, slot: int) -> list[int]:
        """Return the earlier slots whose outputs a slot does not take, and later ones do."""
        return [s for s, last in self.last_uses.items() if s < slot < last and s not in self.sources[slot]]

    def needed_later(self, slot: int) -> tuple[bool, ...]:
        """Return which of a slot's inputs later slots take too."""
        return tuple(self.last_uses[source] > slot for source in self.sources[slot])

    def run(self, steps: Sequence[Callable[..., torch.Tensor]], given: Mapping[int, torch.Tensor]) -> torch.Tensor:
        """Compute the network's output; what no later slot takes is forgotten on the way.

        Args:
            steps: what the last slots compute, all of them or those behind the ones whose outputs are given.
            given: by source, the image or the outputs of slots.
        """
        values = dict(given)
        first = len(self.sources) - len(steps)
        for slot, step in enumerate(steps, start=first):
            values[slot] = step(*(values[source] for source in self.sources[slot]))
            for source in set(self.sources[slot]):
                if self.last_uses[source] == slot:
                    del values[source]
        return values[len(self.sources) - 1]


class WiredNetwork(nn.Module):
    """Blocks that are connected by a wiring."""

    def __init__(self, blocks: Sequence[nn.Module], wiring: Wiring) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.wiring = wiring

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.wiring.run(list(self.blocks), {IMAGE: x_NCHW})
