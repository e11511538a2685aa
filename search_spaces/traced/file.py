"""Files of networks that were brought: graph, weights, and what of them can be chosen. Nothing in them is code."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save

from onnx_models.image_size import image_size
from safe_files import expanded, parse_json, replacing
from search_spaces.errors import SpaceError
from search_spaces.space import SpaceSpec
from search_spaces.traced.graph import Argument, Graph, Node, PerImage, Ref, Tensor, TracedNetwork
from search_spaces.traced.ladder import Pins
from search_spaces.traced.network_check import require_fitting
from search_spaces.traced.resolutions import Resolution
from search_spaces.traced.space import TracedSpace

FORMAT = "hwnas-network"
VERSION = 1
WITH_RESOLUTIONS = 2
"""The version of files of networks for several resolutions; of one they are as they always were."""

NETWORK = "hwnas-graph"
"""The name of the record in files of a network alone, of which nothing can be chosen."""

DAMAGE = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError, RuntimeError)
"""What is raised where a record is not as `save_space` writes it, by torch too."""


def save_space(space: TracedSpace, path: Path) -> None:
    """Write a space of a network that was brought into a file, whole or not at all.

    Raises:
        WriteError: there is no room for it, or nothing may be written there.
    """
    others = space.resolutions.others
    record = {
        "version": WITH_RESOLUTIONS if others else VERSION,
        "spec": space.spec.as_dict(),
        "graph": _written(space.network.graph),
        "freeze": space.pins.freeze,
        "shares": space.pins.shares,
        "step": space.pins.step,
        "ranks": space.elastic.ranks,
    }
    if others:
        record["resolutions"] = [{"size": r.size, "graph": _written(r.graph)} for r in others]
    _save(path, space.network, {FORMAT: json.dumps(record, allow_nan=False)})


def save_network(network: TracedNetwork, path: Path) -> None:
    """Write a network alone into a file, its graph and its weights, whole or not at all.

    Any reader of safetensors finds the weights there under the names that they have in the module.

    Raises:
        WriteError: there is no room for it, or nothing may be written there.
    """
    record = {"version": 1, "graph": _written(network.graph)}
    _save(path, network, {"format": "pt", NETWORK: json.dumps(record, allow_nan=False)})


def read_network(path: Path) -> TracedNetwork:
    """Return the network that a file holds which `save_network` wrote, once it proves to be one that can be run.

    Raises:
        SpaceError: there is no such file, or it is damaged.
    """
    record, values = _read(path, NETWORK)
    try:
        network = TracedNetwork(graph=_graph(record["graph"]), values=values)
        require_fitting(network)
    except DAMAGE as error:
        raise SpaceError(f"{path} is damaged: {_in_words(error)}") from error
    return network


def _save(path: Path, network: TracedNetwork, records: dict[str, str]) -> None:
    tensors = {name: value.detach().contiguous().clone() for name, value in network.values.items()}
    with replacing(path) as draft:
        draft.write_bytes(save(tensors, records))


def traced_space(spec: SpaceSpec) -> TracedSpace:
    """Return the space that the file named by a spec holds, under the name that its tables have.

    Images, classes and width must be the file's own.

    Raises:
        SpaceError: there is no such file, it is damaged, or the spec asks for something else.
    """
    path = expanded(Path(spec.name))
    record, values = _read(path)
    try:
        own = SpaceSpec(**record["spec"])
        pins = Pins(freeze=tuple(record["freeze"]), shares=tuple(record["shares"]), step=record["step"])
        network = TracedNetwork(graph=_graph(record["graph"]), values=values)
        require_fitting(network)
        ranks = tuple(tuple(int(unit) for unit in group) for group in record["ranks"])
        space = TracedSpace(own, network, pins, ranks, _resolutions(record, values))
    except DAMAGE as error:
        raise SpaceError(f"{path} is damaged: {_in_words(error)}; make it again with hwnas convert") from error
    if replace(spec, name=own.name) != own:
        raise SpaceError(f"{path} is {own}; this asks for {replace(spec, name=own.name)}")
    return space


def spec_in(path: Path) -> SpaceSpec:
    """Return the spec of the space that a file holds, under the name that its tables have.

    Raises:
        SpaceError: there is no such file, or it is damaged.
    """
    record, _ = _read(expanded(path))
    try:
        return SpaceSpec(**record["spec"])
    except DAMAGE as error:
        raise SpaceError(f"{path} is damaged: {_in_words(error)}; make it again with hwnas convert") from error


def _read(path: Path, kind: str = FORMAT) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(kind)
            if text is None:
                raise SpaceError(
                    f"{path} holds weights alone, expected a network and its graph: make it with hwnas convert, or "
                    "give the network with --model and these with --weights"
                )
            record = parse_json(text)
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise SpaceError(f"no file {path}; make it with hwnas convert") from error
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(f"{path} cannot be read: {error}; make it again with hwnas convert") from error
    if not isinstance(record, dict) or record.get("version") not in (VERSION, WITH_RESOLUTIONS):
        raise SpaceError(f"{path} is of another version; make it again with hwnas convert")
    return record, values


def _resolutions(record: dict[str, Any], values: dict[str, torch.Tensor]) -> tuple[Resolution, ...]:
    """Return the network at other resolutions, once it proves to be one that can be run."""
    found = []
    for entry in record.get("resolutions", ()):
        size, graph = entry["size"], _graph(entry["graph"])
        require_fitting(TracedNetwork(graph=graph, values=values))
        found.append(Resolution(size=size if isinstance(size, int) else image_size(*map(int, size)), graph=graph))
    return tuple(found)


def _in_words(error: Exception) -> str:
    """Return the first line of what an error says."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


def _written(graph: Graph) -> dict[str, Any]:
    return {
        "inputs": [[name, [_plain(size) for size in shape]] for name, shape in graph.inputs],
        "tensors": [[t.name, list(t.shape), t.is_trained, t.dtype] for t in graph.tensors],
        "nodes": [
            [n.name, n.op, [_plain(a) for a in n.args], None if n.shape is None else [_plain(s) for s in n.shape]]
            for n in graph.nodes
        ],
        "output": graph.output,
    }


def _graph(record: Any) -> Graph:
    return Graph(
        inputs=tuple((str(name), _sizes(shape)) for name, shape in record["inputs"]),
        tensors=tuple(
            Tensor(name=str(name), shape=tuple(int(s) for s in shape), is_trained=bool(is_trained), dtype=str(dtype))
            for name, shape, is_trained, dtype in record["tensors"]
        ),
        nodes=tuple(
            Node(
                name=str(name),
                op=str(op),
                args=tuple(_argument(a) for a in args),
                shape=None if shape is None else _sizes(shape),
            )
            for name, op, args, shape in record["nodes"]
        ),
        output=str(record["output"]),
    )


def _sizes(shape: Any) -> tuple[Any, ...]:
    sizes = tuple(_argument(size) for size in shape)
    if not all(isinstance(size, int | PerImage) for size in sizes):
        raise ValueError(f"{shape} is no shape")
    return sizes


def _plain(argument: Argument) -> Any:
    if isinstance(argument, Ref):
        return {"value": argument.name}
    if isinstance(argument, PerImage):
        return {"per_image": argument.times}
    if isinstance(argument, float) and not math.isfinite(argument):
        return {"number": str(argument)}  # JSON has none
    return [_plain(inner) for inner in argument] if isinstance(argument, tuple) else argument


def _argument(plain: Any) -> Argument:
    if isinstance(plain, list):
        return tuple(_argument(inner) for inner in plain)
    if isinstance(plain, dict):
        ((kind, value),) = plain.items()
        if kind == "number" and value in ("inf", "-inf", "nan"):
            return float(value)
        if kind not in ("value", "per_image"):
            raise ValueError(f"{plain!r} is no argument")
        return Ref(str(value)) if kind == "value" else PerImage(int(value))
    if plain is None or isinstance(plain, int | float | str):
        return plain
    raise ValueError(f"{plain!r} is no argument")
