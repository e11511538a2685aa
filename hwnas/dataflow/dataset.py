"""Images and labels in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from hwnas.dataflow.augmentation import Augmentation
from hwnas.errors import RequestError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Some labelled images.

    Attributes:
        images_NCHW: uint8.
        targets_N: int64 class indices.
    """

    images_NCHW: torch.Tensor
    targets_N: torch.Tensor

    def __post_init__(self) -> None:
        if self.images_NCHW.dtype != torch.uint8 or self.images_NCHW.ndim != 4:
            raise ValueError(f"images must be uint8 NCHW, got {self.images_NCHW.dtype}, {self.images_NCHW.ndim} axes")
        if len(self.images_NCHW) != len(self.targets_N) or not len(self.targets_N):
            raise ValueError(f"expected a label per image, got {len(self.images_NCHW)} and {len(self.targets_N)}")

    def __len__(self) -> int:
        return len(self.targets_N)

    def subset(self, indices: np.ndarray) -> Split:
        """The images at those positions."""
        chosen = torch.from_numpy(indices)
        return Split(images_NCHW=self.images_NCHW[chosen], targets_N=self.targets_N[chosen])

    def divided(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """Two parts at random, at least one image in each."""
        order = rng.permutation(len(self))
        cut = min(max(1, round(first_portion * len(self))), len(self) - 1)
        return self.subset(order[:cut]), self.subset(order[cut:])

    def divided_by_class(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """Two parts without a class in common, at least two classes in each."""
        classes = rng.permutation(np.unique(self.targets_N.numpy()))
        if len(classes) < 4:
            raise ValueError(f"dividing classes needs at least four, got {len(classes)}")
        cut = min(max(2, round(first_portion * len(classes))), len(classes) - 2)
        is_first = np.isin(self.targets_N.numpy(), classes[:cut])
        return self.subset(np.flatnonzero(is_first)), self.subset(np.flatnonzero(~is_first))

    def numbered_anew(self) -> Split:
        """The same images, their classes numbered from 0 without gaps."""
        return replace(self, targets_N=torch.unique(self.targets_N, return_inverse=True)[1])

    def limited(self, num: int | None, rng: np.random.Generator) -> Split:
        """At most `num` images, drawn at random; all of them for None."""
        return self if num is None or num >= len(self) else self.subset(rng.permutation(len(self))[:num])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """A classification data set.

    Attributes:
        classes: names, in the order of the class indices.
        train, test: the official division; the test part is for one final test.
        augmentation: what may be done to training images without changing their class.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    augmentation: Augmentation

    @property
    def in_channels(self) -> int:
        """Colour planes."""
        return int(self.train.images_NCHW.shape[1])

    @property
    def input_size(self) -> int:
        """Pixels a side."""
        return int(self.train.images_NCHW.shape[2])

    def holding_out_classes(self, portion: float, rng: np.random.Generator) -> Dataset:
        """The same images, divided so that the classes of the test part are none of the training part's.

        Data whose parts have no class in common stay as they are.

        Raises:
            RequestError: there are fewer than six classes: two to test, two to validate and two to train on.
        """
        if not set(self.train.targets_N.tolist()) & set(self.test.targets_N.tolist()):
            return self
        num_classes = len(set(self.train.targets_N.tolist()))
        if num_classes < 6:
            raise RequestError(f"holding out classes needs at least six of them, {self.name} has {num_classes}")
        whole = Split(
            images_NCHW=torch.cat([self.train.images_NCHW, self.test.images_NCHW]),
            targets_N=torch.cat([self.train.targets_N, self.test.targets_N]),
        )
        train, test = whole.divided_by_class(1.0 - portion, rng)
        return replace(self, train=train, test=test)

    def channel_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of each channel over the training images, [C] each, in 0 to 1."""
        # Histograms give the exact moments without a float copy of all images.
        planes = self.train.images_NCHW.transpose(0, 1).reshape(self.in_channels, -1)
        levels = torch.arange(256, dtype=torch.float64) / 255
        counts = torch.stack([torch.bincount(plane, minlength=256) for plane in planes]).double()
        weights = counts / counts.sum(dim=1, keepdim=True)
        mean = weights @ levels
        std = (weights @ levels**2 - mean**2).clamp(min=1e-6).sqrt()
        return mean.float(), std.float()

    def resized(self, input_size: int | None) -> Dataset:
        """The same images at another size, by antialiased bilinear interpolation; unchanged for None."""
        if input_size is None or input_size == self.input_size:
            return self
        return replace(self, train=_resize(self.train, input_size), test=_resize(self.test, input_size))


def _resize(split: Split, input_size: int) -> Split:
    resized = [
        functional.interpolate(part.float(), size=(input_size, input_size), mode="bilinear", antialias=True)
        .round_()
        .clamp_(0, 255)
        .to(torch.uint8)
        for part in split.images_NCHW.split(1024)
    ]
    return Split(images_NCHW=torch.cat(resized), targets_N=split.targets_N)
