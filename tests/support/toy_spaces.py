"""Spaces of three layers, of images of 8x8 pixels and two classes: every strategy trains one in a moment."""

from __future__ import annotations

from typing import Any

from samples import small_spec

from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Head
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace
from search_spaces.elastic import ElasticSupernet

NUM_LAYERS = 3
CHANNELS = 8


def chain() -> ChainSpace:
    """Return layers of an identity and two separate blocks each."""
    return ChainSpace(
        small_spec("nasbench-macro", input_size=8, num_classes=2),
        stem=_stem(),
        layers=_layers((3, 3), (5, 6)),
        choice_names=["identity", "k3_e3", "k5_e6"],
        head=_head(),
    )


def slices() -> ChainSpace:
    """Return layers that may be left out, of blocks that are slices of their largest."""
    sizes = ((3, 3), (3, 6), (5, 3), (5, 6))
    names = ["left out", *(f"k{kernel}_e{expansion}" for kernel, expansion in sizes)]
    spec = small_spec("ofa-mobilenetv3", input_size=8, num_classes=2)
    return _Slices(spec, stem=_stem(), layers=_layers(*sizes), choice_names=names, head=_head())


class _Slices(ChainSpace):
    is_elastic = True

    def supernet(self) -> ElasticSupernet:  # type: ignore[override]
        """Return the largest network, of which every architecture is a slice."""
        largest = [slot[-1] for part in self.slots for slot in part]
        return ElasticSupernet(self, largest, [False, *[True] * NUM_LAYERS, False])


def _stem() -> list[MapBlock]:
    return [ConvBnAct(in_channels=1, out_channels=CHANNELS, input_size=8, kernel=3, stride=2)]


def _layers(*sizes: tuple[int, int]) -> list[list[MapBlock]]:
    shape: dict[str, Any] = {"in_channels": CHANNELS, "out_channels": CHANNELS, "input_size": 4}
    blocks = [MBConv(**shape, kernel=kernel, expansion=expansion) for kernel, expansion in sizes]
    return [[Skip(**shape), *blocks] for _ in range(NUM_LAYERS)]


def _head() -> list[MapBlock]:
    return [Head(in_channels=CHANNELS, out_channels=2, input_size=4, hidden=16)]
