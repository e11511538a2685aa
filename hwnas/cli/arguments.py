"""The features that the arguments of every command have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hwnas.cli.completion import names_of

RunFolder = Annotated[Path, typer.Argument(help="The run's folder.")]
MovedData = Annotated[Path | None, typer.Option("--data-root", help="Where the run's data are, where they have moved.")]
RunTable = Annotated[Path | None, typer.Option("--lut", help="The run's table, where an earlier version kept no copy.")]
MovedDevices = Annotated[Path | None, typer.Option("--devices", help="The devices file, where it has moved.")]
MovedSpace = Annotated[
    str | None,
    typer.Option("--space", help="The run's search space, where its code has moved.", autocompletion=names_of("space")),
]


def all_callbacks(group: typer.Typer) -> list[typer.models.TyperInfo | typer.models.CommandInfo]:
    """Return what holds a function that is called with arguments: commands, and groups that have one."""
    own = [] if group.registered_callback is None else [group.registered_callback]
    inner = [found for g in group.registered_groups if g.typer_instance for found in all_callbacks(g.typer_instance)]
    return [*own, *group.registered_commands, *inner]


def with_paths_expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with the home folder in place of the `~` that begins a path or the name of a part."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def expanding(**arguments: object) -> None:
        command(**{name: _expanded(value) for name, value in arguments.items()})

    expanding.__signature__ = signature  # type: ignore[attr-defined]
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
