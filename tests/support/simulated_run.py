"""How long a model takes on a simulated machine: its bytes go through the caches, its layers compute meanwhile."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from simulated_cache import cache_sets, home
from simulated_machine import KIB, MIB, Layer, Machine

NUM_RUNS = 4
"""Runs of a visit; others' models have swept the caches before the first."""

STEADY_RUNS = 2
"""Runs from the fourth on whose mean stands for the fourth: a chunk is many cache lines, whose luck averages out."""

NUM_BUFFERS = 3
"""Activation buffers that layers take turns with, as in a runtime's arena."""

LAYER_SPREAD = 0.06
"""Standard deviation of how well the runtime's kernels suit the shape of a layer."""

STREAMED_BANDWIDTH = 0.7
"""What a neighbour that streams through memory leaves of its bandwidth, and of the last cache's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedModel:
    """What a model loads and computes on a machine.

    Attributes:
        traffic: [NUM_RUNS, num_layers, num_levels + 1] bytes found in each cache and, last, in memory.
    """

    machine: Machine
    layers: tuple[Layer, ...]
    traffic: NDArray[np.float64]

    def run_ns(self, *, is_slow: bool = False, is_busy: bool = False) -> NDArray[np.float64]:
        """[NUM_RUNS] nanoseconds of the runs of a visit, at the lower frequency or beside a busy neighbour if so."""
        machine = self.machine
        clock = machine.slow_clock if is_slow else 1.0
        left = STREAMED_BANDWIDTH if is_busy and machine.neighbour == "streams" else 1.0
        shares = np.array([clock] * (len(machine.caches) - 1) + [clock * left, left])
        bytes_per_ns = shares * np.array([*(cache.gb_per_s for cache in machine.caches), machine.memory_gb_per_s])
        loading = (self.traffic / bytes_per_ns).sum(axis=2)
        computing = np.array([layer.macs / _macs_per_ns(machine, layer) for layer in self.layers]) / clock
        layers = np.maximum(loading, computing) + (1 - machine.overlap) * np.minimum(loading, computing)
        overhead = 1e3 * (machine.call_us + machine.operation_us * len(self.layers)) / clock
        return _aliasing(machine, self.layers) * (overhead + layers.sum(axis=1))

    def conditions_ns(self) -> NDArray[np.float64]:
        """[2, 2, NUM_RUNS] nanoseconds by whether the clock is slow and whether the neighbour is at it."""
        return np.array([[self.run_ns(is_slow=a, is_busy=b) for b in (False, True)] for a in (False, True)])


def simulate(machine: Machine, layers: Sequence[Layer]) -> SimulatedModel:
    """The model of these layers on the machine."""
    luck = random.Random(zlib.crc32(repr(layers).encode()))
    chunk = 16 * KIB if machine.caches[-1].size_bytes >= 2 * MIB else 8 * KIB
    levels = [cache_sets(cache.size_bytes, machine.random_eviction, luck, chunk=chunk) for cache in machine.caches]
    accesses = [(*access, [home(access[1], sets) for sets in levels]) for access in _accesses(layers, chunk=chunk)]
    traffic = np.zeros((NUM_RUNS - 1 + STEADY_RUNS, len(layers), len(levels) + 1))
    for number in range(len(traffic)):
        found = traffic[number].ravel().tolist()
        for layer, name, size, homes in accesses:
            place = layer * (len(levels) + 1)
            for cache_set in homes:
                if cache_set.touch(name, size):
                    break
                place += 1
            found[place] += size
        traffic[number] = np.reshape(found, traffic.shape[1:])
    steady = traffic[NUM_RUNS - 1 :].mean(axis=0, keepdims=True)
    return SimulatedModel(
        machine=machine, layers=tuple(layers), traffic=np.concatenate([traffic[: NUM_RUNS - 1], steady])
    )


def _accesses(layers: Sequence[Layer], *, chunk: int) -> list[tuple[int, int, int]]:
    """Layer, name of the chunk and bytes of everything that a run touches, in order; buffers' chunks have names < 0."""
    accesses: list[tuple[int, int, int]] = []
    next_weight = 0
    for number, layer in enumerate(layers):

        def touch(first: int, step: int, num_bytes: int, number: int = number) -> int:
            sizes = [min(chunk, num_bytes - start) for start in range(0, num_bytes, chunk)]
            accesses.extend((number, first + step * i, size) for i, size in enumerate(sizes))
            return len(sizes)

        source, target = (-1 - (number + i) % NUM_BUFFERS for i in (0, 1))
        touch(source, -NUM_BUFFERS, layer.input_bytes)
        next_weight += touch(next_weight, 1, layer.weight_bytes)
        touch(target, -NUM_BUFFERS, layer.output_bytes)
    return accesses


def _macs_per_ns(machine: Machine, layer: Layer) -> float:
    """How fast a layer computes; kernels suit shapes more or less, always the same shape alike."""
    if layer.kind == "pointwise":
        efficiency = 1.0 - (1.0 - machine.pointwise_efficiency) * 4 / (3 + layer.pixels)
    else:
        efficiency = 1.0 if layer.kind == "dense" else machine.depthwise_efficiency
    return machine.gmac_per_s * efficiency * float(np.exp(LAYER_SPREAD * _normal(f"{machine.name} {layer}")))


def _aliasing(machine: Machine, layers: Sequence[Layer]) -> float:
    return float(np.exp(machine.aliasing * _normal(f"{machine.name} {layers}"))) if machine.aliasing else 1.0


@lru_cache(maxsize=65536)
def _normal(text: str) -> float:
    """A standard normal number that the text determines."""
    return float(np.random.default_rng(zlib.crc32(text.encode())).standard_normal())
