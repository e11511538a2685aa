"""The IDX files of MNIST, Fashion-MNIST and their relatives (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.files import MOST_BYTES, require_regular
from hwnas.dataflow.layouts import known_layout
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize

_UNSIGNED_BYTE = 0x08


def load_idx(root: Path, _input_size: ImageSize | None) -> Dataset:
    """Read the data set of the four files train/t10k-images/labels in `root`, gzipped or not.

    The classes are the labels that are trained on, which need not begin with 0 (EMNIST's letters do not).
    """
    train, test = _load_split(root, "train"), _load_split(root, "t10k")
    labels = torch.unique(train.targets_N)
    if unseen := sorted(set(test.targets_N.tolist()) - set(labels.tolist())):
        raise RequestError(f"{root} tests the labels {unseen}, of which there are no training images: remove them")
    return Dataset(
        name="idx",
        classes=tuple(str(label) for label in labels.tolist()),
        train=replace(train, targets_N=torch.searchsorted(labels, train.targets_N)),
        test=replace(test, targets_N=torch.searchsorted(labels, test.targets_N)),
        augmentation=Augmentation(shift=2),
    )


def _load_split(root: Path, prefix: str) -> Split:
    images = _read(root, f"{prefix}-images-idx3-ubyte", num_dimensions=3)
    labels = _read(root, f"{prefix}-labels-idx1-ubyte", num_dimensions=1)
    if len(images) != len(labels):
        raise RequestError(f"{root}: {prefix} has {len(images)} images but {len(labels)} labels")
    return Split(
        images_NCHW=torch.from_numpy(images[:, None].copy()), targets_N=torch.from_numpy(labels.astype(np.int64))
    )


def _read(root: Path, name: str, *, num_dimensions: int) -> NDArray[np.uint8]:
    path = _find(root, name)
    require_regular(path)
    header = 4 + 4 * num_dimensions
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(header)
            shape = _shape(path, start, num_dimensions)
            content = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path} is damaged: {error}; download it again") from error
    if len(content) != math.prod(shape):
        found = f"more than {len(content) - 1}" if len(content) > math.prod(shape) else len(content)
        raise RequestError(f"{path} must hold {shape} bytes of data, got {found}: download it again")
    return np.frombuffer(content, dtype=np.uint8).reshape(shape)


def _find(root: Path, name: str) -> Path:
    """Return the file of that name, or with the dot that some copies of MNIST have, gzipped or not."""
    names = (name, name.replace("-idx", ".idx"))
    path = next((root / f"{n}{end}" for n in names for end in ("", ".gz") if (root / f"{n}{end}").exists()), None)
    if path is None:
        raise RequestError(
            known_layout(root, reader="idx")
            or f"no {name} or {name}.gz in {root}; name the folder of the four IDX files with --data-root"
        )
    return path


def _shape(path: Path, start: bytes, num_dimensions: int) -> tuple[int, ...]:
    """Return the shape that the header claims, which memory must be able to hold."""
    if len(start) < 4 + 4 * num_dimensions or start[:4] != bytes([0, 0, _UNSIGNED_BYTE, num_dimensions]):
        raise RequestError(f"{path} is not an IDX file of {num_dimensions}-dimensional unsigned bytes")
    shape = struct.unpack(f">{num_dimensions}I", start[4:])
    if not 0 < math.prod(shape) <= MOST_BYTES:
        raise RequestError(
            f"{path} claims to hold {'x'.join(map(str, shape))} bytes, expected 1 to {MOST_BYTES}: download it again"
        )
    return shape
