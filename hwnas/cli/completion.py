"""Names that a shell completes; what they are taken from is imported once a shell asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

Complete = Callable[[typer.Context, str], list[str]]
"""The names that begin with a text, of a command line that is being written."""

DEVICE = "device"


def names_of(kind: str) -> Complete:
    """Return what completes the names of the built-in components of a kind, or of devices."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        names = _devices(context) if kind == DEVICE else _built_ins(kind)
        return [name for name in names if name.startswith(incomplete)]

    return complete


def one_of(values: Sequence[str]) -> Complete:
    """Return what completes one of these values."""

    def complete(_context: typer.Context, incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def precisions(_context: typer.Context, incomplete: str) -> list[str]:
    """Return the precisions of tables that begin with a text."""
    from typing import get_args

    from onnx_models.precision import Precision

    return [name for name in get_args(Precision) if name.startswith(incomplete)]


def heads(_context: typer.Context, incomplete: str) -> list[str]:
    """Return the heads of networks that begin with a text."""
    from typing import get_args

    from search_spaces.space import HeadKind

    return [name for name in get_args(HeadKind) if name.startswith(incomplete)]


def kinds(_context: typer.Context, incomplete: str) -> list[str]:
    """Return the kinds of components that begin with a text."""
    from hwnas.components import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def kinds_and_device(context: typer.Context, incomplete: str) -> list[str]:
    """Return what `hwnas new` writes, as far as it begins with a text."""
    return [*kinds(context, incomplete), *(name for name in (DEVICE,) if name.startswith(incomplete))]


def pages(_context: typer.Context, incomplete: str) -> list[str]:
    """Return the pages of the documentation that begin with a text."""
    from hwnas.documentation import pages as all_pages

    return [name for name in all_pages() if name.startswith(incomplete)]


def _built_ins(kind: str) -> list[str]:
    from hwnas.components import built_ins

    return sorted(built_ins(kind))


def _devices(context: typer.Context) -> list[str]:
    """Return the devices of the file that the command line names, else those that come with the package."""
    from profilers import DeviceError
    from profilers.device import load_devices

    try:
        return sorted(load_devices(context.params.get("devices") or context.params.get("file")))
    except DeviceError:
        return []  # the command itself will say what is wrong with the file
