"""Labelled images, in memory or mapped into it from a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from hwnas.augmentation import Augmentation
from hwnas.dataflow.loader import Loader
from hwnas.dataflow.targets import KINDS, Kind, TargetKind, require_suitable
from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, height_width, image_size


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Some labelled images; parts of a split share its storage.

    Attributes:
        images_NCHW: uint8, or float32 of any range; those of other splits may be among them.
        targets_N: class, boxes or mask of each of this split's images, as `hwnas.dataflow.targets` says.
        rows_N: int64 positions of this split's images in `images_NCHW`; None for all of them in order.
        is_on_disk: whether the images are mapped from a file, so that reading them may take a while.
    """

    images_NCHW: torch.Tensor
    targets_N: torch.Tensor
    rows_N: torch.Tensor | None = None
    is_on_disk: bool = False

    def __post_init__(self) -> None:
        if self.images_NCHW.dtype not in (torch.uint8, torch.float32) or self.images_NCHW.ndim != 4:
            raise ValueError(
                f"images must be uint8 or float32 NCHW, got {self.images_NCHW.dtype}, {self.images_NCHW.ndim} axes"
            )
        num = len(self.images_NCHW) if self.rows_N is None else len(self.rows_N)
        if num != len(self.targets_N) or not len(self.targets_N):
            raise ValueError(f"expected a label per image, and one image at least, got {num} and {len(self.targets_N)}")

    def __len__(self) -> int:
        return len(self.targets_N)

    @property
    def is_of_pixels(self) -> bool:
        """Whether images are of bytes, 0 to 255, rather than of floats in a range of their own."""
        return self.images_NCHW.dtype == torch.uint8

    def images(self, indices: torch.Tensor | slice = slice(None)) -> torch.Tensor:
        """Return [num, C, H, W] those of the split at those positions, all of them by default."""
        return self.images_NCHW[indices if self.rows_N is None else self.rows_N[indices]]

    def chunks(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images and targets in order, so many at a time."""
        for start in range(0, len(self), size):
            yield self.images(slice(start, start + size)), self.targets_N[start : start + size]

    def subset(self, indices: np.ndarray) -> Split:
        """Return the images at those positions."""
        chosen = torch.from_numpy(indices)
        rows = chosen if self.rows_N is None else self.rows_N[chosen]
        return replace(self, targets_N=self.targets_N[chosen], rows_N=rows)

    def divided(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """Two parts at random, at least one image in each.

        Raises:
            RequestError: there is only one image.
        """
        if len(self) < 2:
            raise RequestError("dividing images into two parts needs at least two, got 1: use more of them")
        order = rng.permutation(len(self))
        cut = min(max(1, round(first_portion * len(self))), len(self) - 1)
        return self.subset(order[:cut]), self.subset(order[cut:])

    def divided_by_class(self, first_portion: float, rng: np.random.Generator) -> tuple[Split, Split]:
        """Two parts without a class in common, at least two classes in each.

        Raises:
            RequestError: there are fewer than four classes, or images have none.
        """
        self.require_classes("dividing images by class")
        classes = rng.permutation(np.unique(self.targets_N.numpy()))
        if len(classes) < 4:
            raise RequestError(f"dividing classes needs at least four, got {len(classes)}: use more images of more")
        cut = min(max(2, round(first_portion * len(classes))), len(classes) - 2)
        is_first = np.isin(self.targets_N.numpy(), classes[:cut])
        return self.subset(np.flatnonzero(is_first)), self.subset(np.flatnonzero(~is_first))

    def numbered_anew(self) -> Split:
        """Return the same images, their classes numbered from 0 without gaps.

        Raises:
            RequestError: images have no class.
        """
        self.require_classes("numbering classes anew")
        return replace(self, targets_N=torch.unique(self.targets_N, return_inverse=True)[1])

    def require_classes(self, purpose: str) -> None:
        """Raise RequestError unless each image is of one class."""
        if self.targets_N.ndim != 1:
            raise RequestError(
                f"{purpose} needs a class per image, found boxes or masks: use data of classes, as folder"
            )

    def limited(self, num: int | None, rng: np.random.Generator) -> Split:
        """At most `num` images, drawn at random; all of them for None."""
        return self if num is None or num >= len(self) else self.subset(rng.permutation(len(self))[:num])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Dataset:
    """Images to learn from, with a class, boxes or a mask each.

    Attributes:
        classes: names, in the order of the class indices.
        train, test: the official division; the test part is for one final test.
        augmentation: what may be done to training images without changing what they show.
        target_kind: what is known of each image.
        test_pairs: [num, 2] positions of test images to be compared, for tasks that are scored by pairs; None for any.
        validation: images that score networks, where the data bring some: they drive the search in the place of some of
            the training images, and choose the epoch of the retraining; nothing is trained on them.
        normalisation: mean and standard deviation of each channel that images are normalised by, in 0 to 1, or as
            floats are; None for those of the training images.
        remarks: what was understood or left out when the data were read, a line each.
        loader: gives the batches that networks train on, in the place of the training images; None for those.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    augmentation: Augmentation
    test_pairs: torch.Tensor | None = None
    validation: Split | None = None
    remarks: tuple[str, ...] = ()
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    target_kind: TargetKind = "classes"
    loader: Loader | None = None

    def __post_init__(self) -> None:
        shape = self.train.images_NCHW.shape[1:]
        for split in (self.train, self.test, *([self.validation] if self.validation else [])):
            if split.images_NCHW.shape[1:] != shape:
                raise ValueError(f"images of all parts must be alike, got {[*shape], [*split.images_NCHW.shape[1:]]}")
            if split.is_of_pixels != self.is_of_pixels:
                raise ValueError("images of all parts must be alike, got uint8 and float32")
            self._targets.require(split.targets_N, num_classes=len(self.classes), size=(shape[1], shape[2]))
        require_suitable(self.augmentation, self.target_kind, is_of_pixels=self.is_of_pixels)

    @property
    def _targets(self) -> Kind:
        return KINDS[self.target_kind]

    def classes_of(self, split: Split) -> torch.Tensor:
        """Return the indices of the classes that a split of the data shows, each once and in order."""
        return self._targets.classes(split.targets_N)

    @property
    def is_of_pixels(self) -> bool:
        """Whether images are of bytes, 0 to 255, rather than of floats in a range of their own."""
        return self.train.is_of_pixels

    @property
    def in_channels(self) -> int:
        """Colour planes."""
        return int(self.train.images_NCHW.shape[1])

    @property
    def input_size(self) -> ImageSize:
        """Pixels a side of square images; height and width of others."""
        return image_size(*self.train.images_NCHW.shape[2:])

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images."""
        return (self.in_channels, *height_width(self.input_size))

    def holding_out_classes(self, portion: float, rng: np.random.Generator) -> Dataset:
        """Return the same images, divided so that the classes of the test part are none of the training part's.

        Data whose parts have no class in common stay as they are; validation images of classes trained on are trained
        on too.

        Raises:
            RequestError: there are fewer than six classes: two to test, two to validate and two to train on; or there
                are pairs to be compared, and their identities are trained on; or images have no class.
        """
        self.train.require_classes("holding out classes")
        if self.validation is not None and _share_classes(self.validation, self.train, self.test):
            joined = replace(self, train=_joined(self.train, self.validation), validation=None)
            return joined.holding_out_classes(portion, rng)
        if not _share_classes(self.test, self.train):
            return self
        if self.test_pairs is not None:
            raise RequestError("the pairs to be compared are of identities that are trained on too: test others")
        num_classes = len(set(self.train.targets_N.tolist()))
        if num_classes < 6:
            raise RequestError(f"holding out classes needs at least six of them, {self.name} has {num_classes}")
        whole = _joined(self.train, self.test)
        train, test = whole.divided_by_class(1.0 - portion, rng)
        return replace(self, train=train, test=test)

    def channel_statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation that images are normalised by, [C] each, in 0 to 1, or as floats are.

        They are those over the training images, unless others are given.
        """
        if self.normalisation is not None:
            mean, std = self.normalisation
            return torch.tensor(mean), torch.tensor(std)
        return _channel_statistics(self.train) if self.is_of_pixels else _statistics_of_floats(self.train)

    def resized(self, input_size: ImageSize | None) -> Dataset:
        """Return the same images at another size, by antialiased bilinear interpolation; unchanged for None.

        Images are stretched where the new size has another ratio of height and width.
        """
        if input_size is None or input_size == self.input_size:
            return self

        def at_size(split: Split) -> Split:
            before, after = height_width(self.input_size), height_width(input_size)
            return Split(
                images_NCHW=_resized(split, after), targets_N=self._targets.resized(split.targets_N, before, after)
            )

        validation = self.validation and at_size(self.validation)
        return replace(self, train=at_size(self.train), test=at_size(self.test), validation=validation)


def _share_classes(split: Split, *others: Split) -> bool:
    return any(bool(torch.isin(split.targets_N, other.targets_N).any()) for other in others)


@lru_cache(maxsize=8)
def _channel_statistics(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    # Histograms give the exact moments without a float copy of all images.
    counts = torch.zeros(split.images_NCHW.shape[1], 256, dtype=torch.float64)
    for images, _ in split.chunks(4096):
        planes = images.transpose(0, 1).flatten(1)
        counts += torch.stack([torch.bincount(plane, minlength=256) for plane in planes])
    levels = torch.arange(256, dtype=torch.float64) / 255
    weights = counts / counts.sum(dim=1, keepdim=True)
    mean = weights @ levels
    std = (weights @ levels**2 - mean**2).clamp(min=1e-6).sqrt()
    return mean.float(), std.float()


@lru_cache(maxsize=8)
def _statistics_of_floats(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    # Around the first image's mean: sums of squares of values far from 0 would cancel out.
    num = len(split) * math.prod(split.images_NCHW.shape[2:])
    centre = split.images(slice(0, 1)).double().mean(dim=(0, 2, 3))
    total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
    for images, _ in split.chunks(256):
        centred = images.double() - centre[:, None, None]
        total += centred.sum(dim=(0, 2, 3))
        squares += (centred**2).sum(dim=(0, 2, 3))
    std = (squares / num - (total / num) ** 2).clamp(min=1e-12).sqrt()
    return (centre + total / num).float(), std.float()


def _joined(one: Split, other: Split) -> Split:
    targets = torch.cat([one.targets_N, other.targets_N])
    if one.images_NCHW is other.images_NCHW and one.rows_N is not None and other.rows_N is not None:
        return replace(one, targets_N=targets, rows_N=torch.cat([one.rows_N, other.rows_N]))
    return Split(images_NCHW=torch.cat([one.images(), other.images()]), targets_N=targets)


def _resized(split: Split, size: tuple[int, int]) -> torch.Tensor:
    def at_size(chunk: torch.Tensor) -> torch.Tensor:
        resized = functional.interpolate(chunk.float(), size=size, mode="bilinear", antialias=True)
        return resized.round_().clamp_(0, 255).to(torch.uint8) if split.is_of_pixels else resized

    return torch.cat([at_size(chunk) for chunk, _ in split.chunks(1024)])
