"""Whether a module computes what its ONNX file computes, image by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from onnx_models.errors import ModelError
from onnx_models.parity import TOLERANCE

NUM_IMAGES = 3


def require_same(module: nn.Module, path: Path, *, input_shape: tuple[int, ...], batch: int | None) -> None:
    """Compare a module, given several images at a time, with the file in ONNX Runtime, given as many as it takes.

    Raises:
        ModelError: ONNX Runtime cannot run the file, or they differ.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((max(NUM_IMAGES, batch or 1), *input_shape), generator=generator)
    expected = _of_onnx(path, x.numpy(), batch or 1)
    with torch.inference_mode():
        found = module(x).numpy()[: len(expected)]
    if found.shape != expected.shape:
        raise ModelError(f"{path}: expected outputs of the shape {expected.shape}, found {found.shape} in torch")
    if not np.isfinite(expected).all():
        raise ModelError(f"{path} gives NaN or infinity for random images, expected numbers: bring weights that work")
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    largest = float(np.abs(found - expected).max())
    if not largest <= limit:
        raise ModelError(
            f"{path} was taken over wrongly: outputs in torch differ from ONNX Runtime's by {largest:.3g}, expected at "
            f"most {limit:.1g}; bring the network as ./file.py:function"
        )


def _of_onnx(path: Path, images: np.ndarray, batch: int) -> np.ndarray:
    import onnxruntime

    try:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        parts = [images[start : start + batch] for start in range(0, len(images) - batch + 1, batch)]
        return np.concatenate([np.asarray(session.run(None, {name: part})[0]) for part in parts])
    except Exception as error:  # ONNX Runtime's errors have no common class
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{path} cannot be run by ONNX Runtime: {reason}; export it again") from error
