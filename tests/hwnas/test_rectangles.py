"""Images that are higher or wider than they are long, from the flag to the bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from command_line import Outcome, run_cli, shorten_runs
from PIL import Image
from samples import synthetic_table

from hwnas.config_file import load_config
from hwnas.dataflow import Augmentation, load_dataset
from hwnas.dataflow.augmentation import augmented
from hwnas.errors import RequestError
from hwnas.export.accuracy import accuracy
from hwnas.quantities import parse_image_size
from lut import load_table, save_table
from onnx_models.export import export_module
from search_spaces import SPACES, SpaceError, SpaceSpec, make_space

SPACE = '''
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from search_spaces import Block
from search_spaces.chain import ChainSpace


@dataclass(frozen=True, kw_only=True)
class Wide(Block):
    """A convolution on images of any height and width; the last one gives classes."""

    family: ClassVar[str] = "wide"
    shape: tuple
    out: int
    kernel: int
    classes: int = 0

    @property
    def key(self):
        return f"wide({self.shape},{self.out},{self.kernel},{self.classes})"

    @property
    def input_shapes(self):
        return (self.shape,)

    @property
    def output_shape(self):
        return (self.classes,) if self.classes else (self.out, *self.shape[1:])

    def build(self):
        layers = [nn.Conv2d(self.shape[0], self.out, self.kernel, padding=self.kernel // 2), nn.ReLU()]
        if self.classes:
            layers += [nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(2 * self.out, self.classes)]
        return nn.Sequential(*layers)


def wide(spec):
    inner = (16, *spec.input_shape[1:])
    layers = [[Wide(shape=inner, out=16, kernel=kernel) for kernel in (1, 3, 5)] for _ in range(3)]
    stem = Wide(shape=spec.input_shape, out=16, kernel=3)
    head = Wide(shape=inner, out=16, kernel=1, classes=spec.num_classes)
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=["k1", "k3", "k5"], head=[head])
'''


def _pictures(root: Path, num: int = 30) -> None:
    """Bright left or right halves, in pictures of 12 to 20 pixels."""
    rng = np.random.default_rng(0)
    for i in range(2 * num):
        name = ("left", "right")[i % 2]
        (root / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 90, (12, 20, 3), dtype=np.uint8)
        pixels[:, 10 * (i % 2) : 10 * (i % 2) + 10] += 120
        Image.fromarray(pixels).save(root / name / f"{i}.png")


@pytest.mark.parametrize(
    ("text", "size"),
    [("224", 224), (224, 224), ("128x256", (128, 256)), ("64X64", 64), ([6, 10], (6, 10)), ("4x4096", (4, 4096))],
)
def test_sizes_as_they_are_written(text: object, size: object) -> None:
    assert parse_image_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "128x", "3", "4097", "8x4097", "8x8x8", "-8", "8.5", True, [8, 8, 8], "a"])
def test_other_sizes_are_refused(text: object) -> None:
    with pytest.raises(RequestError, match="expected pixels a side from 4 to 4096, or height and width such as"):
        parse_image_size(text)


@pytest.mark.parametrize(("given", "kept"), [(8, 8), ("8", 8), ("8x12", "8x12"), ([8, 12], "8x12"), ("8x8", 8)])
def test_settings_keep_an_integer_for_squares(given: object, kept: object) -> None:
    assert load_config(None, {"max_latency": "60%", "space.input_size": given}).space.input_size == kept


def test_specs_of_rectangles() -> None:
    spec = SpaceSpec(name="s", input_size=(6, 10), num_classes=2)
    assert spec.input_shape == (3, 6, 10) and str(spec) == "s at 3x6x10, 2 classes, width 1"
    assert SpaceSpec(**json.loads(json.dumps(spec.as_dict()))) == spec
    square = SpaceSpec(name="s", input_size=(6, 6), num_classes=2)
    assert square.as_dict()["input_size"] == 6 and square.side == 6
    for wrong in ((6,), (6, 0), (6, 6, 6), "6", 6.0, True):
        with pytest.raises(SpaceError, match="input_size of a search space must be"):
            SpaceSpec(name="s", input_size=wrong, num_classes=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_built_in_spaces_are_of_squares(name: str) -> None:
    with pytest.raises(SpaceError, match=f"^{name} is for square images, got 32x64; give one number of both$"):
        make_space(SpaceSpec(name=name, input_size=(32, 64), num_classes=10))


def test_tables_keep_rectangles(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(SPACE)
    space = make_space(SpaceSpec(name=f"{tmp_path}/wide.py:wide", input_size=(6, 10), num_classes=2))
    save_table(synthetic_table(space), tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text())["table"]["space"]["input_size"] == [6, 10]
    assert load_table(tmp_path / "t.json").space == space.spec


def test_folders_are_cropped_to_the_shape(tmp_path: Path) -> None:
    _pictures(tmp_path, num=6)
    dataset = load_dataset("folder", tmp_path, input_size=(6, 10))
    assert dataset.input_size == (6, 10) and dataset.input_shape == (3, 6, 10)
    assert dataset.resized(None) is dataset and dataset.resized((6, 10)) is dataset
    assert dataset.resized((5, 5)).input_size == 5
    assert dataset.train.images().float().std() > 40  # both halves are there


def test_augmentations_keep_the_shape() -> None:
    images = torch.randint(0, 255, (20, 3, 6, 10), dtype=torch.uint8)
    changes = Augmentation(crop=0.5, shift=1, flip=True, operations=3, magnitude=0.5, cutout=2)
    changed, _ = augmented(images, torch.arange(20), changes, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape


def test_accuracy_of_models_of_rectangles(tmp_path: Path) -> None:
    _pictures(tmp_path / "data", num=10)
    dataset = load_dataset("folder", tmp_path / "data", input_size=(6, 10))
    halves = torch.nn.Sequential(torch.nn.AvgPool2d((6, 5)), torch.nn.Flatten(), torch.nn.Linear(6, 2))
    halves[2].weight.data = torch.tensor([[1.0, -1.0] * 3, [-1.0, 1.0] * 3])
    halves[2].bias.data.zero_()
    export_module(halves, tmp_path / "m.onnx", input_shapes=[(1, 3, 6, 10)])
    assert accuracy(tmp_path / "m.onnx", None, dataset) == 1.0


def test_models_of_any_size_are_compared_on_rectangles(tmp_path: Path) -> None:
    _pictures(tmp_path / "data", num=10)
    pooled = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    export_module(pooled, tmp_path / "fixed.onnx", input_shapes=[(1, 3, 6, 10)])
    model = onnx.load(tmp_path / "fixed.onnx")
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    onnx.save(model, tmp_path / "any.onnx")
    flags = ("--data", "folder", "--data-root", tmp_path / "data", "--input-size", "6x10", "--rounds", 2, "--json")
    outcome = run_cli("compare", tmp_path / "fixed.onnx", tmp_path / "any.onnx", *flags)
    assert outcome.code == 0, outcome.err
    fixed, free = json.loads(outcome.out)
    assert fixed["input"] == free["input"] == "float 1x3x6x10"
    assert (fixed["bound"], free["bound"]) == ({}, {"height": 6, "width": 10})
    assert fixed["accuracy"] == free["accuracy"] is not None


@pytest.mark.slow
@pytest.mark.usefixtures("no_tvm")
def test_a_run_on_rectangles_ends_in_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_runs(monkeypatch)
    _pictures(tmp_path / "data")
    (tmp_path / "wide.py").write_text(SPACE)
    name = f"{tmp_path}/wide.py:wide"
    space = make_space(SpaceSpec(name=name, input_size=(6, 10), num_classes=2))
    save_table(synthetic_table(space, scale_ns=1e8), tmp_path / "t.json")
    data = ("--data", "folder", "--data-root", tmp_path / "data", "--space", name, "--trust-code")
    few = ("--set", "search.finalists=2", "--set", "retrain.references=false")
    flags = ("--input-size", "6x10", "--epochs", 2, "--evaluations", 5, "--retrain-epochs", 4, "--quiet", *few)
    run = tmp_path / "run"
    found = run_cli("search", *data, *flags, "--lut", tmp_path / "t.json", "--max-latency", "80%", "--out", run)
    assert found.code == 0, found.err
    assert "at 6x10 px" in found.out
    again = run_cli("export", run, "-o", tmp_path / "bundle", "--quiet", "--trust-code")
    assert again.code == 0, again.err
    deployment = json.loads((tmp_path / "bundle" / "deployment.json").read_text())
    assert deployment["input"] == {"channels": 3, "height": 6, "width": 10}
    assert deployment["models"]["model.onnx"]["input_shape"] == [1, 3, 6, 10]
    assert "3 x 6 x 10" in (tmp_path / "bundle" / "README.md").read_text()
    picture = next((tmp_path / "data" / "right").iterdir())
    for model in ("model.onnx", "model.image.onnx"):
        command = [sys.executable, "-I", tmp_path / "bundle" / "predict.py", "--model", model, picture]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split(": ")[1].split()[0] in ("left", "right")


def test_tables_of_rectangles_are_measured(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(SPACE)
    flags = ("--input-size", "6x10", "--classes", 2, "--networks", 0, "--rounds", 2, "--trust-code", "--quiet")
    outcome = run_cli("profile", "--space", f"{tmp_path}/wide.py:wide", *flags, "-o", tmp_path / "t.json")
    assert outcome.code == 0, outcome.err
    assert load_table(tmp_path / "t.json").space.input_size == (6, 10)
    refused = run_cli("profile", "--input-size", "6by10", "-o", tmp_path / "u.json")
    _require_refused(refused, "expected pixels a side from 4 to 4096, or height and width such as 128x256")


def test_a_built_in_space_with_rectangles_is_refused_by_the_search(tmp_path: Path) -> None:
    refused = run_cli("search", "--input-size", "8x12", "--max-latency", "60%", "--out", tmp_path / "run")
    _require_refused(refused, "nasbench-macro is for square images, got 8x12")
    wrong = run_cli("search", "--input-size", "8by12", "--max-latency", "60%", "--out", tmp_path / "run")
    _require_refused(wrong, "space.input_size: expected pixels a side from 4 to 4096, or height and width such as")


def _require_refused(outcome: Outcome, words: str) -> None:
    assert outcome.code == 2 and words in outcome.err, outcome.err
