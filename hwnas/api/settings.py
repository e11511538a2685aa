"""The settings of a run as arguments: those that have flags, and all others by dotted name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Required, TypedDict

from hwnas.api.checks import File, plain
from hwnas.errors import RequestError
from hwnas.flags import overrides_of, with_settings


class RunArguments(TypedDict, total=False):
    """Arguments that are named and mean what the flags of `hwnas search` do; `hwnas settings` has their ranges."""

    input_size: str | int
    model: str
    weights: File
    freeze: Sequence[str]
    resolutions: Sequence[str | int]
    width: float
    device: str
    devices: File
    accept_table: bool
    precision: str
    task: str
    max_latency: Required[str]
    budgets: Sequence[str]
    percentile: int
    max_params: str
    max_macs: str
    max_memory: str
    max_energy: str
    confidence: float
    data_root: File
    train_images: int
    validation_images: int
    skip_broken_images: bool
    epochs: int
    criterion: str
    accelerator: str
    strategy: str
    retrain_epochs: int
    inherit: bool
    seed: int
    agent: str
    objective: str
    evaluator: str
    executor: str
    actors: int
    evaluations: int
    out: File
    tracker: str
    allow_unmeasured: bool


def overrides(arguments: Mapping[str, object], settings: Mapping[str, object] | None) -> dict[str, object]:
    """Return settings by dotted name, as a command line gives them.

    Args:
        settings: by dotted name, as after --set.

    Raises:
        RequestError: a setting was given twice.
        TypeError: there is no such argument.
    """
    require_known(
        arguments, RunArguments, remedy="; others of hwnas settings go into settings={'retrain.ema_decay': 0.99}"
    )
    if settings is not None and not (isinstance(settings, Mapping) and all(isinstance(name, str) for name in settings)):
        raise RequestError(f"expected settings by dotted name, such as {{'retrain.ema_decay': 0.99}}, got {settings!r}")
    flags, others = ({name: plain(value) for name, value in given.items()} for given in (arguments, settings or {}))
    return with_settings(overrides_of(flags), others)


def require_known(arguments: Mapping[str, object], known: type, *, remedy: str = "") -> None:
    """Make sure that a call names only arguments that there are: one that is ignored would look as if it acted.

    Args:
        known: the typed dictionary of those that there are.

    Raises:
        TypeError: there is no such argument.
    """
    if unknown := sorted(set(arguments) - set(known.__annotations__)):
        raise TypeError(f"unknown argument {unknown[0]!r}; there are {', '.join(known.__annotations__)}{remedy}")
