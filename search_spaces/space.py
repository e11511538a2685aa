"""Search spaces: decisions, and the blocks that every architecture is made of."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import nn

from onnx_models.ending import Ending, ended
from onnx_models.image_size import ImageSize, height_width, image_size, size_text
from search_spaces.architecture import Architecture
from search_spaces.block import Block, Shape
from search_spaces.errors import SpaceError
from search_spaces.resolutions import smaller_sizes
from search_spaces.supernet import Supernet
from search_spaces.wiring import Wiring

SMALL_INPUT = 64
"""At inputs of this size or less the stem and the first strided stage keep the resolution, as is usual for CIFAR."""


MOST_PIXELS = 4096
"""The most pixels a side of an image."""

_MOST = {"in_channels": 4096, "num_classes": 1_000_000}
"""Largest numbers of a search space."""

HeadKind = Literal["classifier", "detection", "segmentation"]
"""The kinds of ends that networks of a space may have: scores of an image, boxes, or a class for every pixel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpaceSpec:
    """Everything needed to make the same search space again.

    Attributes:
        input_size: an integer for square images, whichever way it was given.
        head: what the networks end in; another than a classifier takes the place of the space's own end.
        resolutions: sizes of images that networks choose from, `input_size` first; none where they take that alone.

    Raises:
        SpaceError: a number is out of range, there is no such head, or the resolutions are none of these images.
    """

    name: str
    input_size: ImageSize
    in_channels: int = 3
    num_classes: int
    width: float = 1.0
    head: HeadKind = "classifier"
    resolutions: tuple[ImageSize, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.isprintable():
            raise SpaceError(f"expected a search space's name of printable characters, got {ascii(self.name)[:80]}")
        object.__setattr__(self, "input_size", _checked_size(self.input_size))
        for name, most in _MOST.items():
            value = getattr(self, name)
            if not _is_count(value, most):
                raise SpaceError(f"{name} of a search space must be an integer from 1 to {most}, got {value!r}")
        if isinstance(self.width, bool) or not isinstance(self.width, int | float) or not 0.05 <= self.width <= 16:
            raise SpaceError(f"width multiplier must be a number between 0.05 and 16, got {self.width!r}")
        known_head(self.head)
        if self.resolutions:
            asked = tuple(_checked_size(size) for size in self.resolutions)
            object.__setattr__(self, "resolutions", (self.input_size, *smaller_sizes(self.input_size, asked)))

    def __str__(self) -> str:
        shape = "x".join(map(str, self.input_shape))
        ending = "" if self.head == "classifier" else f", {self.head} head"
        others = "".join(f" or {size_text(size)}" for size in self.resolutions[1:])
        return f"{self.name} at {shape}{others}, {self.num_classes} classes, width {self.width:g}{ending}"

    @property
    def input_shape(self) -> Shape:
        """Channels, height and width of the images."""
        return (self.in_channels, *height_width(self.input_size))

    @property
    def side(self) -> int:
        """Pixels a side of the images, for spaces of square ones.

        Raises:
            SpaceError: they are not square.
        """
        if isinstance(self.input_size, int):
            return self.input_size
        raise SpaceError(f"{self.name} is for square images, got {size_text(self.input_size)}; give one number of both")

    @property
    def early_stride(self) -> int:
        """Stride of the stem and of the first strided stage, in spaces that were made for large inputs."""
        return 1 if min(height_width(self.input_size)) <= SMALL_INPUT else 2

    @property
    def network_hash(self) -> str | None:
        """The hash of the network that somebody brought and whose space this is, where its name ends in one."""
        found = _OF_A_NETWORK.fullmatch(self.name)
        return found and found[1]

    def has_networks_of(self, other: SpaceSpec) -> bool:
        """Return whether the networks are those of another space, whatever people call the network they are of."""
        if self.network_hash is None:
            return self == other
        return self.network_hash == other.network_hash and replace(self, name=other.name) == other

    def as_dict(self) -> dict[str, SpecValue]:
        """Return the fields by name, for files; what is as usual is left out, so that earlier versions read them."""
        usual = (("head", "classifier"), ("resolutions", ()))
        return {name: value for name, value in asdict(self).items() if (name, value) not in usual}


_OF_A_NETWORK = re.compile(r".+-([0-9a-f]{8})")
"""Names of the spaces of networks that people bring: what they are called, and a hash of what they are."""

SpecValue = str | int | float | tuple[int, int] | tuple[ImageSize, ...]
"""The value of a field of a spec, as files have it."""


def known_head(name: str) -> HeadKind:
    """Return the head of that name.

    Raises:
        SpaceError: there is none.
    """
    for head in get_args(HeadKind):
        if name == head:
            return cast(HeadKind, head)
    raise SpaceError(f"head must be one of {', '.join(get_args(HeadKind))}; got {name!r}")


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _checked_size(size: object) -> ImageSize:
    sides: list[Any] = list(size) if isinstance(size, list | tuple) else [size, size]
    if len(sides) != 2 or not all(_is_count(side, MOST_PIXELS) for side in sides):
        raise SpaceError(
            f"input_size of a search space must be an integer from 1 to {MOST_PIXELS}, or height and width, "
            f"got {size!r}"
        )
    return image_size(sides[0], sides[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A named choice to be made, and what there is to choose from."""

    name: str
    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a network that some decisions choose alone.

    Attributes:
        decisions: positions of the decisions.
        slots: positions among the network's blocks of those that the decisions choose, and nothing else does.
    """

    decisions: range
    slots: range


class SearchSpace(ABC):
    """A set of networks, each an `Architecture`: one choice index per decision.

    Attributes:
        spec: how to make this space again.
        decisions: what is to be chosen.
        candidates: every distinct block that some architecture contains, identities included.
        segments: parts that are chosen independently, in network order; slots of none of them are fixed. Decisions of
            none of them are common to all.
    """

    spec: SpaceSpec
    decisions: tuple[Decision, ...]
    candidates: tuple[Block, ...]
    segments: tuple[Segment, ...]

    common_decisions = range(0)
    """Positions of decisions that every block may depend on; once they are made, the segments are independent."""

    is_elastic = False
    """Whether the networks' weights are slices of the largest network's, so that it trains them too."""

    has_weights = False
    """Whether the supernet begins with weights that were trained before, so that it can be searched as it is."""

    is_chain = True
    """Whether the blocks of a network run one after the other, and the children of the built network are they."""

    wiring: Wiring | None = None
    """Where each slot's inputs are from, where blocks are no chain and yet connected alike in every network."""

    @property
    def original(self) -> Architecture | None:
        """The network that somebody brought, where the space is made of one."""
        return None

    def scaled_alike(self) -> list[Architecture]:
        """Return the networks that somebody would try by hand, all widths of a network scaled alike, widest first."""
        return []

    @property
    def ending(self) -> Ending | None:
        """Return what deployed networks end in behind their scores, as the network that somebody brought does."""
        return None

    def deployed(self, network: nn.Module) -> nn.Module:
        """Return a network of the space as it is exported and measured, which trains and is searched by its scores."""
        return ended(network, self.ending)

    @abstractmethod
    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return which candidate stands in each slot of each network.

        Args:
            architectures: [num_architectures, num_decisions] choice indices.

        Returns:
            [num_architectures, num_slots] indices into `candidates`, in network order, stem and head included.
        """

    @abstractmethod
    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the one form shared by all architectures that are the same network."""

    @abstractmethod
    def supernet(self) -> Supernet:
        """Return a weight-sharing network of every architecture, freshly initialised."""

    def input_size(self, _architecture: Architecture) -> ImageSize:
        """Return the size of the images that a network takes: that of the space, unless resolutions are chosen."""
        return self.spec.input_size

    def depends_on_input(self, _architecture: Architecture) -> bool:
        """Return whether the network's output depends on its input; runtimes make a constant of one that does not."""
        return True

    def paths(self, architectures: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which sequences of operations lead through networks, [num_architectures, num_sequences].

        They tell how alike two graphs are, whatever the decisions that make them. A sequence that may be met several
        times in one network has as many columns. There are none where networks are chains.
        """
        return np.zeros((len(architectures), 0), dtype=np.bool_)

    @property
    def num_architectures(self) -> int:
        """The number of choice combinations, the same network under two names counted twice."""
        return int(np.prod([len(d.choices) for d in self.decisions], dtype=object))

    def block_sum(self, values: NDArray[np.float64], architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Sum a value per candidate over each network's blocks.

        Args:
            values: [num_candidates] one number per entry of `candidates`.
            architectures: [num_architectures, num_decisions] choice indices.

        Returns:
            [num_architectures] sums.
        """
        sums: NDArray[np.float64] = values[self.block_indices(architectures)].sum(axis=1)
        return sums

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return an architecture drawn uniformly over choice combinations."""
        return tuple(int(rng.integers(len(d.choices))) for d in self.decisions)

    def sample_many(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return architectures drawn uniformly in one call, [num, num_decisions]."""
        return rng.integers([len(d.choices) for d in self.decisions], size=(num, len(self.decisions)))

    def blocks(self, architecture: Architecture) -> tuple[Block, ...]:
        """Return every block of the network in order, stem and head included."""
        indices = self.block_indices(self.as_array([architecture]))[0]
        return tuple(self.candidates[i] for i in indices)

    def build(self, architecture: Architecture) -> nn.Sequential:
        """Return the network on its own, freshly initialised; one child per entry of `blocks(architecture)`."""
        return nn.Sequential(*(block.build() for block in self.blocks(architecture)))

    def describe(self, architecture: Architecture) -> tuple[str, ...]:
        """Return the chosen option of every decision, by name."""
        return tuple(d.choices[c] for d, c in zip(self.decisions, self.validated(architecture), strict=True))

    def validated(self, architecture: Architecture) -> Architecture:
        """Return the architecture as plain integers.

        Raises:
            SpaceError: it has another number of decisions, or a choice that does not exist.
        """
        return tuple(int(c) for c in self.as_array([architecture])[0])

    def as_array(self, architectures: ArrayLike) -> NDArray[np.int64]:
        """Return checked choice indices, [num_architectures, num_decisions].

        Raises:
            SpaceError: an architecture has another number of decisions, or a choice that does not exist.
        """
        wanted = len(self.decisions)
        try:
            array = np.asarray(architectures)
        except ValueError as error:
            raise SpaceError(f"architectures of {self.spec.name} are {wanted} integers each, got {error}") from error
        if array.size == 0 and array.ndim == 2:  # of a space without decisions numpy makes numbers
            array = array.astype(np.int64)
        if array.ndim != 2 or array.shape[1] != wanted or not np.issubdtype(array.dtype, np.integer):
            raise SpaceError(
                f"architectures of {self.spec.name} are {wanted} integers each, got an array of shape {array.shape} "
                f"and type {array.dtype}"
            )
        limits = np.array([len(d.choices) for d in self.decisions])
        wrong = (array < 0) | (array >= limits)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise SpaceError(
                f"decision {column} ({self.decisions[column].name}) of {self.spec.name} has choices 0 to "
                f"{limits[column] - 1}, got {array[row, column]}"
            )
        return array.astype(np.int64, copy=False)
