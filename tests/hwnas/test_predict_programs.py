"""The programs of bundles, run as people run them, with models that are made by hand."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from hwnas.artifacts.shown import colour_of
from hwnas.dataflow.letterbox import Letterbox
from hwnas.dataflow.targets import BORDER
from hwnas.export.contents import Kind, predict_program
from onnx_models.box_limits import BoxLimits
from onnx_models.boxes import with_suppression
from onnx_models.export import export_module
from onnx_models.pixels import with_preprocessing

HEIGHT, WIDTH, STRIDE = 32, 64, 16
GREY, RED, BLUE = (114, 114, 114), (255, 0, 0), (0, 0, 255)


class RedSquares(nn.Module):
    """Takes every cell that is red for an object of class 1: its box is the cell."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        cells_NCHW = functional.avg_pool2d(x_NCHW, STRIDE)
        red_NHW = cells_NCHW[:, 0] - cells_NCHW[:, 1] - cells_NCHW[:, 2]
        red_NP = red_NHW.flatten(1)
        sides = torch.full_like(red_NP, 0.5) * 1.0
        return torch.stack([sides, sides, sides, sides, red_NP * 0 - 9, 20 * red_NP - 10], dim=2)


class ByColour(nn.Module):
    """Gives the logits of three classes for every pixel: how grey, how red and how blue it is."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        red, green, blue = x_NCHW.unbind(dim=1)
        return torch.stack([green, red - green, blue - green], dim=1)


class Brightness(nn.Module):
    """Gives the logits of two classes: dark and bright."""

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        bright_N1 = x_NCHW.mean(dim=(1, 2, 3)).unsqueeze(1)
        return torch.cat([0.5 - bright_N1, bright_N1 - 0.5], dim=1)


def _described(folder: Path, name: str) -> dict[str, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / name)
    (taken,), given = session.get_inputs(), session.get_outputs()[0]
    return {
        "input": taken.name,
        "input_shape": taken.shape,
        "output": given.name,
        "ending": None,
        "batch": taken.shape[0],
        "normalises": taken.type == "tensor(uint8)",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
    }


def _bundle(folder: Path, kind: Kind, classes: list[str]) -> Path:
    folder.mkdir()
    modules = {"classification": Brightness(), "detection": RedSquares(), "segmentation": ByColour()}
    export_module(modules[kind], folder / "model.onnx", input_shapes=[(2, 3, HEIGHT, WIDTH)])
    source = folder / "model.onnx"
    if kind == "detection":
        points_P2 = np.array([[x, y] for y in (8, 24) for x in (8, 24, 40, 56)], np.float32)
        source = folder / "model.boxes.onnx"
        strides_P = np.full(8, STRIDE, np.float32)
        with_suppression(folder / "model.onnx", source, points_P2, strides_P, limits=BoxLimits())
    target, is_classifier = folder / "model.pixels.onnx", kind == "classification"
    with_preprocessing(source, target, mean=[0.0] * 3, std=[1.0] * 3, gives_probabilities=is_classifier)
    deployment = {
        "classes": classes,
        "input": {"channels": 3, "height": HEIGHT, "width": WIDTH},
        "models": {path.name: _described(folder, path.name) for path in sorted(folder.glob("*.onnx"))},
    }
    (folder / "deployment.json").write_text(json.dumps(deployment))
    (folder / "predict.py").write_text(predict_program(kind))
    return folder


def _run(bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(bundle / "predict.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _printed(bundle: Path, *arguments: object) -> list[str]:
    done = _run(bundle, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("d") / "bundle", "detection", ["plain", "rot \u4e2d"])


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _bundle(tmp_path_factory.mktemp("s") / "bundle", "segmentation", ["rest", "red", "blue"])


@pytest.mark.parametrize("size", [(64, 32), (320, 160), (100, 90), (31, 201)])
def test_boxes_are_told_in_pixels_of_the_image(detector: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    scale = min(HEIGHT / height, WIDTH / width)
    inside = (round(width * scale), round(height * scale))
    left, top = (WIDTH - inside[0]) // 2, (HEIGHT - inside[1]) // 2
    # What the network sees as its second cell of the first row, as far as it is of the image.
    corners = [(16 - left) / scale, (0 - top) / scale, (32 - left) / scale, (16 - top) / scale]
    expected = [min(max(0.0, corner), most) for corner, most in zip(corners, [width, height] * 2, strict=True)]
    image = Image.new("RGB", size, (0, 0, 0))
    image.paste(RED, [round(side) for side in expected])
    image.save(tmp_path / "x.png")
    for model in ("model.boxes.onnx", "model.pixels.onnx"):
        lines = _printed(detector, tmp_path / "x.png", "--model", model, "--folder", tmp_path / "out")
        if (expected[2] - expected[0]) * scale < 12:  # too narrow an image to show the whole cell
            continue
        assert "1 found" in lines[0] and lines[1].split()[:2] == ["rot", "\u4e2d"], lines
        found = [float(side) for side in lines[1].split()[-4:]]
        assert found == pytest.approx(expected, abs=2 / scale)
    with Image.open(tmp_path / "out" / "x.boxes.png") as drawn:
        assert drawn.size == size and drawn.mode == "RGB"


@pytest.mark.parametrize("size", [(64, 32), (100, 90), (31, 201), (7, 3), (999, 1)])
def test_programs_place_and_colour_as_the_package_does(segmenter: Path, size: tuple[int, int]) -> None:
    program = runpy.run_path(str(segmenter / "predict.py"))
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    canvas, place = program["letterboxed"](image)
    expected = Letterbox.of(size[::-1], (HEIGHT, WIDTH))
    assert place == (expected.left, expected.top, expected.width, expected.height)
    whole = expected.image(image, border=BORDER, resampling=Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(canvas), np.asarray(whole))
    assert [program["colour_of"](kind) for kind in range(100)] == [colour_of(kind) for kind in range(100)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_images_of_every_mode(detector: Path, segmenter: Path, tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("x.jpg" if mode in ("CMYK", "YCbCr") else "x.png")
    Image.new(mode, (41, 23)).save(path)
    for bundle, ending in ((detector, "boxes"), (segmenter, "overlay")):
        _printed(bundle, path, "--folder", tmp_path)
        with Image.open(tmp_path / f"x.{ending}.png") as drawn:
            assert drawn.size == (41, 23)


def test_images_that_lie_on_their_side(segmenter: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 20), RED)
    exif = image.getexif()
    exif[274] = 6  # to be turned by 90 degrees
    image.save(tmp_path / "x.png", exif=exif)
    (line,) = _printed(segmenter, tmp_path / "x.png", "--folder", tmp_path)
    assert "red 100.0%" in line
    with Image.open(tmp_path / "x.overlay.png") as drawn:
        assert drawn.size == (20, 60)


def test_shares_and_colours_of_classes(segmenter: Path, tmp_path: Path) -> None:
    image = Image.new("RGB", (128, 64), RED)
    image.paste(BLUE, (0, 0, 32, 64))
    image.save(tmp_path / "x.png")
    for model in ("model.onnx", "model.pixels.onnx"):
        (line,) = _printed(segmenter, tmp_path / "x.png", "--model", model, "--folder", tmp_path)
        assert "red 75.0%, blue 25.0%; drawn in" in line
    with Image.open(tmp_path / "x.overlay.png") as drawn:
        colours = {drawn.getpixel((x, 30)) for x in (5, 20)}, {drawn.getpixel((x, 30)) for x in (50, 100)}
    assert all(len(one) == 1 for one in colours) and colours[0] != colours[1]


def test_images_of_one_name_have_pictures_of_their_own(detector: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / folder / "x.png")
    _printed(detector, tmp_path / "a" / "x.png", tmp_path / "b" / "x.png", "--folder", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"x.boxes.png", "x-2.boxes.png"}


def test_what_cannot_be_done_is_said(detector: Path, segmenter: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    for bundle in (detector, segmenter):
        for arguments, words in (
            ((bundle / "predict.py",), "is not an image"),
            (("nowhere.png",), "no file nowhere.png"),
            (("--model", "x", tmp_path / "x.png"), "there are: model."),
        ):
            done = _run(bundle, *arguments)
            assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr, done.stderr
        done = _run(bundle, "--folder", tmp_path / "x.png", tmp_path / "x.png")
        assert done.returncode == 1 and done.stderr.startswith("pictures cannot be written to"), done.stderr
    done = _run(detector, "--model", "model.onnx", tmp_path / "x.png")  # which gives no boxes
    assert "there are: model.boxes.onnx, model.pixels.onnx" in done.stderr


def test_readers_may_stop_reading(detector: Path, segmenter: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "x.png")
    classifier = _bundle(tmp_path / "classifier", "classification", ["dark", "bright"])
    for bundle, flags in ((detector, ("--folder", tmp_path)), (segmenter, ("--folder", tmp_path)), (classifier, ())):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, bundle / "predict.py", tmp_path / "x.png", *flags], stdout=write, stderr=subprocess.PIPE
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b""), done.stderr


def test_grey_of_sixteen_bits_is_as_bright_as_in_training(segmenter: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 64), 100 * 257, np.uint16)).save(tmp_path / "x.png")
    _printed(segmenter, tmp_path / "x.png", "--folder", tmp_path)
    Image.new("L", (64, 32), 100).save(tmp_path / "y.png")
    _printed(segmenter, tmp_path / "y.png", "--folder", tmp_path)
    with Image.open(tmp_path / "x.overlay.png") as wide, Image.open(tmp_path / "y.overlay.png") as narrow:
        assert wide.getpixel((9, 9)) == narrow.getpixel((9, 9))

    bundle = _bundle(tmp_path / "bundle", "classification", ["dark", "bright"])
    (line,) = _printed(bundle, tmp_path / "x.png")
    assert "dark" in line


def test_classes_of_images(tmp_path: Path) -> None:
    bundle = _bundle(tmp_path / "bundle", "classification", ["dark", "bright"])
    Image.new("RGB", (33, 70), (250, 250, 250)).save(tmp_path / "x.png")
    for model in ("model.onnx", "model.pixels.onnx"):
        (line,) = _printed(bundle, tmp_path / "x.png", "--model", model)
        assert "bright" in line
