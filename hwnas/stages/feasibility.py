"""Whether any network keeps what a request limits: told before the work that would be in vain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from hwnas.constraint import LATENCY, HardLimits, Limit, is_latency
from hwnas.errors import RequestError
from hwnas.search import RandomAgent
from hwnas.stages.latency import Latency
from hwnas.stages.limits import CostLimits, graph_limits, search_limits
from hwnas.stages.setup import Setup
from search_spaces import SearchSpace
from search_spaces.overview import extreme_architecture

WORDS = {
    "params": ("--max-params", "parameters"),
    "macs": ("--max-macs", "multiply-accumulates"),
    "memory_bytes": ("--max-memory", "bytes"),
    "energy_mj": ("--max-energy", "mJ"),
}
"""The flag that limits a cost other than latency, and the cost's unit."""


def _words(latency: Latency) -> dict[str, tuple[str, str]]:
    """Return the flag that limits each cost, and the cost's unit: latencies on several devices have one each."""
    return {
        LATENCY: (latency.flag, "ms"),
        **{member.cost: (member.latency.flag, "ms") for member in latency.fleet},
        **WORDS,
    }


def require_small_enough_graphs(space: SearchSpace, limits: CostLimits, *, batch: int) -> None:
    """Raise RequestError where no network is as small as asked for; nothing is measured for that."""
    if limits.any_of_graphs:
        _require_each(space, graph_limits(space, limits, batch=batch), WORDS)


def require_feasible(setup: Setup, latency: Latency, constraint: HardLimits, *, confidence: float | None) -> None:
    """Raise RequestError where no network keeps all limits at once by prediction, under the budget or a further one."""
    condition, words = "" if confidence is None else f" with a confidence of {confidence:g}", _words(latency)
    for max_ms in (latency.max_ms, *latency.more_ms.values()):
        limits = search_limits(constraint, latency, max_ms)
        _require_each(setup.space, limits.limits, words, condition)
        _require_together(setup, limits, words)
    _require_together(setup, constraint, words)  # what references keep


def _require_each(
    space: SearchSpace, limits: Iterable[Limit], words: Mapping[str, tuple[str, str]], condition: str = ""
) -> None:
    for limit in limits:
        if limit.maximum is not None and (least := _least(space, limit)) > limit.maximum:
            flag, unit = words[limit.name]
            asked = flag + condition if is_latency(limit.name) else flag
            raise RequestError(
                f"{asked} allows {_given(limit.maximum)} {unit}, but no "
                f"architecture of this space has less than {_rounded_up(least)} {unit}; give a larger {flag}"
            )


def _require_together(setup: Setup, limits: HardLimits, words: Mapping[str, tuple[str, str]]) -> None:
    """Raise where networks that keep one limit break another."""
    given = [(limit, limit.maximum) for limit in limits.limits if limit.maximum is not None]
    if len(given) < 2:
        return
    try:
        RandomAgent(setup.space, limits, setup.rng("feasible")).ask(1)
    except RequestError as error:
        each = [
            f"{flag} {_given(maximum)} {unit} (the least is {_rounded_up(_least(setup.space, limit))})"
            for limit, maximum in given
            for flag, unit in [words[limit.name]]
        ]
        raise RequestError(f"no architecture keeps all of {', '.join(each)}; give one of them more") from error


def _least(space: SearchSpace, limit: Limit) -> float:
    if limit.least is not None:
        return limit.least()
    return float(limit.cost(np.array([extreme_architecture(space, limit.cost, largest=False)]))[0])


def _rounded_up(value: float) -> str:
    """Return a cost as a text that can be given as a limit."""
    return str(int(value)) if value == int(value) else f"{1.0005 * value:.4g}"


def _given(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.6g}"
