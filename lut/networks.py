"""Whole networks that a table is calibrated and certified with."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as validated_dataclass

from lut.provenance import STRICT
from profilers import Measurement
from search_spaces import Architecture, SearchSpace
from search_spaces.cost import GraphCosts

CALIBRATION_SHARE = 0.4
"""The share of the networks that calibration takes; the rest is held out for the certificate."""

NUM_DUPLICATES = 6
"""Held-out networks that are opened a second time, to tell what two sessions of the same bytes differ by."""

POOL_PER_NETWORK = 50
CONCENTRATIONS = (0.3, 1.0, 10.0)
"""Concentrations of the Dirichlet distributions of a pool network's choices: from nearly one choice all over to
uniform."""

Role = Literal["calibration", "held_out", "twin"]

DUPLICATE: Role = "twin"
"""The word of files for a network that is measured a second time under another name."""


@validated_dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class NetworkMeasurement:
    """A whole network measured in the same rounds as the blocks, and what it is for.

    Raises:
        ValueError: the measurement is of another network, or of this one in another role.
    """

    architecture: Annotated[tuple[Annotated[int, Field(ge=0, lt=1_000_000)], ...], Field(min_length=1)]
    role: Role
    measurement: Measurement

    @model_validator(mode="after")
    def _measurement_is_of_it(self) -> NetworkMeasurement:
        if self.measurement.key != (expected := network_key(self.architecture, self.role)):
            raise ValueError(f"expected the measurement of {expected}, found that of {self.measurement.key}")
        return self


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkPlan:
    """A network to be measured; duplicates stand for the same bytes in a session of their own."""

    architecture: Architecture
    role: Role

    @property
    def key(self) -> str:
        """The network's name among the models that are measured."""
        return network_key(self.architecture, self.role)


def network_key(architecture: Architecture, role: Role) -> str:
    """Return a network's name among the models that are measured."""
    return f"{role}({'-'.join(map(str, architecture))})"


def draw_networks(space: SearchSpace, num: int, *, seed: int) -> list[NetworkPlan]:
    """Draw distinct networks spread over the range of multiply-accumulates, 40 % for calibration; and some duplicates.

    Uniform choices would crowd all networks into the middle of the range, so a pool is drawn in which some networks
    prefer few choices, and the networks are taken from equal slices of the pool's range. Networks for calibration are
    spread over the range of parameters, the smallest and the largest among them: what is learnt from the networks in
    between says little about those outside.
    """
    if num == 0:
        return []
    rng = np.random.default_rng([seed, num])
    pool = draw_pool(space, num * POOL_PER_NETWORK, rng)
    macs = GraphCosts(space).macs(np.array(pool))
    edges = np.linspace(macs.min(), macs.max(), num + 1)
    slices = [np.flatnonzero((macs >= low) & (macs <= high)) for low, high in pairwise(edges)]
    chosen: list[int] = []
    for members in slices:
        left = np.setdiff1d(members, chosen)
        if len(left):
            chosen.append(int(rng.choice(left)))
    spare = np.setdiff1d(np.arange(len(pool)), chosen)
    chosen += [int(i) for i in rng.permutation(spare)[: max(0, num - len(chosen))]]
    order = np.array(rng.permutation(chosen))
    by_params = np.argsort(GraphCosts(space).params(np.array(pool)[order]), kind="stable")
    is_calibration = np.zeros(len(order), dtype=bool)
    is_calibration[by_params[_spread(len(order), round(CALIBRATION_SHARE * len(order)))]] = True
    plans = [
        NetworkPlan(architecture=pool[i], role="calibration" if is_chosen else "held_out")
        for i, is_chosen in zip(order, is_calibration, strict=True)
    ]
    held_out = [p.architecture for p in plans if p.role == "held_out"]
    return plans + [NetworkPlan(architecture=a, role=DUPLICATE) for a in held_out[:NUM_DUPLICATES]]


def _spread(num: int, num_chosen: int) -> NDArray[np.int64]:
    """Return positions spread evenly over `num` places, the first and the last among them."""
    return np.linspace(0, num - 1, num_chosen).round().astype(np.int64)


def draw_pool(space: SearchSpace, num: int, rng: np.random.Generator) -> list[Architecture]:
    """Return the networks that differ among `num` drawn ones, some of which prefer few choices; canonical."""
    found: dict[Architecture, None] = {}
    for number in range(num):
        concentration = CONCENTRATIONS[number % len(CONCENTRATIONS)]
        cumulated: dict[tuple[str, ...], list[float]] = {}
        architecture = []
        for decision in space.decisions:
            if decision.choices not in cumulated:
                sums = rng.dirichlet(np.full(len(decision.choices), concentration)).cumsum()
                cumulated[decision.choices] = (sums / sums[-1]).tolist()
            # What Generator.choice draws with these weights, which checks and sums them anew for each draw.
            architecture.append(bisect_right(cumulated[decision.choices], rng.random()))
        form = space.canonical(tuple(architecture))
        if space.depends_on_input(form):
            found[form] = None
    return list(found)
