"""Networks compiled for training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.errors import RequestError

Forward = Callable[[torch.Tensor], torch.Tensor]


def compiled(module: nn.Module, config: TrainingConfig) -> Forward:
    """Return what computes a network's outputs while it is trained: itself, or a program that torch compiles of it.

    The module stays as it is, and the program trains its weights. It is made at the first batch.
    """
    if not config.compile:
        return module
    program: Forward = torch.compile(module)

    def forward(x_NCHW: torch.Tensor) -> torch.Tensor:
        try:
            return program(x_NCHW)
        except Exception as error:
            if not _is_of_compiler(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise RequestError(
                f"compile: torch cannot compile the network here: {type(error).__name__}: {reason}; install a C++ "
                "compiler where there is none, or set compile to false"
            ) from error

    return forward


def _is_of_compiler(error: Exception) -> bool:
    """Return whether torch's compiler raised an error, rather than the network."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
