"""Which code may be run because a name says where it is.

Programs that name components themselves know what they name. A command line reads names from files too, which
somebody else may have written: it limits code to what its user named, unless the user trusts the rest too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

OWN_PACKAGES = ("hwnas", "lut", "onnx_models", "profilers", "safe_files", "search_spaces")


class UntrustedCodeError(Exception):
    """Code that nobody asked for by name."""


@dataclass(slots=True)
class _Limit:
    """Identities of the code that this process may run; None for everything."""

    allowed: frozenset[str] | None = None


_LIMIT = _Limit()


@contextmanager
def code_limited_to(arguments: Iterable[str]) -> Iterator[None]:
    """Run only code that one of these arguments names meanwhile, alone or after `--option=` or `--set name=`."""
    values = {value for argument in arguments for value in (argument, argument.rpartition("=")[2])}
    before = _LIMIT.allowed
    _LIMIT.allowed = frozenset(_identity(value.rpartition(":")[0]) for value in values if ":" in value)
    try:
        yield
    finally:
        _LIMIT.allowed = before


def is_file(where: str) -> bool:
    """Return whether the first part of a reference is a file, rather than a module."""
    return where.endswith(".py")


def require_trusted(name: str, where: str) -> None:
    """Pass what may be run: everything installed, and the files that were named.

    A module that stands in the current folder is a file like any other.

    Raises:
        UntrustedCodeError: it is a file of code that only another file names.
    """
    if _LIMIT.allowed is None or _identity(where) in _LIMIT.allowed:
        return
    if is_file(where) or _is_in_current_folder(where):
        raise UntrustedCodeError(
            f"{name} would run the code in {where}, which a file names, not the command line: "
            "read it, and give --trust-code to run it"
        )


def is_standard(module: str) -> bool:
    """Return whether a module is Python's own."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top == "__main__"


def _identity(where: str) -> str:
    return str(Path(os.path.expanduser(where)).resolve()) if is_file(where) else where  # noqa: PTH111 - never raises


def _is_in_current_folder(module: str) -> bool:
    top = module.partition(".")[0]
    if not top or top in OWN_PACKAGES:
        return False
    spec = importlib.util.find_spec(top)
    if spec is None:
        return False
    places = list(spec.submodule_search_locations or ()) or [spec.origin or ""]
    return any(Path(place).resolve().parent == Path.cwd() for place in places)
