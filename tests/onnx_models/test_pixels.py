"""Preprocessing inside graphs, against Pillow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image
from torch import nn

from onnx_models.export import export_module
from onnx_models.pixels import with_preprocessing


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 12), (12, 6), (10, 9)])
@pytest.mark.parametrize(("rows", "columns"), [(24, 48), (48, 24), (30, 30), (4, 8)])
def test_images_of_any_size_are_cropped_and_resized_as_pillow_does(
    height: int, width: int, rows: int, columns: int, tmp_path: Path
) -> None:
    export_module(nn.Sequential(nn.Flatten()), tmp_path / "m.onnx", input_shapes=[(1, 1, height, width)])
    with_preprocessing(tmp_path / "m.onnx", tmp_path / "any.onnx", mean=[0.0], std=[0.1], any_size=True)
    session = onnxruntime.InferenceSession(tmp_path / "any.onnx", providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (rows, columns), dtype=np.uint8)
    crop_height, crop_width = min(rows, columns * height // width), min(columns, rows * width // height)
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    cropped = Image.fromarray(pixels[top : top + crop_height, left : left + crop_width])
    expected = np.asarray(cropped.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32)
    (found,) = session.run(None, {"pixels": pixels[None, None]})
    logits = np.log(np.maximum(found[0], 1e-30)).reshape(height, width)
    seen = logits > -60  # softmax of what is much darker than the brightest is rounded to nothing
    differences = (logits - logits.max()) * 25.5 - (expected - expected.max())
    assert np.abs(differences[seen]).max() <= 2.0 and seen.sum() >= seen.size // 4
