"""Archives of torch.export, checked before torch reads them: nothing in them is unpickled, evaluated or called.

torch.export.load unpickles example inputs and some weights, evaluates expressions of sizes as Python, writes names into
the source that it compiles, and takes any function of torch's for an operator. So every text is checked here, and a new
archive is made of what passed, without example inputs: only that is handed to torch.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from safe_files import FileError, open_regular, parse_json
from search_spaces.errors import SourceError
from search_spaces.traced.operator_kinds import IN_FILES, SIMPLIFIED

GRAPH = "models/model.json"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
EXAMPLES = "data/sample_inputs/model.pt"
KEPT = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|data/(weights/weight|constants/tensor)_\d+|"
    + "|".join(map(re.escape, (GRAPH, *CONFIGS)))
)

_DAMAGED = (
    zipfile.BadZipFile,
    struct.error,
    UnicodeDecodeError,
    OverflowError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)
"""What damaged archives make zipfile raise."""

MAX_GRAPH_BYTES = 1 << 28
"""Largest description of a graph; a network of a thousand layers has 2 MB."""

_NAME = re.compile(r"[\w.+:\-]{0,300}")
_EXPRESSION = re.compile(
    r"(?:Symbol\('[suz]f?\d++'(?:, (?:positive|integer|nonnegative|negative|real)=(?:True|False))*+\)|[suz]f?\d++|\d++|"
    r"Integer|Rational|Float|FloorDiv|PythonMod|ModularIndexing|Mod|CleanDiv|CeilToInt|Add|Mul|Pow|Max|Min|"
    r"Equality|Unequality|StrictLessThan|StrictGreaterThan|LessThan|GreaterThan|[-+*/(), <>=])*+",
    re.ASCII,
)
"""Sizes as sympy writes them: a handful of functions of symbols and numbers."""

_TREE = re.compile(
    r'(?:[\[\]{}:, ]|null|\d++|"(?:type|context|children_spec|null|\[\]|builtins\.(?:tuple|list|dict))")*+', re.ASCII
)
_TARGET = re.compile(
    r"torch\.ops\.aten\.\w+\.\w+|torch\.sym_\w+|"
    r"_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_)",
    re.ASCII,
)
_STRIDED = 7
"""The number of the one layout of tensors that networks use, as torch.export writes it."""

_TEXT_ARGUMENTS = ("equation", "approximate", "mode", "rounding_mode", "padding", "reduce", "indexing", "msg")
"""Arguments of operators that may be texts; others are names of files and the like."""


def checked(path: Path) -> io.BytesIO:
    """Return an archive of what is needed of a program, which torch can load.

    Raises:
        SourceError: it is no program of this version of torch, or holds what would have to be trusted.
        FileError: it cannot be opened.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _repacked(path, archive)
        except _DAMAGED as error:
            raise SourceError(f"{path} is no program of torch.export: {error}; save it again") from error


def _repacked(path: Path, archive: zipfile.ZipFile) -> io.BytesIO:
    entries = _entries(path, archive)
    graph = _json(path, archive, entries[GRAPH])
    graph["guards_code"] = []
    for node in _nodes(graph):
        node["metadata"] = {}
    _require_harmless(path, graph)
    for name in CONFIGS:
        _require_no_pickles(path, _json(path, archive, entries[name]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, entry in entries.items():
            content = _dumped(graph) if name == GRAPH else archive.read(entry)
            target.writestr(f"program/{name}", content)
        target.writestr(f"program/{EXAMPLES}", b"")
    buffer.seek(0)
    return buffer


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return what is kept, by its name below the archive's one folder."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.partition("/")[2]
        if not KEPT.fullmatch(name):
            continue
        if name in entries or entry.compress_type != zipfile.ZIP_STORED:
            raise SourceError(f"{path}: {name} is there twice or compressed, as torch does not write it; save it again")
        entries[name] = entry
    missing = [name for name in (GRAPH, *CONFIGS) if name not in entries]
    if missing:
        raise SourceError(
            f"{path} is no program as torch {torch.__version__} saves it: it has no {missing[0]}; save it again with "
            "torch.export.save of this version"
        )
    return entries


def _json(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> dict[str, Any]:
    if entry.file_size > MAX_GRAPH_BYTES:
        raise SourceError(f"{path}: {entry.filename} has {entry.file_size:,} bytes, expected {MAX_GRAPH_BYTES:,}")
    try:
        content = parse_json(archive.read(entry))
    except FileError as error:
        raise SourceError(f"{path}: {entry.filename} is not JSON: {error}; save it again") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path}: {entry.filename} holds no record; save it again")
    return content


def _dumped(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _nodes(content: object) -> Iterator[dict[str, Any]]:
    """Yield every record that has metadata, wherever it is."""
    if isinstance(content, dict):
        if "metadata" in content:
            yield content
        content = list(content.values())
    if isinstance(content, list):
        for inner in content:
            yield from _nodes(inner)


def _require_harmless(path: Path, graph: dict[str, Any]) -> None:
    _require_strided(path, graph)
    for key, text in _texts(graph, ""):
        if key == "target":
            _require_operator(path, text)
        elif key in ("as_string", "as_strings"):
            continue
        else:
            allowed = _EXPRESSION if key == "expr_str" else _TREE if key in ("in_spec", "out_spec") else _NAME
            if not allowed.fullmatch(text):
                raise SourceError(
                    f"{path}: {text[:60]!r} stands where torch.export writes a name or a size ({key}); the program is "
                    "damaged, has inputs other than one tensor, or was made to do harm"
                )


def _require_operator(path: Path, target: str) -> None:
    if not _TARGET.fullmatch(target):
        raise SourceError(
            f"{path} calls {target[:80]!r}, expected operators of torch's aten; bring the network as ./file.py:function"
        )
    if not target.startswith("torch.ops.aten."):
        return
    _, _, _, name, overload = target.split(".")
    try:
        operator = getattr(getattr(torch.ops.aten, name), overload)
        texts = [a.name for a in operator._schema.arguments if "str" in str(a.type) and a.name not in _TEXT_ARGUMENTS]
    except (AttributeError, RuntimeError) as error:
        raise SourceError(f"{path} calls {target}, which torch {torch.__version__} has not; save it again") from error
    if texts:
        raise SourceError(f"{path} calls {target} with the text {texts[0]!r}, which no network needs; bring its code")
    kind = name.removesuffix("_") if operator._schema.is_mutable else name
    if kind not in IN_FILES | SIMPLIFIED or (operator._schema.is_mutable and kind == name):
        raise SourceError(
            f"{path} calls {target}, which is not among the operators that a file may call; write that layer of other "
            "operators, or bring the network as ./file.py:function"
        )


def _require_strided(path: Path, content: object) -> None:
    """Raise SourceError where a tensor is to be laid out in another way, as sparse ones are."""
    if isinstance(content, dict):
        for key in ("layout", "as_layout"):
            if content.get(key, _STRIDED) != _STRIDED:
                raise SourceError(
                    f"{path} has a tensor of layout {content[key]!r}, expected dense ones alone; bring its code"
                )
        content = list(content.values())
    if isinstance(content, list):
        for inner in content:
            _require_strided(path, inner)


def _texts(content: object, key: str) -> Iterator[tuple[str, str]]:
    """Yield all texts with the names that they stand under, and the names themselves."""
    if isinstance(content, str):
        yield key, content
    elif isinstance(content, dict):
        for name, inner in content.items():
            yield "name", name
            yield from _texts(inner, name)
    elif isinstance(content, list):
        for inner in content:
            yield from _texts(inner, key)


def _require_no_pickles(path: Path, config: dict[str, Any]) -> None:
    payloads = config.get("config")
    if not isinstance(payloads, dict):
        raise SourceError(f"{path} does not say where its weights are; save it again")
    for name, payload in payloads.items():
        is_plain = isinstance(payload, dict) and payload.get("use_pickle") is False
        if not is_plain or not re.fullmatch(r"(weight|tensor)_\d+", str(payload.get("path_name")), re.ASCII):
            raise SourceError(
                f"{path}: {name[:80]} is pickled, which may run code; bring the network as ./file.py:function with its "
                "weights"
            )
