"""A search space at several sizes of images: which one a network takes is a decision like any other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onnx_models.ending import Ending
from onnx_models.image_size import ImageSize, size_text
from search_spaces.architecture import Architecture
from search_spaces.block import Block, Shape
from search_spaces.errors import SpaceError
from search_spaces.resolutions import Resized
from search_spaces.space import Decision, SearchSpace, Segment, SpaceSpec
from search_spaces.supernet import MixableSupernet, Step, Supernet

SIZES = {"input_size"}
"""Fields of blocks that may differ between resolutions."""

NUM_COMPARED = 256
"""Networks whose blocks are compared between resolutions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallerSpec(SpaceSpec):
    """The spec of a space for smaller images than it was made for.

    Attributes:
        early: the stride that spaces begin with at the size that it was made for: networks are the same at all sizes.
    """

    early: int

    @property
    def early_stride(self) -> int:
        """Stride of the stem and of the first strided stage, as at the size that the space was made for."""
        return self.early


def specs_at_resolutions(spec: SpaceSpec) -> list[SpaceSpec]:
    """Return the spec for each of the resolutions alone, in their order.

    Raises:
        SpaceError: networks of that head take one size.
    """
    if spec.head != "classifier":
        raise SpaceError(
            f"a {spec.head} head tells of points of images of one size: expected no resolutions beside it, got "
            f"{', '.join(map(size_text, spec.resolutions))}; give one size, with --input-size"
        )
    values = {field.name: getattr(spec, field.name) for field in fields(SpaceSpec)} | {"resolutions": ()}
    own, *others = spec.resolutions
    return [
        SpaceSpec(**values | {"input_size": own}),
        *(SmallerSpec(**values | {"input_size": size}, early=spec.early_stride) for size in others),
    ]


class ResolutionSpace(SearchSpace):
    """The networks of a space, each at one of several sizes of images.

    The size is the first decision, and the others are those of the space. All sizes share the weights of a supernet,
    since a convolution's do not depend on how large its images are.

    Args:
        spec: says which resolutions.
        spaces: the space at each of them alone.

    Raises:
        SpaceError: at another size its networks are others, or have other weights.
    """

    common_decisions = range(1)

    def __init__(self, spec: SpaceSpec, spaces: Sequence[SearchSpace]) -> None:
        self.spec, self.spaces = spec, tuple(spaces)
        own = self.spaces[0]
        for size, other in zip(spec.resolutions[1:], self.spaces[1:], strict=True):
            _require_same_networks(own, other, size_text(size))
        sizes = Decision(name="resolution", choices=tuple(map(size_text, spec.resolutions)))
        self.decisions = (sizes, *own.decisions)
        self.segments = tuple(
            Segment(decisions=range(s.decisions.start + 1, s.decisions.stop + 1), slots=s.slots) for s in own.segments
        )
        self.is_elastic, self.has_weights = own.is_elastic, own.has_weights
        self.is_chain, self.wiring = own.is_chain, own.wiring
        index_of: dict[Block, int] = {}
        self._places = [
            np.array([index_of.setdefault(block, len(index_of)) for block in space.candidates]) for space in self.spaces
        ]
        self.candidates = tuple(index_of)

    @property
    def num_architectures(self) -> int:
        """Those of the space, each at every resolution."""
        return len(self.spaces) * self.spaces[0].num_architectures

    @property
    def original(self) -> Architecture | None:
        """The network that somebody brought, at its own resolution, where the space is made of one."""
        original = self.spaces[0].original
        return None if original is None else (0, *original)

    def scaled_alike(self) -> list[Architecture]:
        """Return the networks that somebody would try by hand, at the space's own resolution."""
        return [(0, *architecture) for architecture in self.spaces[0].scaled_alike()]

    @property
    def ending(self) -> Ending | None:
        """Return what deployed networks end in behind their scores."""
        return self.spaces[0].ending

    def input_size(self, architecture: Architecture) -> ImageSize:
        """Return the architecture's resolution."""
        return self.spec.resolutions[self.split(architecture)[0]]

    def split(self, architecture: Architecture) -> tuple[int, Architecture]:
        """Return the position of the resolution, and the choices of the space.

        Raises:
            SpaceError: they are not those of an architecture.
        """
        position, *others = self.validated(architecture)
        return position, tuple(others)

    def before(self, position: int) -> list[nn.Module]:
        """Return what images go through before a network: nothing where it takes them as they are."""
        return [Resized(self.spec.resolutions[position])] if position else []

    def block_indices(self, architectures: NDArray[np.integer]) -> NDArray[np.integer]:
        """Return indices into `candidates`, [num_architectures, num_slots]."""
        indices: NDArray[np.int64] = self._places[0][self.spaces[0].block_indices(architectures[:, 1:])]
        for position in range(1, len(self.spaces)):
            is_at = architectures[:, 0] == position
            if is_at.any():
                of_space = self.spaces[position].block_indices(architectures[is_at, 1:])
                indices[is_at] = self._places[position][of_space]
        return indices

    def block_sum(self, values: NDArray[np.float64], architectures: NDArray[np.integer]) -> NDArray[np.float64]:
        """Sum as each resolution's space does."""
        sums = np.empty(len(architectures))
        for position, (space, places) in enumerate(zip(self.spaces, self._places, strict=True)):
            is_at = architectures[:, 0] == position
            if is_at.any():
                sums[is_at] = space.block_sum(values[places], architectures[is_at, 1:])
        return sums

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the canonical form at the same resolution."""
        position, others = self.split(architecture)
        return (position, *self.spaces[position].canonical(others))

    def depends_on_input(self, architecture: Architecture) -> bool:
        """Return whether the network's output depends on its input, as in the space."""
        position, others = self.split(architecture)
        return self.spaces[position].depends_on_input(others)

    def paths(self, architectures: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Return which sequences of operations lead through networks, whatever their resolutions."""
        return self.spaces[0].paths(architectures[:, 1:])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return an architecture of any resolution, drawn as the space draws."""
        return (int(rng.integers(len(self.spaces))), *self.spaces[0].sample(rng))

    def sample_many(self, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return several, [num, num_decisions]."""
        positions = rng.integers(len(self.spaces), size=(num, 1))
        return np.concatenate([positions, self.spaces[0].sample_many(num, rng)], axis=1)

    def build(self, architecture: Architecture) -> nn.Sequential:
        """Return the network on its own, freshly initialised, behind what brings images to its resolution."""
        position, others = self.split(architecture)
        return nn.Sequential(*self.before(position), *self.spaces[position].build(others))

    def supernet(self) -> ResolutionSupernet:
        """Return the space's supernet, whose weights all resolutions share."""
        shared = self.spaces[0].supernet()
        if isinstance(shared, MixableSupernet):
            return MixableResolutionSupernet(self, shared)
        return ResolutionSupernet(self, shared)


class ResolutionSupernet(Supernet):
    """A space's supernet behind what brings images to an architecture's resolution."""

    def __init__(self, space: ResolutionSpace, shared: Supernet) -> None:
        super().__init__()
        self._space = space
        self.shared = shared

    def path(self, architecture: Architecture) -> list[nn.Module]:
        """Return the modules of the subnet behind what brings images to its resolution."""
        position, others = self._space.split(architecture)
        return [*self._space.before(position), *self.shared.path(others)]

    def forward(self, x_NCHW: torch.Tensor, architecture: Architecture) -> torch.Tensor:
        position, others = self._space.split(architecture)
        out: torch.Tensor = self.shared(self._at(position, x_NCHW), others)
        return out

    def steps(self, architecture: Architecture) -> list[Step]:
        """Return what the slots compute, with the first that brings images to the resolution."""
        position, others = self._space.split(architecture)
        return [*self._space.before(position), *self.shared.steps(others)]

    def drop_end(self, num_slots: int) -> None:
        """Forget the weights of the last slots."""
        self.shared.drop_end(num_slots)

    def sort_channels(self) -> None:
        """Sort those of the space's supernet."""
        self.shared.sort_channels()

    def _at(self, position: int, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return images at a resolution."""
        return nn.Sequential(*self._space.before(position))(x_NCHW)  # type: ignore[no-any-return]


class MixableResolutionSupernet(ResolutionSupernet, MixableSupernet):
    """One whose space has separate candidates; the outputs at the resolutions are mixed as well."""

    def __init__(self, space: ResolutionSpace, shared: MixableSupernet) -> None:
        super().__init__(space, shared)
        self.decision_logits = nn.ParameterList()

    def forward_mixed(self, x_NCHW: torch.Tensor, weights: Sequence[Mapping[int, torch.Tensor]]) -> torch.Tensor:
        """Compute the weighted sum over the resolutions of the mixed network's outputs at each."""
        assert isinstance(self.shared, MixableSupernet)
        terms = [
            share * self.shared.forward_mixed(self._at(position, x_NCHW), weights[1:])
            for position, share in weights[0].items()
        ]
        return torch.stack(terms).sum(dim=0)


def _require_same_networks(own: SearchSpace, other: SearchSpace, size: str) -> None:
    """Raise SpaceError unless a space's networks are the same at another size, and can have the same weights."""
    name, remedy = own.spec.name, f"leave {size} out of the resolutions, or give another space"
    if own.decisions != other.decisions or own.segments != other.segments:
        raise SpaceError(f"at {size} pixels {name} has other decisions: expected the same at every size; {remedy}")
    rows = own.sample_many(NUM_COMPARED, np.random.default_rng(0))
    one, at_size = own.block_indices(rows), other.block_indices(rows)
    if one.shape != at_size.shape:
        raise SpaceError(
            f"at {size} pixels networks of {name} have {at_size.shape[1]} blocks: expected {one.shape[1]} as at "
            f"{size_text(own.spec.input_size)}; {remedy}"
        )
    alike: set[object] = set()  # what blocks of these kinds compute is known to be the same
    for i, j in np.unique(np.stack([one.ravel(), at_size.ravel()], axis=1), axis=0):
        block, found = own.candidates[i], other.candidates[j]
        kind = (*_kind(block), block.input_shapes[0][1:], found.input_shapes[0][1:])
        difference = "another block" if _fields(block) != _fields(found) else None
        if difference is None and kind not in alike:
            difference = _difference(block, found)
            alike.add(kind)
        if difference is not None:
            raise SpaceError(
                f"at {size} pixels {name} needs weights of its own: expected layers whose weights do not depend on "
                f"the size of images, found {difference} ({block.key}, there {found.key}); {remedy}"
            )


def _difference(block: Block, at_size: Block) -> str | None:
    """Return in what the module of a block differs from that of another size; None where that computes the same."""
    if at_size.is_identity and not block.is_identity:
        return None if _gives_what_it_takes(block, at_size.input_shapes[0]) else "another block"
    with torch.inference_mode(False), torch.device("meta"):
        one, other = block.build().eval(), at_size.build().eval()
        if _shapes(one) != _shapes(other):
            return "weights of other shapes"
        if repr(one) != repr(other):
            return "other layers"
        try:
            with torch.no_grad():
                output = one(*(torch.empty(1, *shape) for shape in at_size.input_shapes))
        except Exception:  # it takes maps of its own size alone; one of somebody's own refuses others in any way
            return "layers that count pixels"
    return None if tuple(output.shape) == (1, *at_size.output_shape) else "layers that count pixels"


def _gives_what_it_takes(block: Block, shape: Shape) -> bool:
    """Return whether a block does nothing to maps of a shape, as a pooling does to single pixels."""
    module = block.build().eval()
    x = torch.linspace(-1, 1, math.prod(shape)).reshape(1, *shape)
    with torch.no_grad():
        return not module.state_dict() and torch.equal(module(x), x)


def _fields(block: Block) -> tuple[object, ...]:
    """Return what a block is made of besides sizes."""
    named: list[str] = [f.name for f in fields(block)] if is_dataclass(block) else []
    return type(block), *(getattr(block, name) for name in named if name not in SIZES)


def _kind(block: Block) -> tuple[object, ...]:
    """Return what a block is made of, with of each number only whether it is 0.

    Building every block of a large space takes a quarter of a minute. How many channels one has does not change whether
    it depends on the size of images; whether it has attention, say, may.
    """
    return tuple(bool(value) if isinstance(value, int | float) else value for value in _fields(block))


def _shapes(module: nn.Module) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
