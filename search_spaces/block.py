"""The base record of a candidate block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import ClassVar, get_type_hints

from torch import nn

from search_spaces.errors import SpaceError

MOST = 1_000_000
"""Channels, classes, pixels a side and whatever else is counted: nothing that could be built has more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block(ABC):
    """One candidate block: everything that determines its graph, and how to make it.

    Inputs are square feature maps of `input_size` pixels a side; padding keeps `ceil(input_size / stride)`.

    Raises:
        SpaceError: a size, channel count or stride is below 1 or beyond reason, or a field is not of its type.
    """

    family: ClassVar[str]

    in_channels: int
    out_channels: int
    input_size: int
    stride: int = 1

    def __post_init__(self) -> None:
        for name, (words, is_valid) in _checked_fields(type(self)).items():
            if not is_valid(value := getattr(self, name)):
                raise SpaceError(f"{self.family}.{name} must be {words}, got {value!r}")
        for name in ("in_channels", "out_channels", "input_size", "stride"):
            require_range(self, name, 1, MOST)

    @property
    def key(self) -> str:
        """Canonical text of the block: equal if and only if the ONNX graphs have the same cost."""
        if self.is_identity:
            return "identity()"
        fields = {"in": self.in_channels, "out": self.out_channels, "hw": self.input_size, **self._key_fields()}
        return f"{self.family}({','.join(f'{name}={value}' for name, value in fields.items())})"

    @property
    def output_size(self) -> int:
        """Pixels a side of the output feature map."""
        return -(-self.input_size // self.stride)

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have the same shape, so that a residual can be added."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @property
    def is_identity(self) -> bool:
        """Whether the block vanishes from the graph: it has no parameters, no operations and no latency."""
        return False

    @abstractmethod
    def _key_fields(self) -> dict[str, int | str]:
        """Return the family's own part of the key, short names in a fixed order."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised module mapping x_NCHW to the block's output."""


@cache
def _checked_fields(family: type[Block]) -> dict[str, tuple[str, Callable[[object], bool]]]:
    """Return what a family's fields must be, in words, and a check of each; types of one's own are left alone."""
    hints = get_type_hints(family)
    return {f.name: _CHECKS[hints[f.name]] for f in fields(family) if hints[f.name] in _CHECKS}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[object, tuple[str, Callable[[object], bool]]] = {
    int: ("an integer", _is_integer),
    float: ("a number", lambda value: _is_integer(value) or isinstance(value, float)),
    bool: ("true or false", lambda value: isinstance(value, bool)),
    str: ("a text", lambda value: isinstance(value, str)),
    tuple[int, ...]: ("a list of integers", lambda value: isinstance(value, tuple) and all(map(_is_integer, value))),
}


def require_range(owner: Block, name: str, low: float, high: float) -> None:
    """Raise SpaceError unless the named field of a block is in a range, both ends included."""
    value = getattr(owner, name)
    if not low <= value <= high:
        raise SpaceError(f"{owner.family}.{name} must be at least {low} and at most {high}, got {value!r}")


def require_choice(owner: Block, name: str, choices: tuple[object, ...]) -> None:
    """Raise SpaceError unless the named field of a block is one of the choices."""
    value = getattr(owner, name)
    if value not in choices:
        raise SpaceError(f"{owner.family}.{name} must be one of {', '.join(map(str, choices))}; got {value!r}")


def require_divisible(owner: Block, channels: int, groups: int) -> None:
    """Raise SpaceError unless the groups of a block's convolution divide its channels."""
    if groups < 1 or channels % groups:
        raise SpaceError(f"{owner.family}: {groups} groups do not divide {channels} channels")
