"""Handwritten digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hwnas.augmentation import Augmentation
from hwnas.dataflow.dataset import Dataset, Split
from onnx_models.image_size import ImageSize

TEST_PORTION = 0.2


def load_digits(_root: Path, _input_size: ImageSize | None) -> Dataset:
    """1,797 real digits of 8x8 pixels (Alpaydin and Kaynak 1998, UCI optdigits' test part); no file is read.

    There is no official division: a fifth of each class, always the same, is the test part.
    """
    from sklearn.datasets import load_digits as load_bunch
    from sklearn.model_selection import train_test_split

    bunch = load_bunch()
    images = torch.from_numpy(np.round(bunch.images * (255 / 16)).astype(np.uint8))[:, None]
    whole = Split(images_NCHW=images, targets_N=torch.from_numpy(bunch.target.astype(np.int64)))
    train, test = train_test_split(
        np.arange(len(whole)), test_size=TEST_PORTION, stratify=bunch.target, random_state=0, shuffle=True
    )
    return Dataset(
        name="digits",
        classes=tuple(str(digit) for digit in range(10)),
        train=whole.subset(train),
        test=whole.subset(test),
        augmentation=Augmentation(shift=1),
    )
