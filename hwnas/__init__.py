"""Hardware-aware neural architecture search: from a latency budget on your device to a verified ONNX model.

The names here are imported when they are used, so that `import hwnas` is quick. `docs/api.md` tells how to use them.
"""

import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from inspect import Signature

    from hwnas.api.loop import optimize
    from hwnas.api.result import Evaluations, Network, Result
    from hwnas.api.searching import open_run, resume, search, search_from, train
    from hwnas.api.spaces import convert, space
    from hwnas.api.study import Study
    from hwnas.api.table import LatencyTable, load_table, profile
    from hwnas.api.tools import compare, explain, predict
    from hwnas.callbacks import Callback
    from hwnas.dataflow import Dataset, Split
    from hwnas.errors import RequestError, RunError
    from hwnas.pipeline.loading import load_network

__version__ = version("hwnas")

__all__ = [
    "profile",
    "load_table",
    "LatencyTable",
    "space",
    "convert",
    "search",
    "train",
    "resume",
    "search_from",
    "open_run",
    "load_network",
    "optimize",
    "Study",
    "Result",
    "Network",
    "Evaluations",
    "Callback",
    "compare",
    "explain",
    "predict",
    "Dataset",
    "Split",
    "RequestError",
    "RunError",
    "__version__",
]

_MODULES = {
    "hwnas.api.loop": ("optimize",),
    "hwnas.api.result": ("Evaluations", "Network", "Result"),
    "hwnas.api.searching": ("open_run", "resume", "search", "search_from", "train"),
    "hwnas.api.spaces": ("convert", "space"),
    "hwnas.api.study": ("Study",),
    "hwnas.api.table": ("LatencyTable", "load_table", "profile"),
    "hwnas.api.tools": ("compare", "explain", "predict"),
    "hwnas.callbacks": ("Callback",),
    "hwnas.dataflow": ("Dataset", "Split"),
    "hwnas.errors": ("RequestError", "RunError"),
    "hwnas.pipeline.loading": ("load_network",),
}
"""Where the names are, by module (PEP 562)."""

_PLACES = {name: module for module, names in _MODULES.items() for name in names}


class _CallablePackage(ModuleType):
    """The package `hwnas.search`, which can be called as the function of the same name is."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self.__name__,)

    @property
    def __signature__(self) -> "Signature":
        from inspect import signature

        return signature(self._function)

    @property
    def _function(self) -> "Callable[..., Any]":
        function: Callable[..., Any] = import_module(_PLACES["search"]).search
        return function


class _Package(ModuleType):
    """This package: importing `hwnas.search` binds that to the name of the function, which it then stands for."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _PLACES and isinstance(value, ModuleType):
            value.__class__ = _CallablePackage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "search":
        return import_module(f"{__name__}.search")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
