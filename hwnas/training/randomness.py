"""Random generators that depend on nothing but the seed and where in the run they are used.

Nothing has to be saved for a run to continue: the generators of any epoch can be made again.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def numpy_rng(seed: int, *place: str | int) -> np.random.Generator:
    """Return a generator for that place of the run, e.g. ("supernet", 3) for an epoch."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in place]
    return np.random.default_rng([seed, *words])


def torch_rng(seed: int, *place: str | int) -> torch.Generator:
    """Return the same for torch."""
    return torch.Generator().manual_seed(int(numpy_rng(seed, *place).integers(2**62)))


def seed_torch(seed: int, *place: str | int) -> None:
    """Seed torch's global generator, which weight initialisation draws from; call inside `torch.random.fork_rng`."""
    torch.manual_seed(int(numpy_rng(seed, *place).integers(2**62)))
