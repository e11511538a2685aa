"""Weights in other files: counted, hashed and copied with their models."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from small_models import save_chain, save_graph, value

from onnx_models.external_data import content_hash, external_files, parcel, size_bytes
from profilers import Device, Model, Profiler

COPYING = Device(
    name="phone", runtime="onnxruntime", command=("env", sys.executable), copy=("cp", "{local}", "{remote}")
)


def test_weights_count_wherever_they_lie(tmp_path: Path) -> None:
    inside, outside = (tmp_path / name / "m.onnx" for name in ("inside", "outside"))
    for path in (inside, outside):
        path.parent.mkdir()
    save_chain(inside, (1, 4096))
    save_chain(outside, (1, 4096), location="w.bin")
    assert external_files(inside) == [] and external_files(outside) == [outside.with_name("w.bin")]
    assert size_bytes(inside) == inside.stat().st_size
    assert size_bytes(outside) == outside.stat().st_size + 4 * 4096


def test_weights_of_constants_and_branches_are_found(tmp_path: Path) -> None:
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(np.ones(4, np.float32).tobytes())

    def constant(location: str) -> onnx.NodeProto:
        tensor = numpy_helper.from_array(np.ones(4, np.float32))
        onnx.external_data_helper.set_external_data(tensor, location)
        tensor.ClearField("raw_data")
        return helper.make_node("Constant", [], ["y"], value=tensor)

    branches = [helper.make_graph([constant(name)], "b", [], [value("y", [4])]) for name in ("a.bin", "b.bin")]
    chosen = helper.make_node("If", ["x"], ["y"], then_branch=branches[0], else_branch=branches[1])
    path = save_graph(tmp_path / "m.onnx", [chosen], [value("x", [], onnx.TensorProto.BOOL)], [value("y", [4])])
    assert [file.name for file in external_files(path)] == ["a.bin", "b.bin"]


def test_the_hash_is_of_all_files(tmp_path: Path) -> None:
    path = save_chain(tmp_path / "m.onnx", (1, 8), location="w.bin")
    before, model = content_hash(path), path.read_bytes()
    (tmp_path / "w.bin").write_bytes(np.full(8, 2, np.float32).tobytes())
    assert path.read_bytes() == model and content_hash(path) != before


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "absent.bin"])
def test_files_elsewhere_are_not_followed(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(4096))
    (tmp_path / "model").mkdir()
    path = save_chain(tmp_path / "model" / "m.onnx", (1, 8), location="w.bin")
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    onnx.save(model, path)
    assert external_files(path) == []
    assert list(parcel(path, tmp_path).values()) == [path]


@pytest.mark.parametrize("name", ["w.bin", "w; touch owned.$(x)", "wéights.onnx_data", "-rf", "sub/w.bin"])
def test_parcels_open_wherever_they_lie(name: str, tmp_path: Path) -> None:
    for folder in ("model/sub", "scratch", "board"):
        (tmp_path / folder).mkdir(parents=True)
    path = save_chain(tmp_path / "model" / "m.onnx", (1, 8), location=name, bias=3.0)
    files = parcel(path, tmp_path / "scratch")
    assert len(files) == 2
    for remote, file in files.items():
        assert all(c.isalnum() or c in "._" for c in remote)
        (tmp_path / "board" / remote).write_bytes(file.read_bytes())
    there = onnx.load(tmp_path / "board" / list(files)[-1])
    assert numpy_helper.to_array(there.graph.initializer[0]).tolist() == [3.0] * 8


@pytest.mark.parametrize("content", [b"", b"no model", bytes(100), b"\x0a\x03abc"])
def test_what_is_no_model_is_one_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "worker.py"
    path.write_bytes(content)
    assert size_bytes(path) == len(content)
    assert list(parcel(path, tmp_path).values()) == [path]


def test_a_device_behind_a_command_gets_the_weights_too(tmp_path: Path) -> None:
    (tmp_path / "phone").mkdir()
    models = []
    for number in range(2):  # of the same name, with weights of the same name
        folder = tmp_path / str(number)
        folder.mkdir()
        path = save_chain(folder / "m.onnx", (1, 8), location="w.bin", bias=float(number))
        models.append(Model(key=str(number), path=path))
    device = replace(COPYING, folder=str(tmp_path / "phone"))
    result = Profiler(device=device, rounds=2).measure(models, tmp_path / "journal")
    assert [m.num_samples for m in result.measurements] == [2, 2]
    assert len(list((tmp_path / "phone").iterdir())) == 7  # the worker in three files, and four files of models
