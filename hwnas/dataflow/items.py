"""Labelled images that come one by one, as map-style data sets give them, read into memory or into a file once."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.folder import with_test_set_aside
from hwnas.dataflow.images import MOST_IN_MEMORY, fitted, mapped_images, strict_about_bombs
from hwnas.dataflow.pictures import picture
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize, height_width

USUAL_SIZE = 64
"""Pixels a side that images are brought to where the first of them is not square, and no size is asked for."""

MANY = 4096
"""Items from which on several processes read them."""

READ_AT_ONCE = 64


class Items(Protocol):
    """A map-style data set: items by position, each an image and its class."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Any: ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """The labelled images of a split.

    Attributes:
        name: in messages.
        items: images as PIL images, arrays or tensors, and their classes, numbers from 0.
        targets_N: the classes, where they are known before any image is read; those of the items then do not count.
        identity: what changes with the items, as JSON, by which they are found again; None where nobody can tell.
    """

    name: str
    items: Items
    targets_N: NDArray[np.int64] | None = None
    identity: object = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Says how images are read.

    Attributes:
        skip_broken: leave out images that cannot be read instead of refusing them.
        is_grey: whether images have one channel.
    """

    input_size: ImageSize | None = None
    skip_broken: bool = False
    is_grey: bool = False
    reporter: Reporter | None = None


def dataset_of(name: str, sources: Mapping[str, Source], classes: Sequence[str] | None, reading: Reading) -> Dataset:
    """Return the data set that sources by split are: "train", and "test" or "validation" or both, or none of these.

    Without either a fifth of each class is set aside for the test; validation images alone are the test.

    Args:
        classes: their names; None for numbers.

    Raises:
        RequestError: there are no images or too few, an image cannot be read, or a class is none.
    """
    for source in sources.values():
        if not len(source.items):
            raise RequestError(f"{source.name} has no images: expected one at least")
    height, width = height_width(reading.input_size or _own_size(sources["train"]))
    shape = (1 if reading.is_grey else 3, height, width)
    splits, remarks = {}, []
    for split, source in sources.items():
        splits[split], broken = _read(source, shape, reading)
        if broken:
            first = min(broken)
            remarks.append(
                f"{source.name}: not read: {len(broken)} unreadable (the first: item {first}: {broken[first]})"
            )
    names = _agreed_classes(sources, splits, classes)
    if "test" not in splits and "validation" in splits:
        splits["test"] = splits.pop("validation")
    if "test" not in splits:
        splits["train"], splits["test"] = with_test_set_aside(splits["train"], names, sources["train"].name)
    return Dataset(
        name=name,
        classes=names,
        train=splits["train"],
        validation=splits.get("validation"),
        test=splits["test"],
        augmentation=Augmentation(shift=max(1, min(height, width) // 8), flip=True),
        remarks=tuple(remarks),
    )


def _own_size(source: Source) -> ImageSize:
    try:
        image, _ = source.items[0]
        width, height = picture(image).size
    except Exception:  # what is wrong with it is said when it is read
        return USUAL_SIZE
    return int(width) if width == height else USUAL_SIZE


def _read(source: Source, image_shape: tuple[int, int, int], reading: Reading) -> tuple[Split, Mapping[int, str]]:
    """Return the images that can be read, and why the others cannot, by position."""
    shape = (len(source.items), *image_shape)
    targets = np.full(len(source.items), -1) if source.targets_N is None else source.targets_N
    is_on_disk = math.prod(shape) > MOST_IN_MEMORY

    def fill(images_NCHW: NDArray[np.uint8]) -> dict[int, str]:
        return _fill(images_NCHW, None if source.targets_N is not None else targets, source, reading)

    if is_on_disk:
        images, broken = mapped_images(shape, source.identity, fill)
    else:
        images = torch.zeros(shape, dtype=torch.uint8)
        broken = fill(images.numpy())
    if broken and not reading.skip_broken:
        raise _broken_error(source, min(broken), broken[min(broken)])
    good = np.array([position not in broken for position in range(len(targets))])
    if not good.any():
        raise RequestError(f"no image of {source.name} can be read; the first: {broken[min(broken)]}")
    whole = Split(images_NCHW=images, targets_N=torch.from_numpy(targets.astype(np.int64)), is_on_disk=is_on_disk)
    return whole.subset(np.flatnonzero(good)) if broken else whole, broken


def _fill(
    images_NCHW: NDArray[np.uint8], targets_N: NDArray[np.int64] | None, source: Source, reading: Reading
) -> dict[int, str]:
    """Write the images, and their classes where these are wanted; return why some could not be read."""
    num, _, height, width = images_NCHW.shape
    fitting = _Fitted(source.items, size=(height, width), is_grey=reading.is_grey)
    broken: dict[int, str] = {}
    with _task(source, num, reading) as task:
        for position, (image, target) in enumerate(_loaded(fitting)):
            if targets_N is not None and not (target is None and isinstance(image, str)):
                targets_N[position] = _class_index(source, position, target)
            if not isinstance(image, str):
                images_NCHW[position] = image.transpose(2, 0, 1)
            elif reading.skip_broken:
                broken[position] = image
            else:
                raise _broken_error(source, position, image)
            task.update(position + 1)
    return broken


def _task(source: Source, num: int, reading: Reading) -> Any:
    """Return the progress of reading so many images; few are read at once."""
    reporter = reading.reporter if reading.reporter is not None and num >= MANY else Reporter(is_quiet=True)
    return reporter.task(f"reading {source.name}", num)


class _Fitted:
    """Items as arrays [height, width, channels] of one size, or texts that say what is wrong with their images."""

    def __init__(self, items: Items, *, size: tuple[int, int], is_grey: bool) -> None:
        self._items, self._size, self._is_grey = items, size, is_grey

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, position: int) -> tuple[NDArray[np.uint8] | str, object]:
        with strict_about_bombs():
            return self._read(position)

    def _read(self, position: int) -> tuple[NDArray[np.uint8] | str, object]:
        try:
            item = self._items[position]
        except RequestError as error:
            return str(error), None
        except Exception as error:  # a data set of one's own raises whatever it stumbles over
            return f"{type(error).__name__}: {error}", None
        if not isinstance(item, tuple | list) or len(item) != 2:
            return f"expected an image and its class, found {_described(item)}", None
        target = item[1].item() if isinstance(item[1], torch.Tensor) and item[1].numel() == 1 else item[1]
        try:
            return fitted(picture(item[0]), self._size, is_grey=self._is_grey), target
        except Exception as error:  # decoders raise whatever they stumble over in a damaged image
            return str(error) or type(error).__name__, target


def _loaded(fitting: _Fitted) -> Iterator[tuple[NDArray[np.uint8] | str, object]]:
    """Yield the items in order, read by a process on each core where there are many."""
    num_workers = _num_processes() if len(fitting) >= MANY else 0
    loader: DataLoader[Any] = DataLoader(
        fitting,  # type: ignore[arg-type]
        batch_size=READ_AT_ONCE,
        num_workers=num_workers,
        collate_fn=list,
        multiprocessing_context="fork" if num_workers else None,
        generator=torch.Generator(),  # else it draws from the global one, which trainings depend on
    )
    for batch in loader:
        yield from batch


def _num_processes() -> int:
    """Return how many processes read; 0 where this one has to: only on Linux may those that it forks be relied on."""
    is_linux = sys.platform == "linux" and hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if is_linux else 0


def _class_index(source: Source, position: int, target: object) -> int:
    """Return the class of an item.

    Raises:
        RequestError: it is none.
    """
    try:
        index = -1 if isinstance(target, bool | np.bool_) else operator.index(target)  # type: ignore[arg-type]
    except TypeError:
        index = -1
    if not 0 <= index < 2**31:
        raise RequestError(
            f"item {position} of {source.name}: expected the number of a class, an integer from 0, found "
            f"{_described(target)}; give (image, class)"
        )
    return index


def _agreed_classes(
    sources: Mapping[str, Source], splits: Mapping[str, Split], given: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the classes' names; each has images that train, and no split has others.

    Raises:
        RequestError: it is not so.
    """
    found = {name: sorted(set(split.targets_N.tolist())) for name, split in splits.items()}
    trained, where = found["train"], sources["train"].name
    if given is None and trained[-1] >= len(trained):
        raise RequestError(
            f"the classes of {where} are {len(trained)} numbers up to {trained[-1]}: expected 0 to {len(trained) - 1}, "
            "each with images; number them anew, or name them all"
        )
    names, with_images = tuple(map(str, range(len(trained)) if given is None else given)), set(trained)
    if missing := [name for number, name in enumerate(names) if number not in with_images]:
        raise RequestError(f"{where} has no images of {', '.join(missing[:10])}; add some, or leave the classes out")
    if len(names) < 2:
        raise RequestError(f"expected two classes at least in {where}, found {len(names)}")
    for split, numbers in found.items():
        if numbers[-1] >= len(names):
            raise RequestError(
                f"{sources[split].name} has the class {numbers[-1]}: expected 0 to {len(names) - 1}, as {where} has; "
                "number them alike"
            )
    return names


def _broken_error(source: Source, position: int, reason: str) -> RequestError:
    return RequestError(
        f"cannot read item {position} of {source.name}: {reason}; mend or remove it, or leave such images out with "
        "--skip-broken-images"
    )


def _described(value: object) -> str:
    return f"{type(value).__name__} {str(value)[:40]!r}"
