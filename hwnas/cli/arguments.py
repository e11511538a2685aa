"""What the arguments of every command have in common."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import typer


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


def refuse_without(needed: str, **flags: object) -> None:
    """Raise RequestError for flags that were given though they do nothing without another one.

    Args:
        needed: the other flag, as it is written.
        flags: values by parameter's name; None and False are those of flags that were not given.
    """
    from hwnas.errors import RequestError

    if given := _given(flags):
        raise RequestError(f"{given}: expected {needed} too, without which it does nothing")


def refuse_beside(other: str, **flags: object) -> None:
    """Raise RequestError for flags that were given though they do nothing beside another one."""
    from hwnas.errors import RequestError

    if given := _given(flags):
        raise RequestError(f"{given}: expected no {other}, beside which it does nothing")


def _given(flags: Mapping[str, object]) -> str:
    return ", ".join(
        f"--{name.replace('_', '-')}" for name, value in flags.items() if value is not None and value is not False
    )
