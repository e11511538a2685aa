"""What takes the place of a chain's end where every point or pixel of an image is told something of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from search_spaces.block import Block
from search_spaces.blocks.detection import DetectionHead, Lateral, Points, TopDown
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.segmentation import GatedContext, PixelClassifier, Upsample
from search_spaces.space import Decision, HeadKind, SpaceSpec
from search_spaces.taps import Tap

MOST_LEVELS = 3
"""Resolutions that a detector's pyramid is made of at most."""

NECK_WIDTHS = (32, 48, 64, 96)
"""Channels of a detector's neck and head to choose from, before the width multiplier."""

HEAD_DEPTHS = (1, 2)
"""Convolutions of a detector's branches to choose from."""

CONTEXT_WIDTHS = (32, 64, 96, 128)
"""Channels of a segmentation head to choose from; the paper has 128."""

Choices = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DenseHead:
    """Neck and head for the taps of a chain.

    Attributes:
        decisions: what is to be chosen; weights are separate for the first one's choices, and shared between others.
        blocks: the blocks in every combination of choices.
        sources: per block, the slots that it takes its inputs from, those of the chain and then of its own.
        taps: where the chain is tapped, the finest level first.
    """

    decisions: tuple[Decision, ...]
    blocks: Mapping[Choices, tuple[Block, ...]]
    sources: tuple[tuple[int, ...], ...]
    taps: tuple[Tap, ...]


def detection_head(spec: SpaceSpec, taps: Sequence[Tap], first_slot: int) -> DenseHead:
    """Return a feature pyramid over the last taps, and a head for each of its levels.

    Blocks in order: from the coarsest level to the finest the pyramid, from the finest to the coarsest the heads, and
    the list of all points.

    Args:
        first_slot: that the first of the blocks stands in.
    """
    levels = tuple(taps[-MOST_LEVELS:])
    num = len(levels)
    pyramid = range(first_slot, first_slot + num)  # coarsest first
    heads = range(first_slot + num, first_slot + 2 * num)  # finest first
    top_down = [(tap.slot, slot - 1) for tap, slot in zip(reversed(levels[:-1]), pyramid[1:], strict=True)]
    sources = ((levels[-1].slot,), *top_down, *((slot,) for slot in reversed(pyramid)), tuple(heads))
    widths = _widths(spec, NECK_WIDTHS)
    return DenseHead(
        decisions=(
            Decision(name="neck.width", choices=tuple(map(str, widths))),
            Decision(name="head.depth", choices=tuple(map(str, HEAD_DEPTHS))),
        ),
        blocks={
            (i, j): _detection_blocks(spec, levels, widths[i], HEAD_DEPTHS[j])
            for i, j in product(range(len(widths)), range(len(HEAD_DEPTHS)))
        },
        sources=sources,
        taps=levels,
    )


def _detection_blocks(spec: SpaceSpec, levels: Sequence[Tap], width: int, depth: int) -> tuple[Block, ...]:
    coarsest = levels[-1].shape
    pyramid: list[Block] = [Lateral(feature=coarsest, width=width)]
    coarse = coarsest[1:]
    for tap in reversed(levels[:-1]):
        pyramid.append(TopDown(feature=tap.shape, coarse=coarse, width=width))
        coarse = tap.shape[1:]
    heads = [DetectionHead(level=(width, *tap.shape[1:]), depth=depth, num_classes=spec.num_classes) for tap in levels]
    points = Points(num_classes=spec.num_classes, points=tuple(tap.shape[1] * tap.shape[2] for tap in levels))
    return (*pyramid, *heads, points)


def segmentation_head(spec: SpaceSpec, taps: Sequence[Tap], first_slot: int) -> DenseHead:
    """Return LR-ASPP: context from the coarsest tap, details from the one of two resolutions before, or of one.

    Args:
        first_slot: that the first of the blocks stands in.
    """
    coarse, fine = taps[-1], taps[max(0, len(taps) - 3)]
    widths = _widths(spec, CONTEXT_WIDTHS)
    return DenseHead(
        decisions=(Decision(name="head.width", choices=tuple(map(str, widths))),),
        blocks={(i,): _segmentation_blocks(spec, fine, coarse, width) for i, width in enumerate(widths)},
        sources=((coarse.slot,), (fine.slot, first_slot), (first_slot + 1,)),
        taps=(fine, coarse),
    )


def _segmentation_blocks(spec: SpaceSpec, fine: Tap, coarse: Tap, width: int) -> tuple[Block, ...]:
    classes = spec.num_classes
    return (
        GatedContext(feature=coarse.shape, width=width),
        PixelClassifier(feature=fine.shape, coarse=coarse.shape[1:], width=width, num_classes=classes),
        Upsample(feature=(classes, *fine.shape[1:]), size=spec.input_shape[1:]),
    )


def _widths(spec: SpaceSpec, before: Sequence[int]) -> tuple[int, ...]:
    """Return widths with the width multiplier, each once."""
    return tuple(dict.fromkeys(make_divisible(width * spec.width) for width in before))


DENSE_HEADS: Mapping[HeadKind, Callable[[SpaceSpec, Sequence[Tap], int], DenseHead]] = {
    "detection": detection_head,
    "segmentation": segmentation_head,
}
"""Heads other than a classifier by the name that specs have."""
