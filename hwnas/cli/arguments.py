"""The features that the arguments of every command have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hwnas.cli.completion import heads, names_of
from hwnas.cli.parameters import parameters_of, taking
from hwnas.cli.ranges import ranged

if TYPE_CHECKING:
    from onnx_models.image_size import ImageSize
    from search_spaces import SpaceSpec

RunFolder = Annotated[Path, typer.Argument(help="The run's folder.")]
MovedData = Annotated[Path | None, typer.Option("--data-root", help="Where the run's data are, where they have moved.")]
RunTable = Annotated[Path | None, typer.Option("--lut", help="The run's table, where an earlier version kept no copy.")]
MovedDevices = Annotated[Path | None, typer.Option("--devices", help="The devices file, where it has moved.")]
MovedSpace = Annotated[
    str | None,
    typer.Option("--space", help="The run's search space, where its code has moved.", autocompletion=names_of("space")),
]

SpaceName = Annotated[str, typer.Option(help="Search space; see hwnas spaces.", autocompletion=names_of("space"))]
InputSize = Annotated[int, ranged("input_size", "Pixels a side.")]
Channels = Annotated[int, ranged("channels", "Colour planes of the input.")]
Width = Annotated[float, ranged("width", "Width multiplier.")]
Head = Annotated[
    str,
    typer.Option(help="What networks end in: classifier, detection or segmentation.", autocompletion=heads),
]

DevicesFile = Annotated[Path | None, typer.Option("--devices", help="A devices file of your own.")]
Threads = Annotated[int | None, ranged("threads", "Threads, instead of the device's own.")]
Batch = Annotated[int | None, ranged("batch", "Batch size, instead of the device's own.")]

TableFile = Annotated[Path, typer.Option("--output", "-o", help="The table's file.")]

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Quiet = Annotated[bool, typer.Option(help="No progress.")]


def device_named(words: str) -> Any:
    """Return a flag for the name of a device, with that help."""
    return typer.Option(help=words, autocompletion=names_of("device"))


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceFlags:
    """The device, and the file that says what it is."""

    device: Annotated[str, device_named("Device; see hwnas devices.")] = "cpu"
    devices: DevicesFile = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeFlags:
    """The data and the width that a search space is made for."""

    input_size: Annotated[
        str | None, typer.Option(help="Pixels a side, or height and width as 128x256 [224, or the first resolution].")
    ] = None
    resolutions: Annotated[
        str | None, typer.Option(help="Sizes of images that networks choose from, the largest first: 96,80,64 [one].")
    ] = None
    channels: Channels = 3
    classes: Annotated[int | None, ranged("classes", "Number of classes [1000, or 10 up to 64 pixels].")] = None
    width: Width = 1.0
    head: Head = "classifier"

    def spec(self, name: str) -> SpaceSpec:
        """Return the spec of the space of that name."""
        from hwnas.quantities import parse_image_size
        from onnx_models.image_size import height_width
        from search_spaces import SpaceSpec
        from search_spaces.registry import NETWORK_SUFFIX
        from search_spaces.space import SMALL_INPUT, known_head

        if name.endswith(NETWORK_SUFFIX):
            return self._spec_of_network(name)
        sizes = () if self.resolutions is None else tuple(map(parse_image_size, self.resolutions.split(",")))
        size = sizes[0] if sizes and self.input_size is None else self.size
        return SpaceSpec(
            name=name,
            input_size=size,
            in_channels=self.channels,
            num_classes=self.classes or (10 if min(height_width(size)) <= SMALL_INPUT else 1000),
            width=self.width,
            head=known_head(self.head),
            resolutions=sizes,
        )

    @property
    def size(self) -> ImageSize:
        """The size of images that is given, or the usual one."""
        from hwnas.quantities import USUAL_SIZE, parse_image_size

        return parse_image_size(USUAL_SIZE if self.input_size is None else self.input_size)

    def _spec_of_network(self, name: str) -> SpaceSpec:
        """Return the spec of a network that somebody brought: its file says itself which images it is for."""
        from hwnas.errors import RequestError
        from search_spaces.traced.file import spec_in

        own, usual = spec_in(Path(name)), ShapeFlags()
        differing = {
            "--input-size": self.input_size is not None and self.size != own.input_size,
            "--resolutions": self.resolutions is not None,
            "--channels": self.channels not in (usual.channels, own.in_channels),
            "--classes": self.classes not in (None, own.num_classes),
            "--width": self.width != usual.width,
            "--head": self.head != usual.head,
        }
        if given := ", ".join(flag for flag, differs in differing.items() if differs):
            raise RequestError(f"{given}: {name} is {own} and says so itself; leave it out")
        return replace(own, name=name)


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedFlags:
    """Where what a run was begun with is now."""

    data_root: MovedData = None
    lut: RunTable = None
    devices: MovedDevices = None
    space: MovedSpace = None

    @property
    def by_setting(self) -> dict[str, Path | str | None]:
        """The places by the settings' dotted names; None where nothing has moved."""
        return {"data.root": self.data_root, "lut": self.lut, "devices": self.devices, "space.name": self.space}


def all_callbacks(group: typer.Typer) -> list[typer.models.TyperInfo | typer.models.CommandInfo]:
    """Return what holds a function that is called with arguments: commands, and groups that have one."""
    own = [] if group.registered_callback is None else [group.registered_callback]
    inner = [found for g in group.registered_groups if g.typer_instance for found in all_callbacks(g.typer_instance)]
    return [*own, *group.registered_commands, *inner]


def with_paths_expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the home folder in place of the `~` that begins a path or the name of a component."""

    @taking(parameters_of(command), command)
    def expanding(**arguments: object) -> None:
        command(**{name: _expanded(value) for name, value in arguments.items()})

    return expanding


def _expanded(value: object) -> object:
    from hwnas.errors import RequestError
    from safe_files import FileError, expanded

    if isinstance(value, list):
        return [_expanded(part) for part in value]
    try:
        if isinstance(value, Path):
            return expanded(value)
        return expanded(value) if isinstance(value, str) and value.startswith("~/") else value
    except FileError as error:
        raise RequestError(str(error)) from error
