"""Flags that would do nothing: they are refused, never ignored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwnas.config import SHORT_TRAINING

if TYPE_CHECKING:
    from hwnas.pipeline.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """A condition that must hold for a setting to act.

    Attributes:
        wanted: in words: what is expected, without which the setting does nothing.
    """

    holds: Callable[[Run], bool]
    wanted: str


_RAY = Condition(holds=lambda run: run.config.search.executor == "ray", wanted="--executor ray too")
_SHORT = Condition(
    holds=lambda run: run.config.search.evaluator == SHORT_TRAINING or run.config.search.trained_finalists > 0,
    wanted="--evaluator short-training or search.trained_finalists too",
)
_FILES = Condition(
    holds=lambda run: run.config.data.name != "digits", wanted="--data with another data set than digits too"
)
_SUPERNET = Condition(
    holds=lambda run: run.needs_supernet or not _is_built_in(run.config.search.evaluator),
    wanted="an evaluator or an agent that reads the supernet, or --inherit too",
)
_MODEL = Condition(
    holds=lambda run: run.config.space.model is not None, wanted="--model too, the network that it is about"
)
_NO_MODEL = Condition(
    holds=lambda run: run.config.space.model is None, wanted="no --model beside it, whose slices are the search space"
)
_NO_NETWORK = Condition(
    holds=lambda run: run.own_network is None, wanted="no network of your own beside it, which says itself how it is"
)
_FLEET = Condition(
    holds=lambda run: bool(run.config.fleet), wanted="several devices, each as --lut FILE=BUDGET, of which one may fail"
)
_NO_FILE = Condition(
    holds=lambda run: run.own_network is None or run.config.space.model is not None,
    wanted="no file of a network as --space, which says itself which images it is for",
)


def _is_built_in(evaluator: str) -> bool:
    """Return whether it is known what an evaluator reads."""
    from hwnas.config import TABULAR
    from hwnas.evaluators import EVALUATORS

    return evaluator in EVALUATORS or evaluator.startswith(TABULAR)


CONDITIONS: Mapping[str, Condition] = {
    "search.actors": _RAY,
    "search.ray_address": _RAY,
    "search.short_epochs": _SHORT,
    "data.root": _FILES,
    "trust.allow_unmeasured": _FLEET,
    "supernet.epochs": _SUPERNET,
    "supernet.strategy": _SUPERNET,
    "space.name": _NO_MODEL,
    "space.weights": _MODEL,
    "space.freeze": _MODEL,
    "space.resolutions": _NO_FILE,
    "space.shares": _MODEL,
    "space.step": _MODEL,
    "space.width": _NO_NETWORK,
    "space.outputs": _NO_NETWORK,
    "space.input_size": _NO_FILE,
}
"""The conditions under which settings have an effect, by dotted name."""


def refuse_idle(run: Run, given: Collection[str]) -> None:
    """Raise RequestError for a setting that was given and would do nothing.

    Args:
        given: dotted names of the settings that flags changed; those of a file stand beside all others.
    """
    from hwnas.errors import RequestError

    for name in given:
        if name in CONDITIONS and not CONDITIONS[name].holds(run):
            raise RequestError(f"{name}: expected {CONDITIONS[name].wanted}; without that it does nothing")


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
