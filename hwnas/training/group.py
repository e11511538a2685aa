"""Processes that train together, started by torchrun."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

from hwnas.errors import RequestError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(days=7)
"""The time that processes wait for the first, which may have a table to measure; torchrun ends them where it fails."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """This process and how many there are; one alone, without a fabric, does nothing in any of these methods."""

    fabric: Fabric | None = None

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return self.fabric.global_rank if self.fabric else 0

    @property
    def size(self) -> int:
        """The number of processes, on all hosts."""
        return self.fabric.world_size if self.fabric else 1

    def barrier(self) -> None:
        """Wait until all processes are here."""
        if self.fabric:
            self.fabric.barrier()

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace tensors, the same ones in every process, by their means over the processes.

        What DistributedDataParallel does with the gradients of a path, to the bit; but once a step, however many paths
        it takes, and of the paths' weights only, where a wrapper asks every weight of the supernet in each of them.
        """
        chosen = list(tensors)
        if self.fabric is None or not chosen:
            return
        means = self.fabric.all_reduce(torch.cat([t.flatten() for t in chosen]), reduce_op="mean")
        assert isinstance(means, torch.Tensor)
        for tensor, mean in zip(chosen, means.split([t.numel() for t in chosen]), strict=True):
            tensor.copy_(mean.view_as(tensor))


ALONE = Group()


@contextmanager
def started_group(accelerator: str) -> Iterator[Group]:
    """Return the processes that torchrun started, connected by Lightning Fabric; this one alone without torchrun.

    On "cuda" each process of a host has a GPU of its own, the current device from then on.

    A process whose group ended well leaves without tearing down native code: about one in fifty was seen to abort while
    doing so, its work done, and torchrun then ends all others.

    Raises:
        RequestError: Lightning Fabric is not installed.
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
    fabric = _launched(accelerator, size)
    try:
        yield Group(fabric=fabric)
    finally:
        distributed.destroy_process_group()
    has_ended_well = True


def _launched(accelerator: str, size: int) -> Fabric:
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise RequestError(
            "several processes need Lightning Fabric, which is not installed: pip install 'hwnas[distributed]'"
        ) from error
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces every process
    per_host = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    fabric = Fabric(
        accelerator=accelerator,
        devices=per_host,
        num_nodes=size // per_host,
        strategy=DDPStrategy(timeout=PATIENCE),
    )
    fabric.launch()
    return fabric
