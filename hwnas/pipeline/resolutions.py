"""The network that a person brings, at other resolutions than its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from hwnas.errors import RequestError
from onnx_models.image_size import ImageSize, height_width, image_size
from search_spaces import SpaceError
from search_spaces.resolutions import smaller_sizes
from search_spaces.traced.graph import TracedNetwork
from search_spaces.traced.source import SourceNetwork
from search_spaces.traced.trace import trace

ONE_SIZE = (
    "networks that count pixels, in a linear layer behind a flattened map or in position embeddings, take one size"
)


NUM_IMAGES = 2
"""Images that a network is tried on."""


def networks_at(
    load: Callable[[tuple[int, int, int]], SourceNetwork], shape: tuple[int, int, int], asked: Sequence[ImageSize]
) -> list[SourceNetwork]:
    """Return the network for each of the resolutions that are asked for, but for its own.

    Args:
        load: gives the network for images of a shape.
        shape: channels, height and width of its own images.
        asked: its own resolution first; none for that alone.

    Raises:
        RequestError: they are no resolutions of it.
        SourceError: it says itself which images it takes.
    """
    if not asked:
        return []
    channels, height, width = shape
    try:
        sizes = smaller_sizes(image_size(height, width), tuple(asked))
    except SpaceError as error:
        raise RequestError(f"resolutions: {error}") from error
    return [load((channels, *height_width(size))) for size in sizes]


def _require_running(other: SourceNetwork, size: str) -> None:
    """Raise RequestError unless a network runs on images of its shape: torch tells why it does not, tracing less so."""
    assert other.input_shape is not None
    try:
        with torch.no_grad():
            other.module(torch.zeros(NUM_IMAGES, *other.input_shape))
    except Exception as error:  # whatever the network's own code raises
        reason = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise RequestError(
            f"{other.name} does not run on images of {size}: {reason}; {ONE_SIZE}: leave that one out of --resolutions"
        ) from error


def traced_at(other: SourceNetwork, own: TracedNetwork) -> TracedNetwork:
    """Return a network as it was traced at another resolution.

    Args:
        own: as it was traced at its own.

    Raises:
        RequestError: it does not run there, or holds other numbers.
    """
    assert other.input_shape is not None
    size = "x".join(map(str, other.input_shape))
    _require_running(other, size)
    traced = trace(other.module, other.input_shape)
    for name, value in traced.values.items():
        if name in own.values and not torch.equal(value, own.values[name]):
            raise RequestError(
                f"{other.name} holds another {name} for images of {size}: its numbers depend on the resolution, or on "
                "when it is made; leave that one out of --resolutions, or give --weights"
            )
    return traced
