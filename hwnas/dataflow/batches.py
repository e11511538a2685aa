"""Batches of a split, normalised and augmented as whole batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch

from hwnas.augmentation import Augmentation
from hwnas.dataflow.augmentation import augmented
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.prefetch import made_ahead
from hwnas.dataflow.targets import TargetKind


class TrainingBatches(Protocol):
    """Batches to train on: those of a split, or of a program's own loader."""

    @property
    def num_shuffled(self) -> int:
        """The number of batches of an epoch."""
        ...

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of x_NCHW and targets_N."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batches:
    """Batches of one split, as channels-last float tensors normalised with the training images' statistics.

    Attributes:
        mean, std: [C], in 0 to 1, or as floats are.
        augmentation: for `shuffled` only; targets of this kind are changed along with images.
        images_per_class: in every shuffled batch, so many images of each of as many classes as fit; None for no order.
    """

    split: Split
    batch_size: int
    mean: torch.Tensor
    std: torch.Tensor
    augmentation: Augmentation
    images_per_class: int | None = None
    target_kind: TargetKind = "classes"

    def __post_init__(self) -> None:
        if self.images_per_class is not None:
            self.split.require_classes("images_per_class")

    @classmethod
    def of(cls, dataset: Dataset, split: Split, batch_size: int, *, images_per_class: int | None = None) -> Batches:
        """Batches of a split of a data set, with that data set's statistics and augmentation."""
        mean, std = dataset.channel_statistics()
        return cls(
            split=split,
            batch_size=batch_size,
            mean=mean,
            std=std,
            augmentation=dataset.augmentation,
            images_per_class=images_per_class,
            target_kind=dataset.target_kind,
        )

    @property
    def num_shuffled(self) -> int:
        """The number of batches that `shuffled` gives: an incomplete last one is left out unless it is the only one."""
        return max(1, len(self.split) // self.batch_size)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of augmented x_NCHW and targets_N in random order; made ahead where images are on disk."""
        batches = self._shuffled(generator)
        return made_ahead(batches) if self.split.is_on_disk else batches

    def _shuffled(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for indices in self._random_indices(generator):
            images, targets = self.split.images(indices), self.split.targets_N[indices]
            images, targets = augmented(images, targets, self.augmentation, generator, kind=self.target_kind)
            yield self._normalised(images), targets

    def _random_indices(self, generator: torch.Generator) -> Iterator[torch.Tensor]:
        if self.images_per_class is None:
            order = torch.randperm(len(self.split), generator=generator)
            yield from order.split(self.batch_size)[: self.num_shuffled]
            return
        members = [torch.nonzero(self.split.targets_N == t)[:, 0] for t in torch.unique(self.split.targets_N)]
        num_classes = min(len(members), max(2, self.batch_size // self.images_per_class))
        for _ in range(self.num_shuffled):
            chosen = torch.randperm(len(members), generator=generator)[:num_classes]
            # Classes of fewer images give all they have.
            yield torch.cat(
                [
                    members[i][torch.randperm(len(members[i]), generator=generator)[: self.images_per_class]]
                    for i in chosen.tolist()
                ]
            )

    def in_order(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every x_NCHW and targets_N once, as they are."""
        batches = ((self._normalised(images), targets) for images, targets in self.split.chunks(self.batch_size))
        yield from made_ahead(batches) if self.split.is_on_disk else batches

    def _normalised(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        full_scale = 255 if self.split.is_of_pixels else 1
        scale, shift = 1 / (full_scale * self.std), self.mean / self.std
        x = images_NCHW.to(torch.float32, memory_format=torch.channels_last, copy=True)  # floats stay as they are
        return x.mul_(scale[:, None, None]).sub_(shift[:, None, None])
