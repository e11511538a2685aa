"""What a run and others wrote, damaged: read strictly, and never more of it than it can be."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzed_kinds import KINDS, NETWORK

from hwnas.artifacts import Summary
from hwnas.errors import RequestError, RunError
from hwnas.evaluators.npz_columns import ArrayError, read_columns
from hwnas.evaluators.tabular import load_tabular
from hwnas.records import read_record
from hwnas.run_folder import ExportFiles
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.trainer import epochs_of


def _npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def _npz(path: Path, **columns: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in columns.items():
            archive.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize(
    "column",
    [
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}"),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 1000000000)}"),
        _npy("{'descr': '<U1000000000', 'fortran_order': False, 'shape': (3,)}"),
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", b"cos\nsystem\n"),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", bytes(23)),
        _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,)}", bytes(10**8)),
        _npy("{'descr': " + "[" * 50),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"",
    ],
)
def test_columns_that_claim_gigabytes_or_are_none_are_refused(column: bytes, tmp_path: Path) -> None:
    with pytest.raises(ArrayError, match="expected 3 rows"):
        read_columns(_npz(tmp_path / "b.npz", x=column), length=3)


def test_columns_are_read(tmp_path: Path) -> None:
    written = {"x": np.array([1.0, 2.0, 3.0]), "name": np.array(["a", "bc", "d"])}
    np.savez(tmp_path / "b.npz", **written)
    read = read_columns(tmp_path / "b.npz", length=3)
    assert read.keys() == written.keys() and all((read[name] == written[name]).all() for name in written)


@pytest.mark.parametrize("accuracy", ["NaN", "Infinity", "-1", "101", '"90"', "true", "null", "1e999", "[" * 1000])
def test_accuracies_that_mean_nothing_are_refused(accuracy: str, tmp_path: Path) -> None:
    KINDS["macro"].make(tmp_path)
    text = (tmp_path / "b.json").read_text().replace("90.0", accuracy, 1)
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(RequestError, match="cannot read the benchmark"):
        load_tabular(tmp_path / "b.json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 101.0])
def test_npz_accuracies_that_mean_nothing_are_refused(value: float, tmp_path: Path) -> None:
    KINDS["npz"].make(tmp_path)
    columns = dict(np.load(tmp_path / "b.npz"))
    columns["val_acc_cifar10"][7] = value
    np.savez(tmp_path / "b.npz", **columns)
    with pytest.raises(RequestError, match="val_acc_cifar10: expected numbers from 0 to 100"):
        load_tabular(tmp_path / "b.npz")


def _header(path: Path, header: bytes, size: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _header(path, b"{}", 2**60),
        lambda path: _header(path, b'{"x":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        lambda path: _header(path, b"[" * 100_000),
        lambda path: save_checkpoint(path, {"x": torch.ones(1)}, {"epochs": [["0", 1, 1, 1]]}),
        lambda path: save_checkpoint(path, {"x": torch.ones(1)}, {"epochs": [[]]}),
        lambda path: save_checkpoint(path, {"x": torch.ones(1)}, {}),
        lambda path: path.write_bytes(b""),
        lambda path: path.mkdir(),
        os.mkfifo,
    ],
)
def test_damaged_checkpoints_are_refused(damage: Callable[[Path], None], tmp_path: Path) -> None:
    damage(tmp_path / "c.safetensors")
    with pytest.raises(RunError, match=r"c\.safetensors .*remove it to train again"):
        load_checkpoint(tmp_path / "c.safetensors")
        epochs_of(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test_accuracy", "0.9"),
        ("measured_ms", -1),
        ("params", 1.5),
        ("budget_kept", 1),
        ("winners", []),
        ("parity", {}),
    ],
)
def test_damaged_summaries_are_refused(name: str, value: object, tmp_path: Path) -> None:
    KINDS["results"].make(tmp_path)
    path = tmp_path / "summary.json"
    read_record(Summary, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(RunError, match=f"summary.json is damaged: {name}"):
        read_record(Summary, path)


@pytest.mark.parametrize("networks", [None, [], {"winner": {}}, {"winner": {**NETWORK, "measured_ms": 0}}])
def test_damaged_results_are_refused(networks: object, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"parity": {}, "networks": networks}))
    with pytest.raises(RunError, match=r"result\.json is damaged: .* remove it to export again"):
        ExportFiles(tmp_path).read_result()
