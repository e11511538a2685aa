"""What models say of themselves, and that they compute the same as before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from onnx_models.export import export_module
from onnx_models.half_precision import write_half_precision
from onnx_models.int8 import prepare, quantize
from onnx_models.metadata import ModelFacts, describe, properties_of
from onnx_models.pixels import with_preprocessing

FACTS = ModelFacts(
    task="classification",
    classes=("cat", "dög"),
    mean=(0.5, 0.25, 0.125),
    std=(0.2, 0.2, 0.1),
    metrics={"accuracy": 0.925, "likelihood": 0.8},
    hwnas_version="1.2.3",
)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """One small network in every form that bundles have, none described yet."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    names = ("model", "dynamic", "pixels", "image", "int8", "fp16", "prepared")
    paths = {name: tmp_path / f"{name}.onnx" for name in names}
    export_module(module, paths["model"], input_shapes=[(1, 3, 8, 8)])
    export_module(module, paths["dynamic"], input_shapes=[(1, 3, 8, 8)], dynamic_batch=True)
    with_preprocessing(paths["model"], paths["pixels"], mean=FACTS.mean, std=FACTS.std)
    with_preprocessing(paths["model"], paths["image"], mean=FACTS.mean, std=FACTS.std, any_size=True)
    prepare(paths["model"], paths["prepared"])
    batch = {"input": np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)}
    quantize(paths["prepared"], paths["int8"], [batch])
    write_half_precision(paths["model"], paths["fp16"])
    del paths["prepared"]
    return paths


def _without_words(path: Path) -> bytes:
    model = onnx.load(path)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    return model.SerializeToString(deterministic=True)


def test_models_tell_what_they_are_and_stay_as_they_were(models: dict[str, Path]) -> None:
    for name, path in models.items():
        before = _without_words(path)
        describe(path, FACTS)
        assert _without_words(path) == before, name
        found = properties_of(path)
        assert json.loads(found["classes"]) == ["cat", "dög"] and found["task"] == "classification"
        assert json.loads(found["mean"]) == [0.5, 0.25, 0.125] and json.loads(found["std"]) == [0.2, 0.2, 0.1]
        assert found["input_layout"] == "NCHW" and found["hwnas_version"] == "1.2.3" and found["accuracy"] == "0.925"
        assert json.loads(found["metrics"]) == {"accuracy": 0.925, "likelihood": 0.8}
        assert found["input_values"].startswith("pixels, 0") == (name in ("pixels", "image"))
        again = path.read_bytes()
        describe(path, FACTS)
        assert path.read_bytes() == again


def test_values_between_operators_have_shapes(models: dict[str, Path]) -> None:
    for name, path in models.items():
        describe(path, FACTS)
        graph = onnx.load(path).graph
        shapes = {v.name: v.type.tensor_type.shape.dim for v in graph.value_info}
        given = {output for node in graph.node for output in node.output} - {output.name for output in graph.output}
        assert given <= set(shapes), name
        (conv,) = (node for node in graph.node if node.op_type == "Conv")
        batch, *rest = shapes[conv.output[0]]
        assert [dim.dim_value for dim in rest] == [4, 6, 6]
        assert (batch.dim_param, batch.dim_value) == {"dynamic": ("batch", 0), "image": ("unk__0", 0)}.get(
            name, ("", 1)
        )


def test_what_others_wrote_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_module(nn.ReLU(), path, input_shapes=[(1, 3, 4, 4)])
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"author": "me", "task": "another"})
    onnx.save(model, path)
    describe(path, FACTS)
    assert properties_of(path)["author"] == "me" and properties_of(path)["task"] == "classification"
