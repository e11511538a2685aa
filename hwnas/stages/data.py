"""The data of a run, limited and divided as its task wants them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from hwnas.agents import TASKS, TrainingAgent
from hwnas.config import DataConfig
from hwnas.dataflow import Dataset, load_dataset
from hwnas.dataflow.splits import Splits
from hwnas.errors import RequestError
from hwnas.training.randomness import numpy_rng
from onnx_models.image_size import ImageSize

HELD_OUT_CLASSES = 0.2
"""Share of the classes that the test is on, where a task is scored on classes not trained on."""


def prepare_data(
    dataset: Dataset,
    config: DataConfig,
    task: type[TrainingAgent],
    rng_of: Callable[[str], np.random.Generator],
    *,
    task_name: str,
) -> Dataset:
    """Return the data with the augmentation and the number of images asked for, and classes held out for some tasks.

    Args:
        dataset: as it was read.
        rng_of: makes the generator of that name.

    Raises:
        RequestError: the data have no such targets as the task learns from, or a part of them shows no class; or the
            test is on classes that are not trained on, and the task needs those.
    """
    if dataset.target_kind != task.target_kind:
        raise RequestError(
            f"{task_name} learns from {task.target_kind}, {config.name} has {dataset.target_kind}: take --task "
            f"{_task_for(dataset)}, or data with {task.target_kind}"
        )
    if config.augmentation is not None:
        dataset = replace(dataset, augmentation=config.augmentation)
    _require_targets(dataset, config.name)
    for split in (dataset.test, dataset.validation):
        is_known = split is None or torch.isin(dataset.classes_of(split), dataset.classes_of(dataset.train)).any()
        if not (is_known or task.holds_out_classes):
            raise RequestError(f"{config.name} tests classes none of which is trained on; {task_name} needs those")
    if task.holds_out_classes:
        dataset = dataset.holding_out_classes(HELD_OUT_CLASSES, rng_of("held_out_classes"))
    if (normalisation := _normalisation(dataset, config)) is not None:
        dataset = replace(dataset, normalisation=normalisation)
    return replace(dataset, train=dataset.train.limited(config.train_images, rng_of("train_images")))


def _require_targets(dataset: Dataset, name: str) -> None:
    for part, split in (("train", dataset.train), ("test", dataset.test), ("validation", dataset.validation)):
        if split is not None and not len(dataset.classes_of(split)):
            raise RequestError(
                f"no image of {name} ({part}) shows any of the classes: expected {dataset.target_kind} on some; see "
                "whether the annotations belong to these images"
            )


def _task_for(dataset: Dataset) -> str:
    """Return the built-in tasks that learn from such data."""
    return " or ".join(name for name, task in TASKS.items() if task.target_kind == dataset.target_kind)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ResizedData:
    """Gives the data of a run as they are read at another size: the same images, divided and normalised alike.

    Attributes:
        dataset: at its own size.
        seed: that the images are divided by.
        is_grey: have images in one channel, of data that can be read so.
    """

    dataset: Dataset
    config: DataConfig
    task: type[TrainingAgent]
    task_name: str
    seed: int
    is_grey: bool
    _known: dict[ImageSize, Dataset] = field(default_factory=dict)

    def __call__(self, size: ImageSize) -> Dataset:
        """Return the data at that size."""
        if size not in self._known:
            config = self.config
            whole = load_dataset(
                config.name,
                config.root,
                input_size=size,
                skip_broken_images=config.skip_broken_images,
                is_grey=self.is_grey,
            )
            rng_of = partial(numpy_rng, self.seed)
            dataset = prepare_data(whole, config, self.task, rng_of, task_name=self.task_name)
            mean, std = (tuple(values.tolist()) for values in self.dataset.channel_statistics())
            self._known[size] = replace(dataset, normalisation=(mean, std))
        return self._known[size]


def _normalisation(dataset: Dataset, config: DataConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and standard deviation that are asked for, one for each channel; None where none are."""
    if config.mean is None and config.std is None:
        return None
    if config.mean is None or config.std is None:
        raise RequestError("data.mean and data.std go together: give both, or none")
    for name, values in (("data.mean", config.mean), ("data.std", config.std)):
        if len(values) != dataset.in_channels:
            raise RequestError(
                f"{name} has {len(values)} numbers, expected one for each of {dataset.in_channels} channels"
            )
    return config.mean, config.std


def require_no_portions(dataset: Dataset, config: DataConfig, retrain_portion: float | None) -> None:
    """Raise RequestError where some training images should score networks, and the data bring others that do."""
    portions = {"data.train_portion": config.train_portion, "retrain.validation_portion": retrain_portion}
    given = [name for name, portion in portions.items() if portion is not None]
    if given and dataset.validation is not None:
        raise RequestError(
            f"{config.name} in {config.root} brings validation images, which drive the search and choose "
            f"the epoch of the retraining; leave out {' and '.join(given)}"
        )


def require_enough_images(
    divide: Callable[[], Splits], *, num_classes: int, train_images: int | None, holds_out_classes: bool
) -> None:
    """Raise RequestError where the images are too few to be divided, or a class is left with none to be learnt.

    Args:
        divide: gives the images by what they are used for.
        num_classes: of the data as they were read.
        train_images: how many were asked for; None for all.
    """
    remedy = "add images" if train_images is None else f"give more than {train_images} with --train-images"
    try:
        splits = divide()
    except RequestError as error:
        raise RequestError(str(error) if train_images is None else f"{error}; {remedy}") from error
    for purpose, split in {"train the supernet": splits.train, "retrain": splits.retrain}.items():
        if len(split) < num_classes and not holds_out_classes:
            raise RequestError(
                f"{len(split)} images are left to {purpose}, fewer than the {num_classes} classes; {remedy}"
            )
