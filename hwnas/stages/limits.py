"""The costs of networks, and the limits that a request sets them."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf

from hwnas.constraint import LATENCY, HardLimits, Limit
from hwnas.profiling import onnx_cache
from hwnas.quantities import parse_bytes, parse_count, parse_mj
from hwnas.stages.latency import FleetMember, Latency
from lut.model import energy_mj
from search_spaces import SearchSpace
from search_spaces.cost import GraphCosts
from search_spaces.memory import MemoryModel


@dataclass(frozen=True, kw_only=True, slots=True)
class CostLimits:
    """The limits of costs other than latency, as people write them; None for costs without one."""

    max_params: str | None = None
    max_macs: str | None = None
    max_memory: str | None = None
    max_energy: str | None = None

    @property
    def any_of_graphs(self) -> bool:
        """Whether anything is limited that follows from the graph alone."""
        return bool(self.max_params or self.max_macs or self.max_memory)


def hard_limits(space: SearchSpace, latency: Latency, limits: CostLimits, *, batch: int) -> HardLimits:
    """Return everything that a request limits, and the sizes of networks for the record.

    Args:
        batch: that networks are measured with.
    """
    found = [
        Limit(
            name=LATENCY,
            cost=latency.model.predict_ms,
            maximum=latency.limit_ms,
            least=lambda: latency.model.extreme()[1],
        ),
        *map(_limit_on, latency.fleet),
        *graph_limits(space, limits, batch=batch),
    ]
    if limits.max_energy:
        table = latency.model.table
        found.append(
            Limit(
                name="energy_mj",
                cost=lambda architectures: energy_mj(table, space, architectures),
                maximum=parse_mj(limits.max_energy),
            )
        )
    return HardLimits(limits=tuple(found))


def _limit_on(member: FleetMember) -> Limit:
    """Return the limit of the latency on a further device of a fleet, with the margin of its own certificate."""
    limit_ms = member.latency.limit_ms
    return Limit(
        name=member.cost,
        cost=member.latency.model.predict_ms,
        maximum=None if isinf(limit_ms) else limit_ms,
        least=lambda: member.latency.model.extreme()[1],
    )


def graph_limits(space: SearchSpace, limits: CostLimits, *, batch: int) -> list[Limit]:
    """Return the limits of what follows from the graph alone, and takes no measuring."""
    costs = GraphCosts(space)
    found = [
        Limit(name="params", cost=costs.params, maximum=_count(limits.max_params)),
        Limit(name="macs", cost=costs.macs, maximum=_count(limits.max_macs)),
    ]
    if limits.max_memory:
        memory = MemoryModel(space, onnx_cache(), batch=batch)
        most = parse_bytes(limits.max_memory)
        found.append(Limit(name="memory_bytes", cost=memory.peak_bytes, maximum=most, least=memory.least_bytes))
    return found


def search_limits(constraint: HardLimits, latency: Latency, max_ms: float) -> HardLimits:
    """Return what a network must keep by prediction to be worth evaluating under a budget."""
    return constraint.with_maximum(LATENCY, max_ms * latency.search_margin)


def _count(text: str | None) -> float | None:
    return None if text is None else parse_count(text)
