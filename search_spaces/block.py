"""What a candidate block is, and the base record of those that make one feature map of another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, ClassVar, get_type_hints

from torch import nn

from search_spaces.errors import SpaceError

MOST = 1_000_000
"""Channels, classes, pixels a side and whatever else is counted: nothing that could be built has more."""

Shape = tuple[int, ...]
"""Sizes of a tensor without its batch, such as (C, H, W) of images or (T, D) of tokens."""

IDENTITY_KEY = "identity()"
"""The key of every block that vanishes from the graph."""


class Block(ABC):
    """One candidate block: everything that determines its graph, and how to make it.

    Blocks are values: hashable, and equal where their fields are, as frozen dataclasses are.

    Attributes:
        family: what blocks of its kind are called; files of exported blocks begin with it.
    """

    __slots__ = ()

    family: ClassVar[str]

    @property
    @abstractmethod
    def key(self) -> str:
        """Canonical text of the block: equal if and only if the ONNX graphs have the same cost."""

    @property
    def is_identity(self) -> bool:
        """Whether the block vanishes from the graph: it has no parameters, no operations and no latency."""
        return False

    @property
    @abstractmethod
    def input_shapes(self) -> tuple[Shape, ...]:
        """The shape of every tensor that goes in, without the batch; most blocks take one."""

    @property
    @abstractmethod
    def output_shape(self) -> Shape:
        """The shape of the one tensor that comes out, without the batch."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised module mapping a batch of every input, in order, to a batch of the output."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MapBlock(Block):
    """A block that makes one square feature map of another.

    Inputs are of `input_size` pixels a side; padding keeps `ceil(input_size / stride)`.

    Raises:
        SpaceError: a size, channel count or stride is below 1 or beyond reason, or a field is not of its type.
    """

    in_channels: int
    out_channels: int
    input_size: int
    stride: int = 1

    def __post_init__(self) -> None:
        require_types(self)
        for name in ("in_channels", "out_channels", "input_size", "stride"):
            require_range(self, name, 1, MOST)

    @property
    def key(self) -> str:
        """Family, shape and the family's own fields."""
        if self.is_identity:
            return IDENTITY_KEY
        fields = {"in": self.in_channels, "out": self.out_channels, "hw": self.input_size, **self._key_fields()}
        return f"{self.family}({','.join(f'{name}={value}' for name, value in fields.items())})"

    @property
    def input_shapes(self) -> tuple[Shape, ...]:
        """The one feature map."""
        return ((self.in_channels, self.input_size, self.input_size),)

    @property
    def output_shape(self) -> Shape:
        """The feature map that comes out; families that give something else say so."""
        return (self.out_channels, self.output_size, self.output_size)

    @property
    def output_size(self) -> int:
        """Pixels a side of the output feature map."""
        return -(-self.input_size // self.stride)

    @property
    def keeps_shape(self) -> bool:
        """Whether input and output have the same shape, so that a residual can be added."""
        return self.stride == 1 and self.in_channels == self.out_channels

    @abstractmethod
    def _key_fields(self) -> dict[str, int | str]:
        """Return the family's own part of the key, short names in a fixed order."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised module mapping x_NCHW to the block's output."""


def require_types(block: Block) -> None:
    """Raise SpaceError unless every field of a block, which is a dataclass, is of its type."""
    for name, (words, is_valid) in _checked_fields(type(block)).items():
        if not is_valid(value := getattr(block, name)):
            raise SpaceError(f"{block.family}.{name} must be {words}, got {value!r}")


@cache
def _checked_fields(family: type[Any]) -> dict[str, tuple[str, Callable[[object], bool]]]:
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
