"""Data sets of one's own: a loader of ours, or map-style data sets as torch and torchvision have them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from hwnas.dataflow.dataset import Dataset
from hwnas.dataflow.items import Reading, Source, dataset_of
from hwnas.dataflow.split_folders import split_named
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize
from search_spaces.importing import ComponentKind, ImportReferenceError, find_component

EXPECTED = (
    "a function load(root, input_size) that returns a Dataset, or what makes map-style data sets of (image, class): "
    "one, or several by split"
)

OWN = ComponentKind(name="data set", expected=EXPECTED, has_own_arguments=True)

ARGUMENTS = frozenset({"root", "input_size", "train"})
"""Names of what a maker of data sets may be given; with `train`, it is called for both parts, as in torchvision."""


def own_loader(name: str) -> Callable[..., Dataset]:
    """Return the loader that a component in a file of one's own is, by `./file.py:Name`.

    Raises:
        ImportReferenceError: there is none, its code may not be run, or it takes other arguments.
    """
    component = find_component(OWN, name, {})
    names = _required(component)
    if not (names <= ARGUMENTS or _is_loader(component)):
        raise ImportReferenceError(
            f"data set {name}: expected {EXPECTED}; found one made from other arguments: "
            f"{', '.join(inspect.signature(component).parameters)}"
        )
    return partial(_load, name, component)


def _load(
    name: str,
    make: Callable[..., Any],
    root: Path,
    input_size: ImageSize | None,
    *,
    skip_broken_images: bool = False,
    is_grey: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    wishes = {"skip_broken_images": skip_broken_images, "is_grey": is_grey, "reporter": reporter}
    made = _made(make, root, input_size, wishes)
    if isinstance(made, Dataset):
        if skip_broken_images and "skip_broken_images" not in inspect.signature(make).parameters:
            raise RequestError(
                f"--skip-broken-images: {name} makes its Dataset itself and takes no keyword skip_broken_images; leave "
                "it out, or add the keyword"
            )
        return made
    reading = Reading(input_size=input_size, skip_broken=skip_broken_images, is_grey=is_grey, reporter=reporter)
    return _dataset_of(name, made, reading)


def dataset_from(name: str, made: object, input_size: ImageSize | None) -> Dataset:
    """Return the data of map-style data sets that a program has.

    Args:
        made: one, or several by split: (train, test), (train, validation, test), or a mapping.

    Raises:
        ImportReferenceError: they are something else.
    """
    return _dataset_of(name, made, Reading(input_size=input_size))


def _dataset_of(name: str, made: object, reading: Reading) -> Dataset:
    splits = _splits(made)
    if splits is None:
        raise ImportReferenceError(f"data set {name}: expected {EXPECTED}; it made a {type(made).__name__}")
    sources = {split: Source(name=f"{name} ({split})", items=items) for split, items in splits.items()}
    return dataset_of(name.rpartition(":")[2], sources, getattr(splits["train"], "classes", None), reading)


def _made(make: Callable[..., Any], root: Path, input_size: ImageSize | None, wishes: Mapping[str, Any]) -> Any:
    """Return what a component makes, which is given what it names: of a loader's keywords those that it takes."""
    taken = inspect.signature(make).parameters
    if _is_loader(make):
        return make(root, input_size, **{name: value for name, value in wishes.items() if name in taken})
    given = {"root": root, "input_size": input_size}
    named = {name: value for name, value in given.items() if name in taken}
    if "train" in taken:
        return {"train": make(**named, train=True), "test": make(**named, train=False)}
    return make(**named)


def _splits(made: object) -> dict[str, Any] | None:
    """Return map-style data sets by split; None where what was made is nothing of that kind."""
    if isinstance(made, tuple) and len(made) in (2, 3):
        made = dict(zip(("train", "test") if len(made) == 2 else ("train", "validation", "test"), made, strict=True))
    if not isinstance(made, Mapping):
        made = {"train": made}
    found = {}
    for name, items in made.items():
        split = split_named(str(name))
        if split is None or split in found or not _is_map_style(items):
            return None
        found[split] = items
    return found if "train" in found else None


def _is_map_style(items: object) -> bool:
    """Return whether something has items by position; lists, texts and arrays are mistakes more often."""
    if isinstance(items, Mapping | list | tuple | str | bytes | np.ndarray | torch.Tensor):
        return False
    return hasattr(items, "__len__") and hasattr(items, "__getitem__")


def _is_loader(component: Callable[..., Any]) -> bool:
    """Return whether a component is a function that takes the folder and the input size by position."""
    function = inspect.unwrap(component)
    if not isinstance(function, FunctionType):
        return False
    names = list(inspect.signature(function).parameters)
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        return False
    return names[1:2] != ["train"]


def _required(component: Callable[..., Any]) -> set[str]:
    """Return the names of the arguments that a component is not made without."""
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(component).parameters.values()
    return {p.name for p in parameters if p.default is inspect.Parameter.empty and p.kind not in kinds}
