"""Search spaces whose networks tell something of every point or pixel: a chain, tapped, with a neck and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.detection import DetectionHead, LevelHead
from search_spaces.dense_heads import DENSE_HEADS, Choices
from search_spaces.errors import SpaceError
from search_spaces.point_grid import PointGrid
from search_spaces.space import SearchSpace, Segment, SpaceSpec
from search_spaces.supernet import ChoiceSupernet, MixableSupernet, Step, Supernet
from search_spaces.taps import candidates_of_slots, find_taps, num_kept_slots
from search_spaces.wiring import IMAGE, WiredNetwork, Wiring

FEWEST_LEVELS = 2
"""Resolutions that a head takes features of at least."""


class DenseSpace(SearchSpace):
    """The networks of a chain with another head: its layers, tapped at the last block of each resolution.

    The fixed blocks behind the chain's last layer, which pool and classify, are left out. The head's own decisions
    follow the chain's.

    Args:
        spec: says which head.
        chain: the space that the layers are from.

    Raises:
        SpaceError: its blocks do not run one after the other, or give feature maps of one resolution only.
    """

    is_chain = False

    wiring: Wiring

    def __init__(self, spec: SpaceSpec, chain: SearchSpace) -> None:
        _require_chain(spec, chain)
        self.spec, self.chain = spec, chain
        self.is_elastic = chain.is_elastic
        self.num_chain_slots = num_kept_slots(chain)
        every_slot = candidates_of_slots(chain)
        self.num_dropped_slots = len(every_slot) - self.num_chain_slots
        slots = every_slot[: self.num_chain_slots]
        taps = find_taps(chain, slots)
        if len(taps) < FEWEST_LEVELS:
            raise SpaceError(
                f"{spec}: expected feature maps of {FEWEST_LEVELS} or more resolutions, of which the head takes the "
                f"last, found {len(taps)}; give larger images, or a space with more strides"
            )
        self.head = head = DENSE_HEADS[spec.head](spec, taps, self.num_chain_slots)
        num = len(chain.decisions)
        self.decisions = (*chain.decisions, *head.decisions)
        end = range(self.num_chain_slots, self.num_chain_slots + len(head.sources))
        self.segments = (*chain.segments, Segment(decisions=range(num, len(self.decisions)), slots=end))
        self.wiring = Wiring(sources=(*((slot - 1,) for slot in range(self.num_chain_slots)), *head.sources))
        dropped = set[int]().union(*every_slot[self.num_chain_slots :]).difference(*slots)
        self._number([i for i in range(len(chain.candidates)) if i not in dropped])

    def _number(self, kept: Sequence[int]) -> None:
        """Number the candidates that are kept of the chain, and the head's."""
        index_of: dict[Block, int] = {self.chain.candidates[i]: n for n, i in enumerate(kept)}
        self._of_chain = np.full(len(self.chain.candidates), -1, dtype=np.int64)
        self._of_chain[kept] = np.arange(len(kept))
        sizes = [len(d.choices) for d in self.head.decisions]
        self._of_head = np.empty((*sizes, len(self.head.sources)), dtype=np.int64)
        for choices, blocks in self.head.blocks.items():
            self._of_head[choices] = [index_of.setdefault(block, len(index_of)) for block in blocks]
        self.candidates = tuple(index_of)

    @property
    def num_architectures(self) -> int:
        """Those of the chain, each with every head."""
        return self.chain.num_architectures * prod(len(d.choices) for d in self.head.decisions)

    @property
    def point_grid(self) -> PointGrid:
        """The points that a detector's outputs are of.

        Raises:
            SpaceError: the networks are no detectors.
        """
        if self.spec.head != "detection":
            raise SpaceError(f"{self.spec}: expected a detection head, whose outputs are of points")
        return PointGrid.of_levels([(tap.shape[1], tap.shape[2], tap.stride) for tap in self.head.taps])

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]: the chain's slots, then the head's."""
        of_chain, of_head = np.split(architectures, [len(self.chain.decisions)], axis=1)
        indices = self.chain.block_indices(of_chain)[:, : self.num_chain_slots]
        return np.concatenate([self._of_chain[indices], self._of_head[tuple(of_head.T)]], axis=1)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the chain's canonical form with the same head."""
        of_chain, of_head = self.split(architecture)
        return (*self.chain.canonical(of_chain), *of_head)

    def depends_on_input(self, architecture: Architecture) -> bool:
        """Return whether the chain's output depends on its input."""
        return self.chain.depends_on_input(self.split(architecture)[0])

    def split(self, architecture: Architecture) -> tuple[Architecture, Choices]:
        """Return the choices of the chain and those of the head.

        Raises:
            SpaceError: they are not those of an architecture.
        """
        checked, num = self.validated(architecture), len(self.chain.decisions)
        return checked[:num], checked[num:]

    def build(self, architecture: Architecture) -> nn.Sequential:
        """Return the network on its own, freshly initialised, as the only child."""
        return nn.Sequential(WiredNetwork([block.build() for block in self.blocks(architecture)], self.wiring))

    def supernet(self) -> DenseSupernet:
        """Return the chain's supernet with neck and head, of which every width has weights of its own."""
        backbone = self.chain.supernet()
        backbone.drop_end(self.num_dropped_slots)
        if isinstance(backbone, ChoiceSupernet):
            return MixableDenseSupernet(self, backbone)
        return DenseSupernet(self, backbone)


def _require_chain(spec: SpaceSpec, chain: SearchSpace) -> None:
    if chain.original is not None:
        raise SpaceError(
            f"a {spec.head} head is for search spaces, and {spec.name} is a network that somebody brought: give a "
            "space such as fbnet-s, or --head classifier"
        )
    if not chain.is_chain:
        raise SpaceError(
            f"a {spec.head} head is for spaces whose blocks run one after the other, and those of {spec.name} do not: "
            "give another space, such as fbnet-s, or --head classifier"
        )


class DenseSupernet(Supernet):
    """A chain's supernet, and neck and head with weights of their own for each width, shared between depths.

    Args:
        space: the networks.
        backbone: the chain's supernet, without its end.
    """

    def __init__(self, space: DenseSpace, backbone: Supernet) -> None:
        super().__init__()
        self._space = space
        self.backbone = backbone
        first, *others = (len(d.choices) for d in space.head.decisions)
        deepest = tuple(num - 1 for num in others)
        self.heads = nn.ModuleList(
            nn.ModuleList(block.build() for block in space.head.blocks[i, *deepest]) for i in range(first)
        )

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Return the subnet as one module."""
        of_chain, of_head = self._space.split(architecture)
        blocks = [*self.backbone.path(of_chain)[: self._space.num_chain_slots], *self._head(of_head)]
        return [WiredNetwork(blocks, self._space.wiring)]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        return self._space.wiring.run(self.steps(architecture), {IMAGE: x_NCHW})

    def steps(self, architecture: Architecture) -> list[Step]:
        """Return what the slots compute, with the supernet's weights."""
        of_chain, of_head = self._space.split(architecture)
        return [*self.backbone.steps(of_chain)[: self._space.num_chain_slots], *self._head(of_head)]

    def sort_channels(self) -> None:
        """Sort those of the chain's layers."""
        self.backbone.sort_channels()

    def blocks_by_place(self) -> list[tuple[nn.Module, ...]]:
        """Return what stands in each place of neck and head: a module for every width."""
        return list(zip(*map(list, self.heads), strict=True))  # type: ignore[arg-type]

    def _head(self, choices: Choices) -> list[nn.Module]:
        """Return the modules of a neck and head, with the supernet's weights."""
        modules = self.heads[choices[0]]
        assert isinstance(modules, nn.ModuleList)
        return [_cut(module, block) for module, block in zip(modules, self._space.head.blocks[choices], strict=True)]


def _cut(module: nn.Module, block: Block) -> nn.Module:
    """Return the module of a block, with the weights of the deepest one of its width."""
    if isinstance(block, DetectionHead):
        assert isinstance(module, LevelHead)
        return module.of_depth(block.depth)
    return module


class MixableDenseSupernet(DenseSupernet, MixableSupernet):
    """One whose chain's layers have separate candidates; of the heads the outputs are mixed."""

    def __init__(self, space: DenseSpace, backbone: ChoiceSupernet) -> None:
        super().__init__(space, backbone)
        self.decision_logits = nn.ParameterList()

    def forward_mixed(self, x_NCHW: torch.Tensor, weights: Sequence[Mapping[int, torch.Tensor]]) -> torch.Tensor:
        """Compute the weighted sum of the outputs of all heads on a chain whose layers are mixed."""
        space, num = self._space, len(self._space.chain.decisions)
        features = self._mixed_features(x_NCHW, weights[:num])
        terms = []
        for chosen in product(*(own.items() for own in weights[num:])):
            choices = tuple(choice for choice, _ in chosen)
            share = torch.stack([share for _, share in chosen]).prod()
            terms.append(share * space.wiring.run(self._head(choices), features))
        return torch.stack(terms).sum(dim=0)

    def _mixed_features(
        self, x_NCHW: torch.Tensor, weights: Sequence[Mapping[int, torch.Tensor]]
    ) -> dict[int, torch.Tensor]:
        """Return what the taps give where every layer is a weighted sum of its candidates, by slot."""
        assert isinstance(self.backbone, ChoiceSupernet)
        taps, found, x = {tap.slot for tap in self._space.head.taps}, {}, x_NCHW
        for slot, step in enumerate(self.backbone.mixed_steps(weights)):
            x = step(x)
            if slot in taps:
                found[slot] = x
        return found
