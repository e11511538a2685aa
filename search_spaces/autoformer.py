"""AutoFormer's elastic vision transformer, the supernet for tiny networks (Chen et al. 2021, arXiv 2107.00651)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.attention import SelfAttention
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mlp import Mlp
from search_spaces.blocks.patch_embedding import PatchEmbedding
from search_spaces.blocks.tokens import TokenHead, TokenSkip
from search_spaces.elastic import ElasticSupernet
from search_spaces.space import SMALL_INPUT, Decision, SearchSpace, Segment, SpaceSpec

WIDTHS = (192, 216, 240)
DEPTHS = (12, 13, 14)
HEADS = (3, 4)
RATIOS = (3.5, 4.0)
HEAD_WIDTH = 64

PATCH, SMALL_PATCH = 16, 4
"""Pixels a side of a patch, and at inputs of `SMALL_INPUT` pixels or less."""


class AutoFormer(SearchSpace):
    """12 to 14 layers of attention of 3 or 4 heads and a perceptron of ratio 3.5 or 4, on 192 to 240 features.

    The first decision is the features of all tokens, the second the depth; then every layer has its heads and its
    ratio, those beyond the depth left out. All weights are the leading parts of the largest network's.

    `spec.width` scales the features and the heads' 64. Unlike the paper's, positions are embedded in the patches alone,
    not in the attention too.
    """

    is_elastic = True

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self._widths = tuple(dict.fromkeys(make_divisible(width * spec.width) for width in WIDTHS))
        self._index_of: dict[Block, int] = {}
        self._stem = np.array([self._index(block) for block in self._embeddings()])
        self._attention, self._mlp = (self._table(blocks) for blocks in (self._attentions(), self._mlps()))
        self._left_out = np.array([self._index(TokenSkip(**self._tokens(width))) for width in self._widths])
        self._head = np.array([self._index(block) for block in self._heads()])
        self.candidates = tuple(self._index_of)
        self.decisions = self._decisions()
        self.segments = (Segment(decisions=range(len(self.decisions)), slots=range(2 + 2 * max(DEPTHS))),)

    @property
    def num_architectures(self) -> int:
        """Distinct networks: of layers that are left out there is nothing to choose."""
        return len(self._widths) * sum(int((len(HEADS) * len(RATIOS)) ** depth) for depth in DEPTHS)

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]; identities where layers are left out."""
        width, depth = architectures[:, 0], architectures[:, 1] + min(DEPTHS)
        attention_NL = self._attention[width[:, None], architectures[:, 2::2]]
        mlp_NL = self._mlp[width[:, None], architectures[:, 3::2]]
        is_there_NL = np.arange(max(DEPTHS)) < depth[:, None]
        chosen_NL2 = np.stack([attention_NL, mlp_NL], axis=2)
        layers_NL2 = np.where(is_there_NL[:, :, None], chosen_NL2, self._left_out[width][:, None, None])
        layers = layers_NL2.reshape(len(width), 2 * max(DEPTHS))
        return np.concatenate([self._stem[width][:, None], layers, self._head[width][:, None]], axis=1)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the form in which layers that are left out take their first choice."""
        form = self.validated(architecture)
        num_chosen = 2 + 2 * (form[1] + min(DEPTHS))
        return (*form[:num_chosen], *(0 for _ in form[num_chosen:]))

    def supernet(self) -> ElasticSupernet:
        """Return the largest network, of which every architecture is a slice."""
        stem, attention, mlp, head = (
            self.candidates[table.flat[-1]] for table in (self._stem, self._attention, self._mlp, self._head)
        )
        slots = [stem, *[attention, mlp] * max(DEPTHS), head]
        return ElasticSupernet(self, slots, [True] * len(slots))

    def _decisions(self) -> tuple[Decision, ...]:
        """Return the features, the depth, and of each layer the heads and the ratio."""
        decisions = [
            Decision(name="features", choices=tuple(map(str, self._widths))),
            Decision(name="depth", choices=tuple(map(str, DEPTHS))),
        ]
        for layer in range(1, max(DEPTHS) + 1):
            decisions.append(Decision(name=f"layer{layer}.heads", choices=tuple(map(str, HEADS))))
            decisions.append(Decision(name=f"layer{layer}.ratio", choices=tuple(f"{ratio:g}" for ratio in RATIOS)))
        return tuple(decisions)

    def _embeddings(self) -> list[Block]:
        return [
            PatchEmbedding(
                in_channels=self.spec.in_channels, out_channels=width, input_size=self.spec.side, stride=self._patch
            )
            for width in self._widths
        ]

    def _attentions(self) -> list[list[Block]]:
        head_width = make_divisible(HEAD_WIDTH * self.spec.width)
        return [
            [SelfAttention(**self._tokens(width), heads=heads, head_width=head_width) for heads in HEADS]
            for width in self._widths
        ]

    def _mlps(self) -> list[list[Block]]:
        return [[Mlp(**self._tokens(width), ratio=ratio) for ratio in RATIOS] for width in self._widths]

    def _heads(self) -> list[Block]:
        return [TokenHead(**{**self._tokens(width), "out_channels": self.spec.num_classes}) for width in self._widths]

    def _tokens(self, width: int) -> dict[str, int]:
        """Return the shape of tokens."""
        return {"in_channels": width, "out_channels": width, "input_size": self.spec.side // self._patch}

    @property
    def _patch(self) -> int:
        return SMALL_PATCH if self.spec.side <= SMALL_INPUT else PATCH

    def _index(self, block: Block) -> int:
        return self._index_of.setdefault(block, len(self._index_of))

    def _table(self, blocks: list[list[Block]]) -> NDArray[np.int64]:
        return np.array([[self._index(block) for block in row] for row in blocks])
