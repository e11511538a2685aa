"""SGNAS's search space (Huang and Chu 2021, Searching by Generating: Flexible and Efficient One-Shot NAS)."""

from __future__ import annotations

from itertools import combinations_with_replacement

from search_spaces.block import Block
from search_spaces.blocks.mixconv import MIXED_KERNELS, MixConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.elastic import ElasticSupernet
from search_spaces.proxylessnas import ACT, layer_shapes, proxylessnas_head, proxylessnas_stem
from search_spaces.space import SpaceSpec

MOST_GROUPS = 6
FEWEST_GROUPS = 2

_CHOICES = [
    kernels
    for num in range(FEWEST_GROUPS, MOST_GROUPS + 1)
    for kernels in combinations_with_replacement(MIXED_KERNELS, num)
]


def choice_name(kernels: tuple[int, ...]) -> str:
    """Return the name that tells how often each kernel is there, such as `k3x2_k7x1`."""
    return "_".join(f"k{k}x{kernels.count(k)}" for k in MIXED_KERNELS if k in kernels)


class Sgnas(ChainSpace):
    """21 layers, each 2 to 6 groups of kernels 3, 5 and 7 in any mixture, or skip where shapes allow.

    All choices of a layer share one unified block's weights. The stem, the widths and the head are ProxylessNAS's.
    """

    is_elastic = True

    def __init__(self, spec: SpaceSpec) -> None:
        stem, channels, size = proxylessnas_stem(spec)
        layers: list[list[Block]] = []
        for shape in layer_shapes(spec, channels, size):
            skip = Skip(**shape)
            mixed: list[Block] = [MixConv(**shape, kernels=kernels, act=ACT) for kernels in _CHOICES]
            layers.append([*mixed, skip] if skip.is_identity else mixed)
            channels, size = skip.out_channels, skip.output_size
        super().__init__(
            spec,
            stem=stem,
            layers=layers,
            choice_names=[*map(choice_name, _CHOICES), "skip"],
            head=proxylessnas_head(spec, channels, size),
        )

    def supernet(self) -> ElasticSupernet:  # type: ignore[override]  # another kind of supernet than a chain's usual
        """Return one unified block per layer."""
        stem, layers, head = self.slots
        largest = [layer[len(_CHOICES) - 1] for layer in layers]
        slots = [*(slot[0] for slot in stem), *largest, *(slot[0] for slot in head)]
        elastic = [False] * len(stem) + [True] * len(layers) + [False] * len(head)
        return ElasticSupernet(self, slots, elastic)
