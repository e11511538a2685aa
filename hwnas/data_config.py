"""The settings of the data that a run learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.augmentation import Augmentation
from hwnas.records import STRICT
from hwnas.setting_types import Count, FilePath, Fraction, Name
from hwnas.settings import About


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class DataConfig:
    """The data to learn."""

    name: Annotated[
        Name, About("Data set; see hwnas list dataflow.", flag="--data", panel="Data", names="dataflow")
    ] = "digits"
    root: Annotated[FilePath, About("Folder or archive of the data.", flag="--data-root", panel="Data")] = Path("data")
    train_portion: Annotated[
        Fraction | None,
        About(
            "Share of the training images that train the supernet; the others drive the search "
            "[0.8, or all where the data bring validation images, which then drive it]."
        ),
    ] = None
    augmentation: Annotated[
        Augmentation | None,
        About(
            "Random changes of training images, such as {crop: 0.08, flip: true, random_erasing: 0.25, operations: 2, "
            "magnitude: 0.3, cutout: 8, shift: 4}; of images with boxes or masks, such as {scale: 0.5, flip: true, "
            "colour: 0.2, mosaic: 0.5} [the data set's]."
        ),
    ] = None
    mean: Annotated[
        tuple[float, ...] | None,
        About("Mean of each channel that images are normalised by, in 0 to 1 [that of the training images]."),
    ] = None
    std: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        About("Standard deviation of each channel, likewise [that of the training images]."),
    ] = None
    train_images: Annotated[
        Count | None, About("Use only so many training images [all].", flag="--train-images", panel="Data")
    ] = None
    validation_images: Annotated[
        Count | None,
        About("Evaluate networks on only so many images [all].", flag="--validation-images", panel="Data"),
    ] = None
    skip_broken_images: Annotated[
        bool, About("Leave out files that cannot be read.", flag="--skip-broken-images", panel="Data")
    ] = False
