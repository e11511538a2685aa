"""A bundle's network for torch: its graph and its weights in one safetensors file, without code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import nn

from hwnas.errors import RequestError, RunError
from onnx_models.session import OnnxNetwork
from safe_files import sha256_of
from search_spaces import SpaceError
from search_spaces.traced.file import read_network, save_network
from search_spaces.traced.network import GraphNetwork
from search_spaces.traced.trace import trace

MODULE = "model.safetensors"
"""The file's name in a bundle."""

TOLERANCE = 1e-4
"""Difference of the outputs of what is written from those of the ONNX model, relative to the largest of them."""


def write_module(
    module: nn.Module, input_shape: tuple[int, ...], folder: Path, tell: Callable[[str], None]
) -> dict[str, str]:
    """Write a network's graph and weights into a folder, and return the file's hash by its name.

    A network that torch.export cannot trace, or that computes something else than the folder's `model.onnx`, has no
    such file, which is told; its ONNX models do without.

    Args:
        module: as it is deployed, in evaluation mode.
        input_shape: of one image, without the batch.

    Raises:
        WriteError: there is no room for it.
    """
    try:
        traced = trace(module, input_shape)
        _require_same(OnnxNetwork(folder / "model.onnx"), GraphNetwork(traced.graph, traced.values).eval(), input_shape)
    except SpaceError as error:
        tell(f"no {MODULE} for torch: {error}")
        return {}
    save_network(traced, folder / MODULE)
    return {MODULE: sha256_of(folder / MODULE)}


def _require_same(model: OnnxNetwork, module: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise SpaceError unless a module computes what a model computes, on random images."""
    images_NCHW = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = module(images_NCHW)
    expected = model(images_NCHW)
    difference = float((expected - found).abs().max()) / max(float(expected.abs().max()), 1e-12)
    if not difference <= TOLERANCE:
        raise SpaceError(
            f"it computes something else than model.onnx: outputs differ by {difference:.2g} of the largest, expected "
            f"{TOLERANCE:g} at most; are the weights in the run's folder others than it was exported from?"
        )


def read_module(folder: Path, hashes: Mapping[str, str]) -> nn.Module:
    """Return the network in a bundle's file, in evaluation mode.

    Args:
        hashes: of the file, as the bundle says.

    Raises:
        RequestError: the bundle has no such file.
        RunError: it is another than the one that was written, or damaged.
    """
    path = folder / MODULE
    if MODULE not in hashes:
        raise RequestError(
            f"{folder} has no {MODULE}: an earlier version wrote it, or its network could not be traced; give the "
            "run's folder, or write the bundle again with hwnas export"
        )
    if not path.is_file() or sha256_of(path) != hashes[MODULE]:
        found = "another one" if path.is_file() else "none"
        raise RunError(f"{path} is not the file that deployment.json tells of: found {found}; restore a copy of it")
    try:
        network = read_network(path)
    except SpaceError as error:
        raise RunError(f"{error}; write the bundle again with hwnas export") from error
    return GraphNetwork(network.graph, network.values).eval()
