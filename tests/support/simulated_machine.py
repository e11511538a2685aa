"""Processors that never were: what a simulated machine is made of, and a zoo of them drawn at random.

`simulated_run` says how long a model takes on one, `simulated_table` makes the samples that a worker would, and
`simulated_worker` lets commands reach one as a device. Needs numpy alone, since that worker starts anew every restart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

KIB, MIB = 1 << 10, 1 << 20

Neighbour = Literal["none", "bursts", "streams"]
Kind = Literal["dense", "pointwise", "depthwise", "light"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One operation of a model.

    Attributes:
        macs: multiply-accumulates; of light operations (pooling, shuffles, activations), the elements they read.
        pixels: positions of the output's feature map; 1 of light operations.
        kind: of convolution; linear layers are pointwise.
    """

    weight_bytes: int
    input_bytes: int
    output_bytes: int
    macs: int
    pixels: int
    kind: Kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Cache:
    """One level: the bytes that this program has of it, and the bandwidth of what is found there."""

    size_bytes: int
    gb_per_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """A core, its caches and what goes on around it.

    Attributes:
        caches: nearest first.
        memory_gb_per_s: what one core gets of it.
        random_eviction: share of evictions that take any chunk; the others take the least recently used.
        gmac_per_s: of dense convolutions.
        depthwise_efficiency, pointwise_efficiency: relative to that; the second at one pixel, better with more.
        overlap: share of the shorter of computing and loading that is hidden behind the longer.
        call_us: of a run, whatever is in it.
        operation_us: of each operation.
        noise, restart_noise: relative standard deviation of each sample, and of a model as long as it is open.
        slow_clock, slow_share: the lower of two frequencies relative to the higher, and the share of time it is on.
        neighbour: what else runs: nothing, bursts that take the core, or streams through the memory.
        neighbour_share: share of time that it is at it.
        aliasing: standard deviation of a factor that every model has for good, by how its buffers fall upon each other.

    Raises:
        ValueError: there is no cache, a nearer one is larger or slower, or a share is not between 0 and 1.
    """

    name: str
    caches: tuple[Cache, ...]
    memory_gb_per_s: float
    random_eviction: float = 0.4
    gmac_per_s: float
    depthwise_efficiency: float = 0.3
    pointwise_efficiency: float = 0.8
    overlap: float = 0.6
    call_us: float
    operation_us: float = 0.5
    noise: float = 0.01
    restart_noise: float = 0.01
    slow_clock: float = 1.0
    slow_share: float = 0.0
    neighbour: Neighbour = "none"
    neighbour_share: float = 0.0
    aliasing: float = 0.0

    def __post_init__(self) -> None:
        sizes = [cache.size_bytes for cache in self.caches]
        speeds = [*(cache.gb_per_s for cache in self.caches), self.memory_gb_per_s]
        if not sizes or sizes != sorted(sizes) or speeds != sorted(speeds, reverse=True):
            raise ValueError(f"{self.name}: caches must grow and slow down towards memory, got {self.caches}")
        for name in ("random_eviction", "overlap", "slow_share", "neighbour_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{self.name}: {name} must be at least 0 and below 1, got {getattr(self, name)}")


ZEN1 = Machine(
    name="zen1",
    caches=(Cache(size_bytes=512 * KIB, gb_per_s=69.0), Cache(size_bytes=11 * MIB // 2, gb_per_s=53.0)),
    memory_gb_per_s=15.0,
    random_eviction=0.6,
    gmac_per_s=17.4,
    depthwise_efficiency=0.4,
    pointwise_efficiency=0.98,
    overlap=0.58,
    call_us=11.5,
    operation_us=1.0,
)
"""About the EPYC of the first generation, in a virtual machine, that tables were recorded on."""

WORST = Machine(
    name="worst",
    caches=(Cache(size_bytes=256 * KIB, gb_per_s=40.0), Cache(size_bytes=2 * MIB, gb_per_s=20.0)),
    memory_gb_per_s=6.0,
    gmac_per_s=8.0,
    call_us=10.0,
    aliasing=0.25,
    noise=0.02,
)
"""No calibration is any good here: a network takes some 25 % more or less for reasons that are in no block of it."""


def to_json(machine: Machine) -> str:
    """The machine as text."""
    return json.dumps(asdict(machine))


def from_json(text: str) -> Machine:
    """The machine that the text was made of."""
    fields = json.loads(text)
    return Machine(**{**fields, "caches": tuple(Cache(**cache) for cache in fields["caches"])})


def random_machine(number: int) -> Machine:
    """Machine `number` of the zoo: every third an embedded board, every third a laptop, every third a server."""
    rng = np.random.default_rng([number, 15])
    make = (_embedded, _laptop, _server)[number % 3]
    neighbour: Neighbour = ("none", "none", "bursts", "streams")[rng.integers(4)]
    has_steps = rng.random() < 0.5
    caches, memory_gb_per_s, gmac_per_s, call_us, operation_us = make(rng)
    return Machine(
        name=f"random:{number}",
        caches=caches,
        memory_gb_per_s=memory_gb_per_s,
        random_eviction=rng.uniform(0.2, 0.6),
        gmac_per_s=gmac_per_s,
        depthwise_efficiency=rng.uniform(0.1, 0.5),
        pointwise_efficiency=rng.uniform(0.5, 1.0),
        overlap=rng.uniform(0.3, 0.9),
        call_us=call_us,
        operation_us=operation_us,
        noise=rng.uniform(0.003, 0.02),
        restart_noise=rng.uniform(0.006, 0.014),
        slow_clock=rng.uniform(0.75, 0.95) if has_steps else 1.0,
        slow_share=rng.uniform(0.05, 0.3) if has_steps else 0.0,
        neighbour=neighbour,
        neighbour_share=0.0 if neighbour == "none" else rng.uniform(0.1, 0.4),
    )


_Parts = tuple[tuple[Cache, ...], float, float, float, float]
"""Caches, memory bandwidth, compute speed, call, operation."""


def _embedded(rng: np.random.Generator) -> _Parts:
    memory = rng.uniform(2, 4)
    last, first = memory * rng.uniform(1.3, 2.5), memory * rng.uniform(3, 5)
    caches = (
        Cache(size_bytes=int(rng.choice([32, 64])) * KIB, gb_per_s=first),
        _last_level(rng, [0.5, 1, 2], last),
    )
    return caches, memory, _log_uniform(rng, 1, 6), _log_uniform(rng, 6, 20), rng.uniform(1, 3)


def _laptop(rng: np.random.Generator) -> _Parts:
    memory = rng.uniform(8, 20)
    second, last = ((256, [3, 4, 6, 8]), (512, [4, 8, 16]), (1280, [8, 12, 18]))[rng.integers(3)]
    caches = (
        Cache(size_bytes=second * KIB, gb_per_s=memory * rng.uniform(3, 6)),
        _last_level(rng, last, memory * rng.uniform(1.3, 2.8)),
    )
    return caches, memory, _log_uniform(rng, 8, 40), _log_uniform(rng, 4, 16), rng.uniform(0.3, 1.5)


def _server(rng: np.random.Generator) -> _Parts:
    memory = rng.uniform(8, 40)
    caches = (
        Cache(size_bytes=32 * KIB, gb_per_s=memory * rng.uniform(6, 10)),
        Cache(size_bytes=int(rng.choice([512, 1024, 2048])) * KIB, gb_per_s=memory * rng.uniform(3, 5)),
        _last_level(rng, [8, 16, 32, 256], memory * rng.uniform(1.2, 2.5)),
    )
    levels = caches[rng.integers(2) :]
    return levels, memory, _log_uniform(rng, 10, 60), _log_uniform(rng, 2, 14), rng.uniform(0.2, 1)


def _last_level(rng: np.random.Generator, choices_mib: Sequence[float], gb_per_s: float) -> Cache:
    """One of the sizes, less what others have taken of it on every other machine."""
    left = 1.0 if rng.random() < 0.5 else rng.uniform(0.5, 1.0)
    return Cache(size_bytes=int(rng.choice(choices_mib) * left * MIB), gb_per_s=gb_per_s)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
