"""The images of a data set by what a run uses them for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwnas.dataflow.dataset import Dataset, Split

TRAIN_PORTION = 0.8
"""Share of the training images that train the supernet, where the data bring no others to score it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Splits:
    """The images of a data set by what a run uses them for.

    Attributes:
        train: they train the supernet.
        validation: they drive the search.
        retrain: the found networks learn from them.
        retrain_validation: they choose the best epoch of those; None where the last one is kept.
    """

    train: Split
    validation: Split
    retrain: Split
    retrain_validation: Split | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Portions:
    """The shares that the training images are divided into.

    Attributes:
        train: share that trains the supernet; None for the usual one.
        validation_images: that drive the search at most; None for all of them.
        retrain_validation: share that chooses the epoch of the retraining; None for none.
        by_class: whether splits have no class in common, for tasks that are scored on unseen ones.
    """

    train: float | None
    validation_images: int | None
    retrain_validation: float | None
    by_class: bool


def divide(dataset: Dataset, portions: Portions, rng_of: Callable[[str], np.random.Generator]) -> Splits:
    """Return the images by what they are used for.

    Args:
        rng_of: makes the generator of that name.

    Raises:
        RequestError: there are too few images to be divided.
    """
    rng = rng_of("train_portion")
    whole = dataset.train

    def parts(first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        return (whole.divided_by_class if portions.by_class else whole.divided)(first_portion, rng)

    train, validation = whole, dataset.validation
    if validation is None:
        train, validation = parts(portions.train or TRAIN_PORTION, rng)
    retrain, retrain_validation = whole, dataset.validation
    if portions.retrain_validation is not None:
        retrain, retrain_validation = parts(1.0 - portions.retrain_validation, rng_of("retrain_validation"))
    return Splits(
        train=train,
        validation=validation.limited(portions.validation_images, rng),
        retrain=retrain,
        retrain_validation=retrain_validation,
    )
