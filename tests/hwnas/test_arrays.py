"""Arrays as data: images and windows of sensors, of bytes and of floats."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import own_networks
import pytest
import torch
from command_line import run_cli
from numpy.typing import NDArray
from samples import synthetic_table

import hwnas
from hwnas.dataflow import Augmentation, Batches, load_dataset
from hwnas.errors import RequestError
from hwnas.pipeline.inputs import fingerprint_of
from lut import save_table
from onnx_models.metadata import properties_of
from onnx_models.session import OnnxNetwork
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SHORT = ("--epochs", 2, "--evaluations", 4, "--retrain-epochs", 3, "--set", "retrain.references=false", "--quiet")


def _waves(num: int, *shape: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return noisy waves far from 0, whose frequency is their class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    time = np.arange(shape[-1]) * 2 * np.pi / shape[-1]
    waves = np.sin(time[None] * (1 + 2 * labels[:, None]) + rng.uniform(0, 6, (num, 1)))
    x = np.broadcast_to(waves.reshape(num, *[1] * (len(shape) - 1), shape[-1]), (num, *shape))
    return (1000 + 3 * (x + 0.1 * rng.normal(size=x.shape))).astype(np.float32), labels


def _write(path: Path, x: NDArray[Any], y: NDArray[Any], **others: NDArray[Any]) -> Path:
    cut = len(x) * 3 // 4
    np.savez_compressed(path, x_train=x[:cut], y_train=y[:cut], x_test=x[cut:], y_test=y[cut:], **others)
    return path


def test_windows_become_images_of_one_row_and_floats_stay_as_they_are(tmp_path: Path) -> None:
    x, y = _waves(40, 6, 32)
    dataset = load_dataset("arrays", _write(tmp_path / "w.npz", x, y, classes=np.array(["slow", "mid", "fast"])))
    assert dataset.classes == ("slow", "mid", "fast") and dataset.input_shape == (6, 1, 32)
    assert not dataset.is_of_pixels and dataset.augmentation == Augmentation()
    np.testing.assert_array_equal(dataset.train.images()[:, :, 0].numpy(), x[:30])
    turned = load_dataset("arrays-channels-last", _write(tmp_path / "t.npz", np.moveaxis(x, 1, 2), y))
    assert torch.equal(turned.train.images(), dataset.train.images()) and turned.classes == ("0", "1", "2")
    mean, std = dataset.channel_statistics()
    np.testing.assert_allclose(mean, x[:30].astype(np.float64).mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, x[:30].astype(np.float64).std(axis=(0, 2)), rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_of_floats_are_normalised_and_leave_the_data_alone(channels: int, tmp_path: Path) -> None:
    x, y = _waves(40, channels, 8, 8)
    dataset = load_dataset("arrays", _write(tmp_path / "x.npz", x, y))
    batches = Batches.of(dataset, dataset.train, 16)
    for _ in range(2):
        normalised = torch.cat([images for images, _ in batches.in_order()])
        torch.testing.assert_close(normalised.mean(dim=(0, 2, 3)), torch.zeros(channels), atol=1e-3, rtol=0)
        torch.testing.assert_close(normalised.std(dim=(0, 2, 3)), torch.ones(channels), atol=1e-2, rtol=0)
    np.testing.assert_array_equal(dataset.train.images().numpy(), x[:30])
    assert dataset.resized(4).input_size == 4 and float(dataset.resized(4).train.images().mean()) > 900


def test_parts_that_are_missing_are_made_and_said(tmp_path: Path) -> None:
    x, y = _waves(40, 1, 8, 8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y + 7)
    dataset = load_dataset("arrays", tmp_path)
    assert (len(dataset.train), len(dataset.test)) == (32, 8) and dataset.classes == ("7", "8", "9")
    assert "a fifth is set aside" in dataset.remarks[0]
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_val=x[:9], y_val=y[:9])
    dataset = load_dataset("arrays", tmp_path)
    assert len(dataset.test) == 9 and dataset.validation is None and "x_val is the test" in dataset.remarks[0]
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_val=x[:9], y_val=y[:9], x_test=x[:6], y_test=y[:6])
    dataset = load_dataset("arrays", tmp_path)
    assert dataset.validation is not None and (len(dataset.validation), len(dataset.test)) == (9, 6)


@pytest.mark.parametrize(
    ("shape", "is_told"),
    [((8, 9, 3), True), ((8, 9, 1), True), ((3, 8, 9), False), ((1, 3, 3), False), ((5, 8, 9), False)],
)
def test_channels_that_seem_to_come_last_are_told(shape: tuple[int, ...], is_told: bool, tmp_path: Path) -> None:
    x, y = np.zeros((40, *shape), np.uint8), np.arange(40) % 3
    path = _write(tmp_path / "x.npz", x, y)
    remarks = load_dataset("arrays", path).remarks
    assert [("arrays-channels-last" in remark, f"{shape[0]} channels" in remark) for remark in remarks] == [
        (True, True)
    ] * is_told
    assert not load_dataset("arrays-channels-last", path).remarks


def test_grey_images_of_bytes_need_no_channel(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
    for name in ("arrays", "arrays-channels-last"):
        dataset = load_dataset(name, _write(tmp_path / "g.npz", images, np.arange(20) % 2))
        assert dataset.is_of_pixels and dataset.input_shape == (1, 6, 5)
        np.testing.assert_array_equal(dataset.train.images()[:, 0].numpy(), images[:15])


def test_other_floats_are_other_data(tmp_path: Path) -> None:
    x, y = _waves(40, 1, 8, 8)
    before = fingerprint_of(load_dataset("arrays", _write(tmp_path / "a.npz", x, y)))
    same = fingerprint_of(load_dataset("arrays", _write(tmp_path / "b.npz", x.copy(), y)))
    other = fingerprint_of(load_dataset("arrays", _write(tmp_path / "c.npz", x + np.float32(0.01), y)))
    assert before.is_same(same) and not before.is_same(other)


def _refused(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    with pytest.raises(RequestError) as refused:
        load_dataset("arrays", path)
    return str(refused.value)


def test_what_is_no_data_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    x, y = _waves(12, 1, 8, 8)
    broken = x.copy()
    broken[5, 0, 3, 3] = np.nan
    test = {"x_test": x, "y_test": y}
    assert "expected x_train and y_train, found x" in _refused(path, x=x)
    assert "expected x_test and y_test together" in _refused(path, x_train=x, y_train=y, x_test=x)
    assert "found 11 and 12" in _refused(path, x_train=x, y_train=y[1:], **test)
    assert "integers [N], found float64" in _refused(path, x_train=x, y_train=y * 0.5, **test)
    assert "argmax" in _refused(path, x_train=x[:3], y_train=np.eye(3, dtype=np.int64)[:1].repeat(3, 0), **test)
    assert "others in entry 5" in _refused(path, x_train=broken, y_train=y, **test)
    assert "uint8 or float32, found int16" in _refused(path, x_train=x.astype(np.int16), y_train=y, **test)
    assert "the shape [12, 64]" in _refused(path, x_train=x.reshape(12, 64), y_train=y, **test)
    assert "labels 0 to 1 of its classes, found 0 to 2" in _refused(
        path, x_train=x, y_train=y, classes=np.array(["a", "b"]), **test
    )
    assert "no training entry has the labels [9]" in _refused(path, x_train=x, y_train=y, x_test=x, y_test=y * 0 + 9)
    assert "must be alike, got uint8 and float32" in _refused(
        path, x_train=x.astype(np.uint8), y_train=y, x_test=x, y_test=y
    )
    assert "found one number and one number" in _refused(path, x_train=np.uint8(3), y_train=np.int64(1))
    assert "found uint64 [12]" in _refused(path, x_train=x, y_train=np.full(12, 2**64 - 1, np.uint64), **test)
    assert "texts [K] that differ" in _refused(path, x_train=x, y_train=y, classes=np.array(["a", "b", "a"]), **test)
    with pytest.raises(RequestError, match="expected one npz file with x_train and y_train, found none"):
        load_dataset("arrays", tmp_path / "nowhere")


class _Runs:
    """Runs code as it is unpickled."""

    def __reduce__(self) -> Any:
        return (print, ("ran",))


def test_damaged_files_and_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    objects = np.array([_Runs()], dtype=object)
    assert "holds objects, which would be code" in _refused(path, x_train=objects, y_train=np.array([0]))
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(RequestError, match="is no npz file that can be read"):
        load_dataset("arrays", path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"1234")
    with pytest.raises(RequestError, match=r"is damaged: it is no float32 array of shape \(1000000000000,\)"):
        load_dataset("arrays", path)


def test_changes_that_need_pixels_are_refused_for_floats(tmp_path: Path) -> None:
    x, y = _waves(40, 1, 8, 8)
    path = _write(tmp_path / "x.npz", x, y)
    outcome = run_cli(
        *("search", "--data", "arrays", "--data-root", path, "--width", 0.25, "--max-latency", "80%"),
        *("--set", "data.augmentation={crop: 0.5}", "--out", tmp_path / "run"),
    )
    assert outcome.code == 2 and "crop is for images of pixels, 0 to 255, the data hold floats" in outcome.err


@pytest.mark.slow
@pytest.mark.usefixtures("no_tvm")
def test_a_search_on_floats_ends_in_a_bundle_without_what_is_for_pictures(tmp_path: Path) -> None:
    x, y = _waves(240, 2, 8, 8)
    path = _write(tmp_path / "x.npz", x, y)
    spec = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=2, num_classes=3, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(
        *("search", "--data", "arrays", "--data-root", path, "--width", 0.25, "--lut", tmp_path / "t.json"),
        *("--max-latency", "80%", *SHORT, "--set", "data.augmentation={shift: 1}", "--out", tmp_path / "run"),
    )
    assert outcome.code == 0, outcome.err
    outcome = run_cli("export", tmp_path / "run", "-o", tmp_path / "b", "--quiet")
    assert outcome.code == 0, outcome.err
    deployment = json.loads((tmp_path / "b" / "deployment.json").read_text())
    assert list(deployment["models"]) == ["model.onnx", "model.dynamic.onnx", "model.int8.onnx"]
    assert deployment["input_values"] == "floats" and not (tmp_path / "b" / "predict.py").exists()
    assert "values as the data have them, less the mean" in (tmp_path / "b" / "README.md").read_text()
    assert properties_of(tmp_path / "b" / "model.int8.onnx")["input_values"] == "(values - mean) / std"
    mean, std = (np.array(deployment["models"]["model.onnx"][key], np.float32) for key in ("mean", "std"))
    inputs = torch.from_numpy((x[180:] - mean[:, None, None]) / std[:, None, None])
    model = OnnxNetwork(tmp_path / "b" / "model.onnx")
    found = torch.cat([model(image[None]) for image in inputs])
    accuracy = float((found.argmax(dim=1).numpy() == y[180:]).mean())
    assert accuracy == pytest.approx(deployment["models"]["model.onnx"]["test_metrics"]["accuracy"], abs=0.02)
    with torch.no_grad():
        torch.testing.assert_close(hwnas.load_network(tmp_path / "b")(inputs), found, rtol=1e-4, atol=1e-4)


WINDOWS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2, 16, 5, 2, 2), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(32, 3)

    def forward(self, x):
        return self.head(self.layers(x.squeeze(2)).mean(2))


def build():
    return Net()
"""


@pytest.mark.slow
def test_a_network_for_windows_is_searched_and_loaded(tmp_path: Path) -> None:
    x, y = _waves(160, 2, 32)
    path = _write(tmp_path / "x.npz", x, y)
    model = own_networks.write_code(tmp_path, WINDOWS)
    flags = ("--data", "arrays", "--data-root", path, "--accept-table", "--set", "trust.extra_minutes=0")
    # It takes microseconds, so that noise may let no slice keep a share of its time.
    outcome = run_cli("search", "--model", model, *flags, "--max-latency", "50ms", *SHORT, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    module = hwnas.load_network(tmp_path / "run")
    window = torch.randn(1, 2, 1, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            module(window), OnnxNetwork(tmp_path / "run" / "export" / "model.onnx")(window), rtol=1e-4, atol=1e-4
        )
    outcome = run_cli("search", *flags, "--max-latency", "90%", "--out", tmp_path / "other")
    assert outcome.code == 2 and "is for square images, got 1x32" in outcome.err
