"""Weights that ONNX files keep in other files beside them: their size, their hash, and how they travel along."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import uses_external_data

from safe_files import sha256_of


def external_files(path: Path) -> list[Path]:
    """Return the files that hold weights of a model; none of what is no ONNX file.

    Files that are not in the model's folder are left out: runtimes refuse them, and they are nobody's to copy.
    """
    return sorted({file for _, file in _references(path, _parsed(path))})


def size_bytes(path: Path) -> int:
    """Return bytes of a model's file and of those that hold its weights."""
    return sum(file.stat().st_size for file in (path, *external_files(path)))


def content_hash(path: Path) -> str:
    """Return SHA-256 of a model's file; where it has weights elsewhere, of the hashes of all its files."""
    hashes = [sha256_of(file) for file in (path, *external_files(path))]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def parcel(path: Path, scratch: Path) -> dict[str, Path]:
    """Return what to copy for a file to be opened elsewhere, by names to copy it under; the file itself comes last.

    Names tell the content, so that files of one name from different folders can lie side by side, and what is there
    already can be found. A model with weights in other files is written anew, to look for them under those names.

    Args:
        scratch: a folder for the model that is written anew.
    """
    model = _parsed(path)
    files = {}
    for tensor, file in _references(path, model):
        name = _travelling_name(file)
        files[name] = file
        next(entry for entry in tensor.external_data if entry.key == "location").value = name
    if files:
        draft = scratch / f"draft{path.suffix}"
        onnx.save(model, draft)
        path = draft.rename(scratch / _travelling_name(draft))
    return {**files, _travelling_name(path): path}


def _travelling_name(path: Path) -> str:
    # Names of weights come from a file that somebody made; these go through the shells of boards.
    suffix = path.suffix if re.fullmatch(r"\.[A-Za-z0-9_]+", path.suffix) else ""
    return f"{sha256_of(path)[:24]}{suffix}"


def _parsed(path: Path) -> ModelProto:
    """Return the model without its weights in other files; an empty one of what is no ONNX file."""
    try:
        return onnx.load(path, load_external_data=False)
    except DecodeError:
        return ModelProto()


def _references(path: Path, model: ModelProto) -> Iterator[tuple[TensorProto, Path]]:
    """Yield the tensors that lie in other files, and those files."""
    folder = path.resolve().parent
    functions = (node for function in model.functions for node in function.node)
    for tensor in (*_tensors(model.graph), *_constants(functions)):
        if uses_external_data(tensor):
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            file = path.parent / location
            if file.is_file() and file.resolve().is_relative_to(folder):
                yield tensor, file


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _constants(graph.node)


def _constants(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yield the tensors among the attributes of nodes, and those of the graphs there."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _tensors(graph)
