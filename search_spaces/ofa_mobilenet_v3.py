"""Once-for-all's elastic MobileNetV3 (Cai et al. 2020, Once-for-All: Train One Network and Specialize it)."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.architecture import Architecture
from search_spaces.block import Block
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Classifier, GlobalPool
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.separable import SeparableConv
from search_spaces.blocks.skip import Skip
from search_spaces.elastic import ElasticSupernet
from search_spaces.space import Decision, SearchSpace, Segment, SpaceSpec

_STAGES = (
    (24, 2, "relu", 0.0),
    (40, 2, "relu", 0.25),
    (80, 2, "hswish", 0.0),
    (112, 1, "hswish", 0.25),
    (160, 2, "hswish", 0.25),
)
"""Output channels, stride of the first layer, activation, squeeze-excite ratio."""

DEPTHS = (2, 3, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
_CHOICES = tuple(product(KERNELS, EXPANSIONS))


class OfaMobileNetV3(SearchSpace):
    """5 stages of 2 to 4 layers, each MBConv k 3/5/7 x e 3/4/6; all weights are slices of the largest network.

    Per stage one decision is the depth, and four are the layers'; those beyond the depth are left out.
    """

    is_elastic = True

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        index_of: dict[Block, int] = {}
        stem, channels, size = _stem(spec)
        self._stem = [index_of.setdefault(b, len(index_of)) for b in stem]
        decisions: list[Decision] = []
        segments: list[Segment] = []
        self._layers: list[NDArray[np.int64]] = []  # of each elastic slot, candidate by choice
        self._left_out: list[int] = []  # of each elastic slot, the identity
        self._largest: list[MBConv] = []
        for number, (out, first_stride, act, se_ratio) in enumerate(_STAGES, start=1):
            first_decision, first_slot = len(decisions), len(self._stem) + len(self._layers)
            decisions.append(Decision(name=f"stage{number}.depth", choices=tuple(map(str, DEPTHS))))
            for position in range(max(DEPTHS)):
                stride = first_stride if position == 0 else 1
                shape: dict[str, Any] = {
                    "in_channels": channels,
                    "out_channels": make_divisible(out * spec.width),
                    "input_size": size,
                    "stride": min(stride, spec.early_stride) if number == 1 else stride,
                    "act": act,
                    "se_ratio": se_ratio,
                }
                blocks = [MBConv(**shape, kernel=k, expansion=e) for k, e in _CHOICES]
                channels, size = blocks[-1].out_channels, blocks[-1].output_size
                left_out = Skip(in_channels=channels, out_channels=channels, input_size=size)
                self._layers.append(np.array([index_of.setdefault(b, len(index_of)) for b in blocks]))
                self._left_out.append(index_of.setdefault(left_out, len(index_of)))
                self._largest.append(blocks[-1])
                decisions.append(
                    Decision(
                        name=f"stage{number}.layer{position + 1}", choices=tuple(f"k{k}_e{e}" for k, e in _CHOICES)
                    )
                )
            segments.append(
                Segment(
                    decisions=range(first_decision, len(decisions)),
                    slots=range(first_slot, len(self._stem) + len(self._layers)),
                )
            )
        self._head = [index_of.setdefault(b, len(index_of)) for b in _head(spec, channels, size)]
        self.candidates = tuple(index_of)
        self.decisions = tuple(decisions)
        self.segments = tuple(segments)

    @property
    def num_architectures(self) -> int:
        """Distinct networks: of layers that are left out there is nothing to choose."""
        return math.prod(sum(len(_CHOICES) ** depth for depth in DEPTHS) for _ in _STAGES)

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]; identities where layers are left out."""
        num = len(architectures)
        columns = [np.full(num, i) for i in self._stem]
        for slot, layer in enumerate(self._layers):
            stage, position = divmod(slot, max(DEPTHS))
            first = stage * (1 + max(DEPTHS))
            depth = architectures[:, first] + min(DEPTHS)
            chosen = layer[architectures[:, first + 1 + position]]
            columns.append(np.where(position < depth, chosen, self._left_out[slot]))
        columns += [np.full(num, i) for i in self._head]
        return np.stack(columns, axis=1)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the form in which layers that are left out take their first choice."""
        form = list(self.validated(architecture))
        for segment in self.segments:
            start = segment.decisions.start
            first_left_out = start + 1 + form[start] + min(DEPTHS)
            for position in range(first_left_out, segment.decisions.stop):
                form[position] = 0
        return tuple(form)

    def supernet(self) -> ElasticSupernet:
        """Return the largest network, of which every architecture is a slice."""
        stem, head = ([self.candidates[i] for i in part] for part in (self._stem, self._head))
        slots = [*stem, *self._largest, *head]
        is_elastic = [False] * len(stem) + [True] * len(self._largest) + [False] * len(head)
        return ElasticSupernet(self, slots, is_elastic)


def _stem(spec: SpaceSpec) -> tuple[list[Block], int, int]:
    channels = make_divisible(16 * spec.width)
    first = ConvBnAct(
        in_channels=spec.in_channels,
        out_channels=channels,
        input_size=spec.side,
        kernel=3,
        stride=spec.early_stride,
        act="hswish",
    )
    size = first.output_size
    return (
        [first, SeparableConv(in_channels=channels, out_channels=channels, input_size=size, kernel=3)],
        channels,
        size,
    )


def _head(spec: SpaceSpec, channels: int, size: int) -> list[Block]:
    features, hidden = make_divisible(960 * spec.width), make_divisible(1280 * spec.width)
    return [
        ConvBnAct(in_channels=channels, out_channels=features, input_size=size, kernel=1, act="hswish"),
        GlobalPool(in_channels=features, out_channels=features, input_size=size),
        ConvBnAct(in_channels=features, out_channels=hidden, input_size=1, kernel=1, act="hswish", norm=False),
        Classifier(in_channels=hidden, out_channels=spec.num_classes, input_size=1),
    ]
