"""The data that are learnt: data sets held in memory as tensors, and batches of them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hwnas.augmentation import Augmentation
from hwnas.components import find
from hwnas.dataflow.arrays import load_arrays, load_arrays_channels_last
from hwnas.dataflow.batches import Batches
from hwnas.dataflow.cifar import load_cifar10, load_cifar100
from hwnas.dataflow.coco import load_coco
from hwnas.dataflow.coco_masks import load_coco_masks
from hwnas.dataflow.dataset import Dataset, Split
from hwnas.dataflow.digits import load_digits
from hwnas.dataflow.folder import load_folder
from hwnas.dataflow.hugging_face import load_hugging_face
from hwnas.dataflow.idx import load_idx
from hwnas.dataflow.masks import load_masks
from hwnas.dataflow.own import own_loader
from hwnas.dataflow.voc import load_voc
from hwnas.dataflow.web_dataset import load_web_dataset
from hwnas.dataflow.yolo import load_yolo
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from onnx_models.image_size import ImageSize
from safe_files.code_trust import is_file
from search_spaces.importing import ImportReferenceError, is_reference

DATAFLOWS: dict[str, Callable[..., Dataset]] = {
    "digits": load_digits,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "idx": load_idx,
    "folder": load_folder,
    "arrays": load_arrays,
    "arrays-channels-last": load_arrays_channels_last,
    "huggingface": load_hugging_face,
    "webdataset": load_web_dataset,
    "coco": load_coco,
    "yolo": load_yolo,
    "voc": load_voc,
    "masks": load_masks,
    "coco-masks": load_coco_masks,
}
"""Loaders by name; each takes the data's folder and the wanted input size, an integer or height and
width; None for the data's own.

One that reads images one by one may take the keywords `skip_broken_images`, `is_grey` and `reporter` as well.
"""


def load_dataset(
    name: str,
    root: Path,
    *,
    input_size: ImageSize | None = None,
    skip_broken_images: bool = False,
    is_grey: bool = False,
    reporter: Reporter | None = None,
) -> Dataset:
    """Return the data set of that name, its images resized where another input size is asked for.

    Args:
        is_grey: have images in one channel, of loaders that can do that.
        reporter: told how far reading is, by loaders that tell it.

    Raises:
        RequestError: there is no such data set, its files are missing or damaged, or one's own loader fails or returns
            something else.
    """
    load = _loader(name)
    if skip_broken_images:
        if "skip_broken_images" not in inspect.signature(load).parameters:
            raise RequestError(f"--skip-broken-images is for data in a file per image, as folder; {name} has none")
        load = partial(load, skip_broken_images=True)
    wanted = {name: value for name, value in (("is_grey", is_grey), ("reporter", reporter)) if value}
    taken = inspect.signature(load).parameters
    load = partial(load, **{name: value for name, value in wanted.items() if name in taken})
    dataset = _loaded(load, name, root, input_size)
    assert isinstance(dataset, Dataset), "parts are checked when they are found"
    return dataset.resized(input_size)


def _loader(name: str) -> Callable[..., object]:
    try:
        if is_reference(name) and is_file(name.rpartition(":")[0]):
            return own_loader(name)
        load: Callable[..., object] = find("dataflow", name)
        return load
    except ImportReferenceError as error:
        raise RequestError(str(error)) from error


def _loaded(load: Callable[..., object], name: str, root: Path, input_size: ImageSize | None) -> object:
    try:
        return load(root, input_size)
    except RequestError:
        raise
    except ImportReferenceError as error:
        raise RequestError(str(error)) from error
    except OSError as error:
        raise RequestError(f"cannot read {error.filename or root}: {error.strerror or error}") from error
    except Exception as error:
        if name in DATAFLOWS:
            if not isinstance(error, ValueError):
                raise
            raise RequestError(f"{name} in {root}: {error}") from error  # as the records say
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}, line {place.lineno}"
        raise RequestError(f"data set {name} failed: {type(error).__name__}: {error} ({where})") from error


__all__ = ["DATAFLOWS", "Augmentation", "Batches", "Dataset", "Split", "load_dataset"]
