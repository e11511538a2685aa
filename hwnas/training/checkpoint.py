"""Checkpoints: one safetensors file, written whole or not at all, no pickle."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from hwnas.errors import RunError
from safe_files import open_regular, parse_json, replacing


def save_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], record: Mapping[str, object]) -> None:
    """Write tensors by name and a JSON record in the same file.

    Raises:
        WriteError: there is no room for them; the checkpoint before stays.
    """
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    needed_bytes = sum(tensor.nbytes for tensor in contiguous.values())
    with replacing(path, needed_bytes=needed_bytes) as draft:
        safetensors.torch.save_file(contiguous, draft, metadata={"record": json.dumps(record)})


def load_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Return the tensors and the record of a checkpoint.

    Raises:
        RunError: the file is damaged.
    """
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, _record(file)  # noqa: SIM118 - not a mapping


def load_record(path: Path) -> dict[str, object]:
    """Return the record of a checkpoint alone.

    Raises:
        RunError: the file is damaged.
    """
    with _opened(path) as file:
        return _record(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield the open file; raise RunError for whatever is wrong with it."""
    try:
        open_regular(path).close()  # safetensors would wait for a pipe
        # A header of more than 100 MB, and sizes that the file has not, safetensors refuses itself.
        with safetensors.safe_open(path, framework="pt") as file:
            yield file
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}; remove it to train again") from error


def _record(file: Any) -> dict[str, object]:
    record = parse_json((file.metadata() or {})["record"])
    if not isinstance(record, dict):
        raise ValueError(f"expected a record, found {str(record)[:40]}")
    return record
