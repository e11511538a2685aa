"""Parts of one's own, named by where they are."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


class ImportReferenceError(Exception):
    """A name that stands for nothing."""


def is_reference(name: str) -> bool:
    """Whether a name says where a part is, rather than which built-in it is."""
    return ":" in name


def find_part(kind: str, name: str, built_in: Mapping[str, Any]) -> Any:
    """The built-in of that name, or what `package.module:Name` or `./file.py:Name` says.

    Importing runs the module's code, as naming one's own code has to.

    Raises:
        ImportReferenceError: there is no such built-in, module or attribute, or the module fails.
    """
    if name in built_in:
        return built_in[name]
    if not is_reference(name):
        raise ImportReferenceError(
            f"unknown {kind} {name!r}; there are: {', '.join(sorted(built_in))}; or name your own as "
            "./file.py:Name or package.module:Name"
        )
    where, _, attribute = name.rpartition(":")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:  # whatever the user's module raises
        raise ImportReferenceError(f"cannot import {kind} {name}: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ImportReferenceError(f"{where} has no {attribute!r}, which {kind} {name} names")
    return getattr(module, attribute)


def _import_file(path: Path) -> ModuleType:
    resolved = path.resolve()
    name = f"hwnas_user_{resolved.stem}_{abs(hash(str(resolved)))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None or not resolved.is_file():
        raise ImportReferenceError(f"no file {path}")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
