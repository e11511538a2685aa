"""Arrays of an npz file: images or windows of sensors, of bytes or floats, without anything that would be code."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.folder import with_test_set_aside
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize
from safe_files import FileError, open_regular

MOST_BYTES = 2**33
"""The most bytes that the arrays of a file may hold, unpacked; they are kept in memory."""

SPLITS = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
"""The parts of the data by the ends of names, as in x_train and y_train."""

USUAL_CHANNELS = (1, 3, 4)
"""The channels of most images: grey, of three colours, and with a fourth for transparency."""

_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError, tokenize.TokenError)
"""Numpy reads a header as Python's literals, and raises whatever their parser does."""

Arrays = Mapping[str, NDArray[Any]]


def load_arrays(root: Path, _input_size: ImageSize | None) -> Dataset:
    """Read an npz file with x_train, y_train and x_test, y_test, and x_val, y_val where there are; channels first.

    `root` is the file, or a folder that holds one. Images are [N, C, H, W] or, of bytes, [N, H, W] in grey; windows of
    sensors are floats [N, C, T] and become images of one row, [N, C, 1, T]. `classes` may name the classes.
    """
    return _load(root, channels_last=False)


def load_arrays_channels_last(root: Path, _input_size: ImageSize | None) -> Dataset:
    """Read an npz file as `arrays` does, of images [N, H, W, C] and windows [N, T, C]."""
    return _load(root, channels_last=True)


def _load(root: Path, *, channels_last: bool) -> Dataset:
    path = _file(root)
    arrays = _read(path)
    parts = _parts(path, arrays)
    labels = {name: _labels(path, name, y) for name, (_, y) in parts.items()}
    classes, numbered = _numbered(path, arrays.get("classes"), labels)
    splits = {
        name: Split(images_NCHW=_images(path, name, x, channels_last=channels_last), targets_N=numbered[name])
        for name, (x, _) in parts.items()
    }
    remarks = [] if channels_last else _doubts(path, parts["train"][0])
    validation = splits.get("validation")
    if "test" not in splits and validation is not None:
        splits["test"], validation = validation, None
        remarks.append(f"{path} has no x_test: x_val is the test")
    elif "test" not in splits:
        splits["train"], splits["test"] = with_test_set_aside(splits["train"], classes, path)
        remarks.append(f"{path} has training arrays alone: a fifth is set aside for the test, always the same")
    return Dataset(
        name="arrays",
        classes=classes,
        train=splits["train"],
        test=splits["test"],
        validation=validation,
        augmentation=Augmentation(),
        remarks=tuple(remarks),
    )


def _file(root: Path) -> Path:
    found = sorted(root.glob("*.npz")) if root.is_dir() else [root]
    if len(found) != 1 or not found[0].exists():
        names = ", ".join(path.name for path in found[:5]) if root.is_dir() else ""
        raise RequestError(
            f"no arrays in {root}: expected one npz file with x_train and y_train, found {names or 'none'}; name the "
            "file with --data-root"
        )
    return found[0]


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name; none is read before its size is known, and none that holds objects."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            size_bytes = sum(info.file_size for info in members)
            if not members or size_bytes > MOST_BYTES:
                raise RequestError(f"{path}: expected arrays of 1 to {MOST_BYTES} bytes in all, found {size_bytes}")
            return {info.filename.removesuffix(".npy"): _array(path, archive, info) for info in members}
    except FileError as error:
        raise RequestError(str(error)) from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError: encrypted; NotImplementedError: a compression that this Python has not
        raise RequestError(
            f"{path} is no npz file that can be read: {str(error)[:200]}; write it with numpy.savez"
        ) from error


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as member:
        try:
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(member)
        except _HEADER_ERRORS as error:
            raise RequestError(f"{name} in {path} is damaged: {str(error)[:200]}; write the file again") from error
        if dtype.hasobject:
            raise RequestError(
                f"{name} in {path} holds objects, which would be code; write numbers, and classes as text"
            )
        content = member.read()
    if len(content) != math.prod(shape) * dtype.itemsize or not dtype.itemsize:
        raise RequestError(
            f"{name} in {path} is damaged: it is no {dtype} array of shape {shape}; write the file again"
        )
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")


def _parts(path: Path, arrays: Arrays) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return inputs and labels by split."""
    parts: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
    for end, split in SPLITS.items():
        x, y = arrays.get(f"x_{end}"), arrays.get(f"y_{end}")
        if x is None and y is None:
            continue
        if x is None or y is None or split in parts:
            raise RequestError(f"{path}: expected x_{end} and y_{end} together and once, found {', '.join(arrays)}")
        if not x.ndim or not y.ndim or x.shape[:1] != y.shape[:1] or not x.size:
            found = " and ".join(str(len(array)) if array.ndim else "one number" for array in (y, x))
            raise RequestError(f"{path}: expected a label for each entry of x_{end}, found {found}")
        parts[split] = x, y
    if "train" not in parts:
        raise RequestError(f"{path}: expected x_train and y_train, found {', '.join(arrays)[:300]}; rename the arrays")
    return parts


def _labels(path: Path, name: str, labels: NDArray[Any]) -> torch.Tensor:
    is_too_large = labels.dtype == np.uint64 and labels.max() > np.iinfo(np.int64).max
    if labels.dtype.kind not in "iu" or labels.size != len(labels) or is_too_large:
        raise RequestError(
            f"{path}: expected a class for each entry ({name}), integers [N], found {labels.dtype} "
            f"{[*labels.shape]}; of one-hot rows give argmax(axis=1)"
        )
    return torch.from_numpy(labels.reshape(-1).astype(np.int64))


def _numbered(
    path: Path, names: NDArray[Any] | None, labels: Mapping[str, torch.Tensor]
) -> tuple[tuple[str, ...], dict[str, torch.Tensor]]:
    """Return the classes and each split's labels as positions among them: of names, or of the labels trained on."""
    if names is not None:
        if names.dtype.kind != "U" or names.ndim != 1 or not len(names) or len(set(names.tolist())) != len(names):
            raise RequestError(
                f"{path}: expected classes as texts [K] that differ, found {names.dtype} {[*names.shape]}"
            )
        wrong = next(((n, y) for n, y in labels.items() if int(y.min()) < 0 or int(y.max()) >= len(names)), None)
        if wrong is not None:
            found = f"{int(wrong[1].min())} to {int(wrong[1].max())}"
            raise RequestError(
                f"{path} ({wrong[0]}): expected labels 0 to {len(names) - 1} of its classes, found {found}"
            )
        return tuple(map(str, names.tolist())), dict(labels)
    known = torch.unique(labels["train"])
    for name, own in labels.items():
        if unseen := sorted(set(own.tolist()) - set(known.tolist())):
            raise RequestError(f"{path} ({name}): no training entry has the labels {unseen[:9]}: leave these out")
    return tuple(map(str, known.tolist())), {name: torch.searchsorted(known, own) for name, own in labels.items()}


def _doubts(path: Path, x: NDArray[Any]) -> list[str]:
    """Return a remark where images that are read with channels first look as if they came last, else none."""
    if x.ndim != 4 or x.shape[3] not in USUAL_CHANNELS or x.shape[1] in USUAL_CHANNELS:
        return []
    return [
        f"{path}: images {[*x.shape]} are read with channels first, {x.shape[1]} channels of {x.shape[2]}x{x.shape[3]} "
        "pixels; where the channels come last, give --data arrays-channels-last"
    ]


def _images(path: Path, name: str, array: NDArray[Any], *, channels_last: bool) -> torch.Tensor:
    """Return [N, C, H, W] bytes, or floats as they are."""
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise RequestError(
            f"{path} ({name}): expected inputs of uint8 or float32, found {array.dtype}; convert them with astype"
        )
    is_grey = array.ndim == 3 and array.dtype == np.uint8
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise RequestError(
            f"{path} ({name}): expected images of four axes, grey ones of bytes or windows of floats of three, found "
            f"the shape {[*array.shape]}"
        )
    if channels_last and not is_grey:
        array = np.moveaxis(array, -1, 1)
    if array.ndim == 3:
        array = array[:, None] if is_grey else array[:, :, None]
    if array.dtype != np.uint8:
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            first = int(np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))[0])
            raise RequestError(f"{path} ({name}): expected finite numbers, found others in entry {first}; leave it out")
    return torch.from_numpy(np.ascontiguousarray(array).copy())
