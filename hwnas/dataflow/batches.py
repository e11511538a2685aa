"""Batches of a split, normalised and augmented as whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hwnas.dataflow.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batches:
    """Batches of one split, as channels-last float tensors normalised with the training images' statistics.

    Attributes:
        mean, std: [C], in 0 to 1.
        augmentation: for `shuffled` only.
    """

    split: Split
    batch_size: int
    mean: torch.Tensor
    std: torch.Tensor
    augmentation: Augmentation

    @classmethod
    def of(cls, dataset: Dataset, split: Split, batch_size: int) -> Batches:
        """Batches of a split of a data set, with that data set's statistics and augmentation."""
        mean, std = dataset.channel_statistics()
        return cls(split=split, batch_size=batch_size, mean=mean, std=std, augmentation=dataset.augmentation)

    @property
    def num_shuffled(self) -> int:
        """How many batches `shuffled` gives: an incomplete last one is left out unless it is the only one."""
        return max(1, len(self.split) // self.batch_size)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One epoch of augmented x_NCHW and targets_N in random order."""
        order = torch.randperm(len(self.split), generator=generator)
        for indices in order.split(self.batch_size)[: self.num_shuffled]:
            images = self.augmentation(self.split.images_NCHW[indices], generator)
            yield self._normalised(images), self.split.targets_N[indices]

    def in_order(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every x_NCHW and targets_N once, as they are."""
        for images, targets in zip(
            self.split.images_NCHW.split(self.batch_size), self.split.targets_N.split(self.batch_size), strict=True
        ):
            yield self._normalised(images), targets

    def _normalised(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        scale, shift = 1 / (255 * self.std), self.mean / self.std
        x = images_NCHW.to(torch.float32, memory_format=torch.channels_last)
        return x.mul_(scale[:, None, None]).sub_(shift[:, None, None])
