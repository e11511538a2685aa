"""Tensors that processes on one machine read from the same memory."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ReadOnly:
    """A tensor that is pickled as one array of bytes, and becomes a tensor again where it is read.

    torch pickles a tensor's bytes amid everything else, copied several times. An array of them stays apart, so that
    Ray's object store hands all actors of a node the same memory (pickle's protocol 5). What is made of that must not
    be written to. Strides stay as they are: sums depend on the memory format.
    """

    tensor: torch.Tensor

    def __reduce__(self) -> tuple[Any, ...]:
        tensor = self.tensor.detach()
        if tensor.device.type != "cpu" or not _is_dense(tensor):
            return _itself, (self.tensor,)
        flat = tensor.as_strided((tensor.numel(),), (1,))
        return _from_bytes, (flat.view(torch.uint8).numpy(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements lie side by side in memory, in any order of dimensions."""
    num_spanned = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.layout == torch.strided and tensor.numel() == num_spanned


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _from_bytes(
    content: NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...], strides: tuple[int, ...]
) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(content).view(dtype).as_strided(shape, strides)
