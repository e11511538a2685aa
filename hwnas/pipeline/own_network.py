"""The network that a person brings to a run: read, traced, compared with itself, and made a search space of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from hwnas.config import SpaceConfig
from hwnas.dataflow import Batches, Dataset
from hwnas.errors import RequestError
from hwnas.pipeline.resolutions import networks_at, traced_at
from hwnas.quantities import parse_image_size
from hwnas.training.task import LearningTask
from onnx_models.image_size import ImageSize, height_width, image_size
from search_spaces import SpaceSpec
from search_spaces.errors import SourceError
from search_spaces.resolutions import Resized
from search_spaces.traced.block import graph_text
from search_spaces.traced.ending import ending_of
from search_spaces.traced.file import spec_in, traced_space
from search_spaces.traced.graph import PerImage, TracedNetwork
from search_spaces.traced.ladder import SHARES, Pins
from search_spaces.traced.network import GraphNetwork
from search_spaces.traced.overview import elastic_share, layer_overviews
from search_spaces.traced.parts import canonical_graph
from search_spaces.traced.resolutions import Resolution
from search_spaces.traced.source import SourceNetwork, load_network
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace

NUM_COMPARED = 16
"""Images that a traced network is compared with the original on."""

BATCH_SIZE = 128
"""Images at a time that the original is scored on."""

TOLERANCE = 1e-5
"""Difference from the original's outputs, relative to the largest of them."""

ALONE_TOLERANCE = 1e-3
"""Difference of an image's outputs alone from those among others, likewise: libraries round batches differently."""

SUM_TOLERANCE = 1e-3
"""Outputs whose sum for each image is as near to 1 are probabilities: some are clamped."""


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """A network that a person brings, by the settings that name it.

    Attributes:
        copy: of the network and what can be chosen of it, in the folder of a run that has begun; None before.
    """

    config: SpaceConfig
    copy: Path | None

    @property
    def input_size(self) -> ImageSize | None:
        """The size of the images that it takes; None where neither it nor the settings say."""
        if (file := self._file) is not None:
            return spec_in(file).input_size
        if (asked := self._asked_size) is not None:
            return asked
        shape = self._source.input_shape
        return None if shape is None else image_size(*shape[1:])

    @property
    def takes_grey(self) -> bool:
        """Whether it is for images of one channel, as far as it says, or its first convolution does."""
        if (file := self._file) is not None:
            return spec_in(file).in_channels == 1
        try:
            source = self._source if (size := self._asked_size) is None else self._source_of(size)
        except SourceError:  # of a file that leaves the channels free
            return False
        if source.input_shape is not None:
            return source.input_shape[0] == 1
        first = next((layer for layer in source.module.modules() if isinstance(layer, nn.Conv2d)), None)
        return first is not None and first.in_channels == 1

    def _source_of(self, size: ImageSize) -> SourceNetwork:
        """Return the network for images of a size, in its own channels."""
        assert self.config.model is not None
        shape = (None, *height_width(size))
        return load_network(self.config.model, weights=self.config.weights, input_shape=shape)

    @property
    def _asked_size(self) -> ImageSize | None:
        """The size that the settings say: by itself, or as the first of the resolutions."""
        size = self.config.input_size
        if size is None and self.config.resolutions:
            size = self.config.resolutions[0]
        return None if size is None else parse_image_size(size)

    @property
    def _file(self) -> Path | None:
        """The file that holds the space; None where it is to be made."""
        if self.copy is not None:
            return self.copy
        return Path(self.config.name) if self.config.model is None else None

    @cached_property
    def _source(self) -> SourceNetwork:
        assert self.config.model is not None
        return load_network(self.config.model, weights=self.config.weights)

    def _source_for(self, shape: torch.Size) -> SourceNetwork:
        """Return the network for images of a shape, which is what it leaves free where a size was asked for."""
        return self._source if self._asked_size is None else self._source_in(tuple(shape))

    def _source_in(self, shape: tuple[int, ...]) -> SourceNetwork:
        """Return the network for images of a shape."""
        assert self.config.model is not None
        return load_network(self.config.model, weights=self.config.weights, input_shape=shape)

    @property
    def kept_space(self) -> TracedSpace | None:
        """The search space of a run that has begun, which needs no data; None before.

        Raises:
            SpaceError: its copy is damaged.
        """
        return None if self.copy is None else read_space(self.copy)

    def space(self, dataset: Dataset) -> TracedSpace:
        """Return the search space of the network for some data.

        Raises:
            SpaceError: it cannot be traced, or is not the file's.
            RequestError: it is for other images or classes, or what was traced computes something else.
        """
        shape = dataset.train.images_NCHW.shape[1:]
        if self.config.model is None:
            return _for_data(Path(self.config.name), dataset)
        source = self._source_for(shape)
        if source.input_shape is not None and tuple(shape) != source.input_shape:
            raise RequestError(
                f"{self.config.model} takes images of {_times(source.input_shape)}, the data have {_times(shape)}: "
                "give data of that shape, or a network for these"
            )
        images, _ = next(iter(Batches.of(dataset, dataset.test, NUM_COMPARED).in_order()))
        pins = Pins(freeze=self.config.freeze, shares=self.config.shares or SHARES, step=self.config.step)
        channels, height, width = shape
        asked = [parse_image_size(size) for size in self.config.resolutions]
        others = networks_at(self._source_in, (channels, height, width), asked)
        return space_of(source, images, pins, others)


def _for_data(path: Path, dataset: Dataset) -> TracedSpace:
    """Return the space that a file holds, whose images must be those of the data."""
    own = spec_in(path)
    if (own.in_channels, own.input_size) != (dataset.in_channels, dataset.input_size):
        raise RequestError(
            f"{path} takes images of {_times(own.input_shape)}, the data have "
            f"{_times(dataset.train.images_NCHW.shape[1:])}: make it for these with hwnas convert"
        )
    return read_space(path)


def space_of(
    source: SourceNetwork, images_NCHW: torch.Tensor, pins: Pins, others: Sequence[SourceNetwork] = ()
) -> TracedSpace:
    """Return the search space of a network, once what was traced computes what the network computes.

    Args:
        images_NCHW: of the shape that the network is for; it is compared on them.
        others: the same for other resolutions.

    Raises:
        SpaceError: it cannot be traced, or is another at another resolution.
        RequestError: what was traced computes something else, or gives no number for each class.
    """
    channels, height, width = images_NCHW.shape[1:]
    traced = trace(source.module, (channels, height, width))
    _require_matching(pins, traced)
    _require_same(source, traced, images_NCHW)
    resolutions = tuple(_resolution(other, traced, images_NCHW) for other in others)
    spec = SpaceSpec(
        name=f"{source.name}-{_digest(traced, pins, resolutions)}",
        input_size=image_size(height, width),
        in_channels=channels,
        num_classes=_num_outputs(source.name, traced),
    )
    return TracedSpace(spec, traced, pins, resolutions=resolutions)


def _resolution(other: SourceNetwork, own: TracedNetwork, images_NCHW: torch.Tensor) -> Resolution:
    """Return a network's graph for another resolution, once it computes what the network computes there."""
    assert other.input_shape is not None
    size, traced = image_size(*other.input_shape[1:]), traced_at(other, own)
    _require_same(other, traced, Resized(size)(images_NCHW))
    return Resolution(size=size, graph=traced.graph)


def images_of(shape: tuple[int, int, int], num: int) -> torch.Tensor:
    """Return random images, the same each time, for networks that no data come with."""
    return torch.randn(num, *shape, generator=torch.Generator().manual_seed(0))


def read_space(path: Path) -> TracedSpace:
    """Return the space that a file of a network holds, under the name that its tables have.

    Raises:
        SpaceError: there is none, or it is damaged.
    """
    return traced_space(replace(spec_in(path), name=str(path)))


def described_original(space: TracedSpace, task: LearningTask) -> str:
    """Return how good the network is as it was brought, and how much of it can be chosen.

    Raises:
        RequestError: nothing of it can be chosen, or it tells other classes apart than the data have.
    """
    num_classes = len(task.dataset.classes)
    if task.agent_class.holds_out_classes:
        raise RequestError(
            f"{space.spec.name} is a network that you brought, and networks that are brought tell classes apart: this "
            "task compares images of classes that no network has seen; give --task classification, or a search space "
            "with --space"
        )
    if space.spec.num_classes != num_classes:
        raise RequestError(
            f"{space.spec.name} tells {space.spec.num_classes} classes apart, {task.dataset.name} has {num_classes}: "
            "give the data that it was trained on, or a network whose last layer was trained for these"
        )
    if not space.decisions:
        layers = "; ".join(dict.fromkeys(f"{x.name}: {x.reason}" for x in layer_overviews(space)))
        raise RequestError(
            f"nothing of {space.spec.name} can be chosen ({layers}): freeze less of it with --freeze, or give a "
            "smaller space.step; hwnas convert tells of every layer why it stays"
        )
    original = space.supernet().subnet(space.original).eval()
    test = task.batches(task.dataset.test, BATCH_SIZE).in_order()
    (name, value), *_ = task.test_agent.metrics(original, test).items()
    share = elastic_share(space)
    return (
        f"{space.spec.name} as it was brought: {name.replace('_', ' ')} {value:.2%} on the test images of "
        f"{_times(space.spec.input_shape)}; {len(space.decisions)} decisions, "
        f"{share:.0%} of its multiply-accumulates can be chosen"
    )


def _digest(traced: TracedNetwork, pins: Pins, resolutions: Sequence[Resolution]) -> str:
    """Return what differs where the networks of a space do."""
    text = graph_text(canonical_graph(traced.graph)) + repr(pins)
    text += "".join(graph_text(canonical_graph(resolution.graph)) for resolution in resolutions)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _num_outputs(model: str, traced: TracedNetwork) -> int:
    shape = traced.graph.shape_of(traced.graph.output)
    if len(shape) != 2 or not isinstance(shape[0], PerImage) or not isinstance(shape[1], int):
        found = "x".join("batch" if isinstance(size, PerImage) else str(size) for size in shape)
        raise RequestError(f"{model} gives {found} for a batch of images, expected a number for each class")
    return shape[1]


def _require_matching(pins: Pins, traced: TracedNetwork) -> None:
    """Raise RequestError where a pattern of what is to stay matches no layer."""
    names = [tensor.name for tensor in traced.graph.tensors]
    for pattern in pins.freeze:
        if not any(replace(pins, freeze=(pattern,)).holds(name) for name in names):
            modules = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
            raise RequestError(f"{pattern} matches nothing that could be frozen; there are {', '.join(modules)}"[:600])


def _require_same(source: SourceNetwork, traced: TracedNetwork, images_NCHW: torch.Tensor) -> None:
    """Raise RequestError unless the traced network computes what the original computes on some images."""
    with torch.no_grad():
        expected = source.module(images_NCHW.contiguous())  # networks that view what they are given expect that
        if not isinstance(expected, torch.Tensor):
            raise RequestError(
                f"{source.name} gives a {type(expected).__name__}, expected one tensor with a number for each class: "
                "wrap it in a module that gives that alone"
            )
        found = GraphNetwork(traced.graph, traced.values).eval()(images_NCHW)
        alone = source.module(images_NCHW[:1].contiguous())
    largest = max(float(expected.abs().max()), 1e-12)
    difference = float((expected - found).abs().max()) / largest
    if not difference <= TOLERANCE:
        raise RequestError(
            f"{source.name} as it was traced computes something else than the original: outputs differ by "
            f"{difference:.2g} of the largest on {len(images_NCHW)} images, expected {TOLERANCE:g} at most; does it "
            "draw random numbers, or depend on what it was given before?"
        )
    _require_scores(source, traced, expected, alone)


def _require_scores(
    source: SourceNetwork, traced: TracedNetwork, outputs_NK: torch.Tensor, alone_1K: torch.Tensor
) -> None:
    """Raise RequestError unless outputs depend on the image only, and are scores where nothing says what else.

    Args:
        outputs_NK: for some images.
        alone_1K: for the first of them, given by itself.
    """
    is_same_alone = alone_1K.shape == outputs_NK[:1].shape
    most = ALONE_TOLERANCE * max(float(outputs_NK.abs().max()), 1e-12)
    if not is_same_alone or not float((outputs_NK[:1] - alone_1K).abs().max()) <= most:
        raise RequestError(
            f"{source.name} gives an image something else alone than among {len(outputs_NK)}: expected outputs that "
            "depend on the image only; does it normalise over the batch, such as by a softmax over dimension 0?"
        )
    if ending_of(traced.graph) is None and _is_distribution(outputs_NK):
        raise RequestError(
            f"{source.name} gives probabilities, but not by a softmax as its last operation: expected that, or scores "
            "of the classes, which training needs; leave out what follows or replaces the softmax"
        )


def _is_distribution(outputs_NK: torch.Tensor) -> bool:
    """Return whether the outputs for each image are shares that sum to 1."""
    is_share = bool((outputs_NK >= 0).all()) and outputs_NK.ndim == 2 and outputs_NK.shape[1] > 1
    return is_share and bool(((outputs_NK.sum(dim=1) - 1).abs() < SUM_TOLERANCE).all())


def _times(shape: tuple[int, ...] | torch.Size) -> str:
    return "x".join(map(str, shape))
