"""Batches that a program's own loader gives, in the place of those made from images in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from hwnas.errors import RequestError


class Loader(Protocol):
    """Gives an epoch of batches each time it is gone through, as torch's DataLoader does."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoaderBatches:
    """The batches of a loader, as training takes them."""

    loader: Loader

    @property
    def num_shuffled(self) -> int:
        """The number of batches of an epoch."""
        return len(self.loader)

    def shuffled(self, generator: torch.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of x_NCHW and targets_N, in the loader's order.

        A loader that draws from a generator of its own is given this one's numbers; others draw from torch's, which the
        trainer seeds.

        Raises:
            RequestError: a batch is something else than images and targets.
        """
        own = getattr(self.loader, "generator", None)
        if isinstance(own, torch.Generator):
            own.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        for batch in self.loader:
            x_NCHW, targets = images_and_targets(batch)
            yield x_NCHW.to(torch.float32, memory_format=torch.channels_last), targets


def images_and_targets(batch: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images [N, C, H, W] and targets of a batch of a loader.

    Raises:
        RequestError: it is something else.
    """
    if isinstance(batch, list | tuple) and len(batch) == 2:
        images, targets = batch
        if isinstance(images, torch.Tensor) and isinstance(targets, torch.Tensor) and images.ndim == 4:
            return images, targets
    found = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, list | tuple) else type(batch).__name__
    raise RequestError(
        f"a loader gave a {found}: expected batches of (images, targets), images being a tensor [N, C, H, W]"
    )
