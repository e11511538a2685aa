"""The IDX files of MNIST, Fashion-MNIST and their relatives (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.dataflow.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.errors import RequestError

_UNSIGNED_BYTE = 0x08


def load_idx(root: Path, _input_size: int | None) -> Dataset:
    """The data set of the four files train/t10k-images/labels in `root`, gzipped or not."""
    train, test = _load_split(root, "train"), _load_split(root, "t10k")
    num_classes = int(max(train.targets_N.max(), test.targets_N.max())) + 1
    return Dataset(
        name="idx",
        classes=tuple(str(label) for label in range(num_classes)),
        train=train,
        test=test,
        augmentation=Augmentation(shift=2),
    )


def _load_split(root: Path, prefix: str) -> Split:
    images = _read(root, f"{prefix}-images-idx3-ubyte", num_dimensions=3)
    labels = _read(root, f"{prefix}-labels-idx1-ubyte", num_dimensions=1)
    if len(images) != len(labels):
        raise RequestError(f"{root}: {prefix} has {len(images)} images but {len(labels)} labels")
    if images.shape[1] != images.shape[2]:
        raise RequestError(f"{root}: images must be square, got {images.shape[1]}x{images.shape[2]}")
    return Split(
        images_NCHW=torch.from_numpy(images[:, None].copy()), targets_N=torch.from_numpy(labels.astype(np.int64))
    )


def _read(root: Path, name: str, *, num_dimensions: int) -> NDArray[np.uint8]:
    path = next((p for p in (root / name, root / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise RequestError(f"no {name} or {name}.gz in {root}; name the folder of the four IDX files with --data-root")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise RequestError(f"{path} is damaged: {error}; download it again") from error
    header = 4 + 4 * num_dimensions
    if len(content) < header or content[:4] != bytes([0, 0, _UNSIGNED_BYTE, num_dimensions]):
        raise RequestError(f"{path} is not an IDX file of {num_dimensions}-dimensional unsigned bytes")
    shape = struct.unpack(f">{num_dimensions}I", content[4:header])
    if len(content) != header + int(np.prod(shape, dtype=object)) or not shape[0]:
        raise RequestError(f"{path} must hold {shape} bytes of data, got {len(content) - header}: download it again")
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)
