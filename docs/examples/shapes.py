"""A task of one's own: which pixels belong to a square, which to a disc. Data, search space and agent in one file.

hwnas search --data docs/examples/shapes.py:shapes --space docs/examples/shapes.py:dense \
    --task docs/examples/shapes.py:WorstShape --max-latency 60%
"""

from typing import ClassVar

import torch
from torch import nn

from hwnas.agents import SegmentationAgent
from hwnas.dataflow import Augmentation, Dataset, Split
from search_spaces import MapBlock, SpaceSpec
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.skip import Skip
from search_spaces.chain import ChainSpace


def shapes(_root, input_size):
    """Noisy images with a square and a disc; a target is a mask, which has a class per pixel."""
    size = input_size if isinstance(input_size, int) else 24

    def split(num: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.randint(size // 5, size - size // 5, (num, 2, 2, 1, 1), generator=generator)
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
        away = torch.stack([rows, columns]) - centres  # [num, shape, axis, size, size]
        in_square = away[:, 0].abs().amax(dim=1) <= size // 6
        masks = torch.where((away[:, 1] ** 2).sum(dim=1) <= (size // 5) ** 2, 2, in_square.to(torch.uint8))
        noise = torch.randint(0, 90, (num, 1, size, size), generator=generator)
        return Split(images_NCHW=(noise + 150 * (masks > 0)[:, None]).to(torch.uint8), targets_N=masks)

    parts = {"train": split(500, seed=0), "test": split(200, seed=1), "augmentation": Augmentation()}
    return Dataset(name="shapes", classes=("background", "square", "disc"), target_kind="masks", **parts)


class PixelClassifier(MapBlock):
    family: ClassVar[str] = "pixel-classifier"

    def _key_fields(self):
        return {}

    def build(self):
        return nn.Conv2d(self.in_channels, self.out_channels, 1)


def dense(spec: SpaceSpec) -> ChainSpace:
    """Six layers that keep the resolution, each a bottleneck of kernel 3, 5 or 7, or left out."""
    shape = {"in_channels": 16, "out_channels": 16, "input_size": spec.side}
    kernels = {f"k{k}_e2": MBConv(**shape, kernel=k, expansion=2) for k in (3, 5, 7)}
    stem = ConvBnAct(in_channels=spec.in_channels, out_channels=16, input_size=spec.side, kernel=3)
    head = PixelClassifier(in_channels=16, out_channels=spec.num_classes, input_size=spec.side)
    layers = [[*kernels.values(), Skip(**shape)] for _ in range(6)]
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=[*kernels, "skip"], head=[head])


class WorstShape(SegmentationAgent):
    """The built-in segmentation, scored by the class of which the smallest share of pixels is found."""

    head: ClassVar[str] = "classifier"  # networks keep the end that the space gives them

    def metrics(self, forward, batches):
        with torch.inference_mode():
            outputs = [(forward(x), masks) for x, masks in batches]
        found, right = (torch.cat(parts) for parts in zip(*((o.argmax(1), m) for o, m in outputs), strict=True))
        recalls = [(found[right == each] == each).float().mean() for each in right.unique()]
        return {"worst_recall": float(min(recalls)), **super().metrics(lambda logits: logits, outputs)}
