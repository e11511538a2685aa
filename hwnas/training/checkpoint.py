"""Checkpoints: one safetensors file, written whole or not at all, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from hwnas.errors import RunError
from safe_files import replacing


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors by name and a JSON record in the same file.

    Raises:
        WriteError: there is no room for them; the checkpoint before stays.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    needed_bytes = sum(tensor.nbytes for tensor in contiguous.values())
    with replacing(path, needed_bytes=needed_bytes) as draft:
        safetensors.torch.save_file(contiguous, draft, metadata={"record": json.dumps(record)})


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the record.

    Raises:
        RunError: the file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
            return {name: file.get_tensor(name) for name in file.keys()}, record  # noqa: SIM118 - not a mapping
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}; remove it to train again") from error
