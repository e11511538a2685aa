"""The replaceable parts: built-ins by name, and one's own by where they are."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hwnas.errors import RequestError
from search_spaces.importing import ImportReferenceError, find_part

KINDS: Mapping[str, tuple[str, str]] = {
    "space": ("search_spaces", "SPACES"),
    "block": ("search_spaces.yaml_space", "FAMILIES"),
    "agent": ("hwnas.agents", "TASKS"),
    "criterion": ("hwnas.criteria", "CRITERIA"),
    "dataflow": ("hwnas.dataflow", "DATAFLOWS"),
    "training-strategy": ("hwnas.training", "STRATEGIES"),
    "search-agent": ("hwnas.search", "AGENTS"),
    "evaluator": ("hwnas.evaluators", "EVALUATORS"),
    "profiler-worker": ("profilers.transport", "WORKERS"),
}
"""Where the built-ins of each kind of part are."""


def built_ins(kind: str) -> Mapping[str, Any]:
    """The built-ins of a kind by name.

    Raises:
        RequestError: there is no such kind.
    """
    if kind not in KINDS:
        raise RequestError(f"unknown kind of part {kind!r}; there are: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: Mapping[str, Any] = getattr(import_module(module), name)
    return found


def find(kind: str, name: str) -> Callable[..., Any]:
    """The part of that kind: a built-in's name, `./file.py:Name` or `package.module:Name`.

    Raises:
        RequestError: there is none.
    """
    try:
        found: Callable[..., Any] = find_part(kind.replace("-", " "), name, built_ins(kind))
    except ImportReferenceError as error:
        raise RequestError(str(error)) from error
    return found


def summary_line(part: object) -> str:
    """The first line of a part's documentation."""
    if isinstance(part, Path):
        text = ast.get_docstring(ast.parse(part.read_text(encoding="utf-8"))) or ""
    else:
        text = inspect.getdoc(part) or ""
    return text.partition("\n")[0]
