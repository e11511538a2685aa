"""Hardware-aware neural architecture search: from a latency budget on your device to a verified ONNX model."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.pipeline.loading import load_network

__version__ = version("hwnas")

_LAZY = {
    "load_network": "hwnas.pipeline.loading",
}
"""The modules of what `hwnas` offers, which are imported when it is used (PEP 562)."""


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = ["load_network"]
