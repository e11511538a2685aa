"""Processes that train together, started by torchrun."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """This process and how many there are; one alone does nothing in any of these methods."""

    rank: int = 0
    size: int = 1

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors, the same ones in every process, by their means over the processes."""
        chosen = list(tensors)
        if self.size == 1 or not chosen:
            return
        flat = torch.cat([t.flatten() for t in chosen])
        distributed.all_reduce(flat)
        flat /= self.size
        for tensor, mean in zip(chosen, flat.split([t.numel() for t in chosen]), strict=True):
            tensor.copy_(mean.view_as(tensor))


ALONE = Group()


@contextmanager
def started_group() -> Iterator[Group]:
    """The processes that torchrun started, connected by gloo; this one alone without torchrun.

    A path has gradients for its own weights only, and every process takes the same path, drawn from the same seed:
    averaging what a step touched is all there is to do, where a wrapper would ask every weight of the supernet.

    A process whose group ended well leaves without tearing down native code: about one in fifty was seen to abort while
    doing so, its work done, and torchrun then ends all others.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ALONE
        return
    has_ended_well = False

    def leave() -> None:
        if has_ended_well:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    atexit.register(leave)
    distributed.init_process_group("gloo")
    try:
        yield Group(rank=distributed.get_rank(), size=size)
    finally:
        distributed.destroy_process_group()
    has_ended_well = True
