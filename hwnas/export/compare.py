"""Any ONNX classifiers side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from hwnas.dataflow import Dataset
from hwnas.errors import RequestError
from hwnas.export.session import OnnxNetwork
from hwnas.profiling import measure_networks
from hwnas.progress import Reporter
from profilers import Device
from search_spaces import ExportError, SpaceError
from search_spaces.memory import graph_memory


def compare_models(
    paths: Sequence[Path], device: Device, *, dataset: Dataset | None, rounds: int, seed: int, reporter: Reporter
) -> list[dict[str, Any]]:
    """Size, memory, latency measured interleaved on the device, and accuracy where test data are given.

    Models of pixels (uint8) are given the images as they are, all others normalised ones.

    Raises:
        RequestError: a file is no model of one input and one output, or does not take the data's images.
        RunError: the device cannot run one of them.
    """
    networks = {path: _opened(path) for path in paths}
    with tempfile.TemporaryDirectory() as scratch:
        latencies = measure_networks(
            {str(path): path for path in paths},
            device,
            Path(scratch) / "journal",
            rounds=rounds,
            seed=seed,
            reporter=reporter,
        )
    rows = []
    for path, network in networks.items():
        row: dict[str, Any] = {
            "model": str(path),
            "input": f"{network.input.type.removeprefix('tensor(').rstrip(')')} "
            + "x".join(map(str, network.input.shape)),
            "size_bytes": path.stat().st_size,
            "peak_memory_bytes": _memory(path),
            "latency_ms": latencies[str(path)].latency_ms,
        }
        if dataset is not None:
            row["accuracy"] = _accuracy(path, network, dataset)
        rows.append(row)
    return rows


def _opened(path: Path) -> OnnxNetwork:
    if not path.is_file():
        raise RequestError(f"no file {path}")
    try:
        network = OnnxNetwork(path)
    except Exception as error:  # onnxruntime raises a class of its own for every kind of damage
        raise RequestError(f"{path} is no ONNX model that can be opened: {str(error).splitlines()[0]}") from error
    if not network.has_fixed_shape:
        raise RequestError(f"{path} has no fixed batch and size, which latencies need: compare model.onnx instead")
    return network


def _memory(path: Path) -> int | None:
    """Weights and activations at their peak; None for graphs that this cannot be told of."""
    try:
        model = onnx.load(path)
        if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
            return None  # what is stored as int8 and computed as float depends on the runtime
        memory = graph_memory(model)
    except (DecodeError, SpaceError, ExportError, KeyError, ValueError, AttributeError):
        return None
    return int(memory.weight_bytes + memory.activation_bytes)


def _accuracy(path: Path, network: OnnxNetwork, dataset: Dataset) -> float:
    wanted = [dataset.in_channels, dataset.input_size, dataset.input_size]
    if list(network.input.shape[1:]) != wanted:
        raise RequestError(
            f"{path} takes {'x'.join(map(str, network.input.shape[1:]))}, {dataset.name} has "
            f"{'x'.join(map(str, wanted))}: give --input-size, or other data"
        )
    batches = network.test_batches(dataset)
    correct = sum(int((network(images).argmax(dim=1) == targets).sum()) for images, targets in batches)
    return correct / len(dataset.test)
