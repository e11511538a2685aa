"""Pictures of what data sets give for images: PIL images, arrays, tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

CHANNELS = (1, 3)


def picture(image: object) -> Image.Image:
    """Return the image as one of PIL.

    Tensors are [C, H, W], arrays [H, W, C] or [C, H, W], either [H, W], of one or three channels: bytes, or floats from
    0 to 1.

    Raises:
        ValueError: it is nothing of that kind.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor):
        values, is_tensor = image.detach().cpu().numpy(), True
    elif isinstance(image, np.ndarray):
        values, is_tensor = image, False
    else:
        raise ValueError(f"expected a PIL image, an array or a tensor, found {type(image).__name__}")
    return Image.fromarray(_as_bytes(_channels_last(values, is_tensor=is_tensor)))


def _channels_last(values: NDArray[np.generic], *, is_tensor: bool) -> NDArray[np.generic]:
    """Return [H, W, 3], or [H, W] of one channel."""
    if values.ndim == 3 and 0 not in values.shape:
        has_channels_last = not is_tensor and values.shape[2] in CHANNELS
        if not has_channels_last and values.shape[0] in CHANNELS:
            values, has_channels_last = values.transpose(1, 2, 0), True
        if has_channels_last:
            return values[..., 0] if values.shape[2] == 1 else values
    if values.ndim == 2 and 0 not in values.shape:
        return values
    expected = "[C, H, W]" if is_tensor else "[H, W, C]"
    raise ValueError(f"expected {expected} of one or three channels, or [H, W], found {[*values.shape]}")


def _as_bytes(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values, dtype=np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"expected bytes (uint8), or floats from 0 to 1, found {values.dtype}")
    levels = values.astype(np.float32)
    least, most = float(levels.min()), float(levels.max())
    if not (least >= 0 and most <= 1):
        raise ValueError(
            f"expected floats from 0 to 1, found {least:.4g} to {most:.4g}: leave normalisation and augmentation out, "
            "which are done later"
        )
    return np.round(levels * 255).astype(np.uint8)
