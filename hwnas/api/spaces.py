"""Search spaces: by name, or of a network that somebody brings."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from hwnas.api import checks
from hwnas.errors import RequestError
from hwnas.pipeline.own_network import NUM_COMPARED, images_of, space_of
from hwnas.pipeline.resolutions import networks_at
from hwnas.quantities import USUAL_SIZE
from search_spaces import SearchSpace, SpaceError, SpaceSpec, make_space
from search_spaces.registry import NETWORK_SUFFIX
from search_spaces.space import known_head
from search_spaces.traced.file import save_space, spec_in, traced_space
from search_spaces.traced.ladder import SHARES, Pins
from search_spaces.traced.source import SourceNetwork, load_network, network_of
from search_spaces.traced.space import TracedSpace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx_models.image_size import ImageSize

Shape = tuple[int, int, int]
"""Channels, height and width of an image."""


def space(
    name: str,
    *,
    input_size: int | str | ImageSize | None = None,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    head: str = "classifier",
    resolutions: str | Sequence[int | str | ImageSize] = (),
) -> SearchSpace:
    """Return a search space: a built-in, a YAML file, `./file.py:Name`, or the file of a network of one's own.

    Args:
        input_size: pixels a side, or height and width; None for the first of the resolutions, and 224 without these.
        width: multiplier of the channels.
        head: what networks end in: classifier, detection or segmentation.
        resolutions: sizes of images that networks choose from, the largest first, which need not be `input_size` too.

    Raises:
        SpaceError: there is no such space, or it cannot be made for these numbers or at these resolutions.
        RequestError: a size is none.
    """
    name = checks.text("name", name, "fbnet-s")
    sizes = _sizes(resolutions)
    if name.endswith(NETWORK_SUFFIX):
        if sizes:
            raise SpaceError(f"{name} says itself at which resolutions its network runs: expected none beside it")
        return traced_space(spec_in(Path(name)))
    spec = SpaceSpec(
        name=name,
        input_size=next(iter(sizes), USUAL_SIZE) if input_size is None else checks.size("input_size", input_size),
        in_channels=checks.count("channels", channels, least=1),
        num_classes=checks.count("classes", classes, least=1),
        width=checks.number("width", width),
        head=known_head(checks.text("head", head, "classifier")),
        resolutions=sizes,
    )
    return make_space(spec)


def convert(
    model: nn.Module | str,
    input_shape: Shape | None = None,
    *,
    weights: Path | None = None,
    freeze: str | Sequence[str] = (),
    shares: Sequence[float] = SHARES,
    step: int = 8,
    output: Path | str | None = None,
    resolutions: str | Sequence[int | str | ImageSize] = (),
) -> TracedSpace:
    """Return the search space of a network: all that can be made smaller of it, its weights sliced along.

    Args:
        model: a module, `./net.py:function`, a program of torch.export (.pt2) or an ONNX file.
        input_shape: channels, height and width of an image, where the network does not say.
        weights: safetensors or a state dict, where they are in a file of their own.
        freeze: parts that keep their size, by patterns of names, such as `layer1.*`.
        shares: of its channels that are offered.
        step: channels that widths are multiples of.
        output: write the space here too (.safetensors), for `space` of any function or command.
        resolutions: sizes of images that networks choose from, the network's own first.

    Raises:
        SourceError: there is no such network, or it cannot be a start.
        SpaceError: it cannot be traced.
        RequestError: what was traced computes something else, or nothing says which images it takes.
    """
    path = None if output is None else checks.file("output", output)
    if path is not None and path.suffix != NETWORK_SUFFIX:
        raise RequestError(f"expected an output that ends in {NETWORK_SUFFIX}, got {output}")
    file, sizes = None if weights is None else checks.file("weights", weights), _sizes(resolutions)
    source = source_of(model, input_shape, file)
    if source.input_shape is None or len(source.input_shape) != 3:
        raise RequestError(
            f"{source.name} does not say which images it takes: give input_shape=(channels, height, width)"
        )
    channels, height, width = source.input_shape
    pins = Pins(
        freeze=checks.texts("freeze", freeze),
        shares=tuple(map(checks.plain, checks.listed("shares", shares, "shares, such as (1.0, 0.5)"))),  # type: ignore[arg-type]
        step=checks.whole("step", step),
    )
    shape = (channels, height, width)
    others = networks_at(lambda other: source_of(model, other, file), shape, sizes)
    found = space_of(source, images_of(shape, NUM_COMPARED), pins, others)
    if path is not None:
        save_space(found, path)
    return found


def _sizes(resolutions: str | Sequence[int | str | ImageSize]) -> tuple[ImageSize, ...]:
    """Return the sizes of images to choose from.

    Raises:
        RequestError: they are no list of sizes.
    """
    asked = checks.texts("resolutions", resolutions) if isinstance(resolutions, str) else resolutions
    return tuple(
        checks.size("resolutions", each) for each in checks.listed("resolutions", asked, "sizes, such as (96, 80)")
    )


def source_of(model: nn.Module | str, input_shape: Shape | None, weights: Path | None = None) -> SourceNetwork:
    """Return a network to begin with; a module is copied, in evaluation mode and float32 on the CPU."""
    if input_shape is not None:
        sides = checks.listed("input_shape", input_shape, "channels, height and width")
        if len(sides) != 3:
            raise RequestError(f"input_shape: expected channels, height and width, got {input_shape!r}")
        channels, height, width = (checks.count("input_shape", side, least=1) for side in sides)
        input_shape = (channels, height, width)
    if not isinstance(model, nn.Module):
        if not isinstance(model, str | PathLike):
            raise RequestError(f"expected a network, a torch.nn.Module or what names one, got {model!r}")
        return load_network(str(model), weights=weights, input_shape=input_shape)
    if weights is not None:
        raise RequestError("weights are for networks that are named: expected none beside a module, which has its own")
    return network_of(model, input_shape=input_shape)
