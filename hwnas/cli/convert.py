"""`hwnas convert`."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.arguments import Json
from hwnas.cli.printing import print_json, print_table
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from onnx_models.image_size import ImageSize
    from search_spaces.traced.ladder import Pins
    from search_spaces.traced.source import SourceNetwork
    from search_spaces.traced.space import TracedSpace


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFlags:
    """The images that a network is for, where it does not say itself."""

    input_size: Annotated[
        str | None, typer.Option(help="Pixels a side, or height and width as 128x256 [the network's own].")
    ] = None
    channels: Annotated[int | None, ranged("channels", "Colour planes of the input [the network's own, or 3].")] = None
    resolutions: Annotated[
        str | None, typer.Option(help="Sizes of images to choose from, its own first: 96,80,64 [its own].")
    ] = None

    @property
    def sizes(self) -> list[ImageSize]:
        """The sizes of images to choose from, where they are given."""
        from hwnas.quantities import parse_image_size

        return [parse_image_size(size) for size in _parts(self.resolutions)]

    @property
    def asked(self) -> tuple[int | None, int, int] | None:
        """Channels, where they are given, height and width; None for the network's own."""
        from hwnas.quantities import parse_image_size
        from onnx_models.image_size import height_width

        size = parse_image_size(self.input_size) if self.input_size is not None else next(iter(self.sizes), None)
        return None if size is None else (self.channels, *height_width(size))


@dataclass(frozen=True, kw_only=True, slots=True)
class LadderFlags:
    """Patterns of what stays as it is, and the widths that are offered of the rest."""

    freeze: Annotated[
        str | None, typer.Option(help="Parts that keep their size, by patterns of names: layer1.*,stem.")
    ] = None
    shares: Annotated[
        str | None, typer.Option(help="Shares of its channels that are offered [1,0.875,0.75,0.625,0.5,0.375,0.25].")
    ] = None
    step: Annotated[int, ranged("step", "Channels that its widths are multiples of.")] = 8

    @property
    def pins(self) -> Pins:
        """The same, as the search space takes it."""
        from search_spaces.traced.ladder import Pins

        return Pins(freeze=tuple(_parts(self.freeze)), shares=_shares(self.shares), step=self.step)


def convert(
    model: Annotated[
        str, typer.Argument(help="Your network: ./net.py:function, a program of torch.export (.pt2) or an ONNX file.")
    ],
    *,
    weights: Annotated[
        Path | None, typer.Option(help="Its weights: safetensors, or a state dict [those it has].")
    ] = None,
    images: ImageFlags,
    ladder: LadderFlags,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the search space here (.safetensors), for --space of any command."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Tell what of a network can be made smaller, and what stays as it is and why; nothing is trained or measured."""
    from hwnas.errors import RequestError
    from hwnas.pipeline.own_network import NUM_COMPARED, images_of, space_of
    from hwnas.pipeline.resolutions import networks_at
    from search_spaces.registry import NETWORK_SUFFIX
    from search_spaces.traced.file import save_space
    from search_spaces.traced.source import load_network

    if output is not None and output.suffix != NETWORK_SUFFIX:
        raise RequestError(f"expected an output that ends in {NETWORK_SUFFIX}, got {output}")
    with redirect_stdout(sys.stderr):  # code of one's own may print
        source = load_network(model, weights=weights, input_shape=images.asked)
        shape = _shape(source, images)
        others = networks_at(lambda other: load_network(model, weights=weights, input_shape=other), shape, images.sizes)
        space = space_of(source, images_of(shape, NUM_COMPARED), ladder.pins, others)
    if output is not None:
        save_space(space, output)
    if as_json:
        print_json(_record(space))
        return
    _print(space)
    if output is not None:
        print(f"wrote {output}; measure its table with hwnas profile --space {output} -o TABLE")


def _parts(text: str | None) -> list[str]:
    """Return what stands between the commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _shares(text: str | None) -> tuple[float, ...]:
    """Return the shares of channels that are offered."""
    from hwnas.errors import RequestError
    from search_spaces.traced.ladder import SHARES

    try:
        shares = SHARES if text is None else tuple(map(float, _parts(text)))
    except ValueError:
        shares = ()
    if not shares or not all(0 < share <= 1 for share in shares):
        raise RequestError(f"--shares: expected numbers above 0 and at most 1, such as 1,0.75,0.5, got {text!r}")
    return shares


def _shape(source: SourceNetwork, images: ImageFlags) -> tuple[int, int, int]:
    """Return channels, height and width of the images that a network is for."""
    from hwnas.errors import RequestError

    own, asked = source.input_shape, images.asked
    if own is None and asked is not None:
        own = (images.channels or 3, *asked[1:])
    if own is None:
        raise RequestError(f"{source.name} does not say which images it takes: give --input-size, and --channels")
    if len(own) != 3:
        raise RequestError(f"{source.name} takes values of {len(own)} axes, expected images: channels, height, width")
    return (own[0], own[1], own[2])


def _record(space: TracedSpace) -> dict[str, Any]:
    """Return what is printed, for scripts."""
    from dataclasses import asdict

    from search_spaces.traced.overview import elastic_share, layer_overviews

    return {
        "space": space.spec.as_dict(),
        "elastic_share": elastic_share(space),
        "num_blocks": len({b.key for b in space.candidates if not b.is_identity}),
        "decisions": {d.name: list(d.choices) for d in space.decisions},
        "layers": [asdict(layer) for layer in layer_overviews(space)],
    }


def _print(space: TracedSpace) -> None:
    """Print a line for each layer, and what it comes to."""
    from search_spaces.traced.overview import elastic_share, layer_overviews

    rows = [
        [layer.name, layer.kind, f"{layer.macs / 1e6:.2f}", ", ".join(layer.decisions) or f"stays: {layer.reason}"]
        for layer in layer_overviews(space)
    ]
    print_table(str(space.spec), ["layer", "operator", "MACs (M)", "depends on"], rows)
    print_table("decisions", ["decision", "choices"], [[d.name, " ".join(d.choices)] for d in space.decisions])
    blocks = len({b.key for b in space.candidates if not b.is_identity})
    print(
        f"{elastic_share(space):.0%} of the multiply-accumulates can be chosen by {len(space.decisions)} decisions: "
        f"{space.num_architectures:.3g} networks of {blocks} distinct blocks"
    )
