"""Tables with the samples that a worker on a simulated machine would give."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from simulated_disturbance import conditions, restart_factors, samples_ns
from simulated_machine import Layer, Machine
from simulated_run import simulate
from torch import nn

from lut import LatencyTable, Provenance
from lut.networks import NetworkMeasurement, draw_networks
from profilers import Measurement
from profilers.device import find_device
from profilers.session import ROUNDS_PER_RESTART
from profilers.visits import VISITS_PER_RESTART
from search_spaces import Block, SearchSpace
from search_spaces.blocks.stochastic_depth import StochasticDepth

FUSED = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Identity, nn.Dropout, nn.Flatten, StochasticDepth)
"""Modules that are no operation of their own once a runtime has optimised the graph."""


def simulated_table(
    machine: Machine, space: SearchSpace, *, seed: int = 0, num_networks: int = 50, rounds: int = 40
) -> LatencyTable:
    """The table that profiling a space on the machine gives, neither calibrated nor certified: `finished` does that."""
    blocks = {b.key: b for b in space.candidates if not b.is_identity}
    plans = draw_networks(space, num_networks, seed=seed)
    layers = {key: block_layers(block) for key, block in blocks.items()}
    layers |= {p.key: network_layers(space.blocks(p.architecture)) for p in plans}
    measurements = _measured(machine, layers, rounds=rounds, rng=np.random.default_rng([seed, rounds]))
    return LatencyTable(
        space=space.spec,
        provenance=Provenance(
            device=find_device("cpu").settings(),
            worker={"onnxruntime": "simulated", "cpu_model": machine.name},
            precision="fp32",
            date="2026-01-01T00:00:00+00:00",
            rounds=rounds,
            seed=seed,
            onnx_sha256=dict.fromkeys(layers, "0" * 64),
        ),
        entries=tuple(measurements[key] for key in blocks),
        networks=tuple(
            NetworkMeasurement(architecture=p.architecture, role=p.role, measurement=measurements[p.key]) for p in plans
        ),
    )


def network_layers(blocks: Sequence[Block]) -> tuple[Layer, ...]:
    """The layers of a network of these blocks."""
    return tuple(layer for block in blocks for layer in block_layers(block))


@lru_cache(maxsize=4096)
def block_layers(block: Block) -> tuple[Layer, ...]:
    """The layers of a block, in the order they run; found on a module without memory."""
    layers: list[Layer] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        layers.append(_layer(module, inputs[0], output))

    with torch.device("meta"), torch.no_grad():
        module = block.build().eval()
        for part in module.modules():
            if not list(part.children()) and not isinstance(part, FUSED):
                part.register_forward_hook(note)
        module(*(torch.empty(1, *shape) for shape in block.input_shapes))
    return tuple(layers)


def _layer(module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> Layer:
    weight_bytes, macs, pixels, kind = 0, x.numel(), 1, "light"
    if isinstance(module, nn.Conv2d | nn.Linear):
        pixels = output.numel() // module.weight.shape[0]
        weight_bytes, macs = 4 * module.weight.numel(), module.weight.numel() * pixels
        kind = "pointwise"
        if isinstance(module, nn.Conv2d) and module.weight[0, 0].numel() > 1:
            kind = "depthwise" if module.groups == module.in_channels > 1 else "dense"
    return Layer(
        weight_bytes=weight_bytes,
        input_bytes=4 * x.numel(),
        output_bytes=4 * output.numel(),
        macs=macs,
        pixels=pixels,
        kind=kind,
    )


def _measured(
    machine: Machine, layers: dict[str, tuple[Layer, ...]], *, rounds: int, rng: np.random.Generator
) -> dict[str, Measurement]:
    """Every model once a round in random order, opened anew every restart, as `profilers.session` has it."""
    num = len(layers)
    runs_ns = np.array([simulate(machine, own).conditions_ns() for own in layers.values()])
    position = np.array([rng.permutation(num) for _ in range(rounds)])  # [rounds, models]
    moment = np.arange(rounds)[:, None] * num + position
    restart, round_of_restart = np.divmod(np.arange(rounds), ROUNDS_PER_RESTART)
    is_slow, is_busy = conditions(machine, rounds * num, rng)[:, moment]
    factors = restart_factors(machine, (restart[-1] + 1, num), rng)[restart]
    # [rounds, models, runs]
    run_ns = runs_ns[np.arange(num), is_slow.astype(int), is_busy.astype(int)] * factors[..., None]
    wall_ns, cpu_ns = samples_ns(machine, run_ns[..., -1], is_busy, rng)
    first_ns, _ = samples_ns(machine, run_ns[..., 0], is_busy, rng)
    visits = (restart * VISITS_PER_RESTART + round_of_restart * num)[:, None] + position
    names = ("visits", "wall_ns", "cpu_ns", "first_ns")
    columns = (_integers(column) for column in (visits, wall_ns, cpu_ns, first_ns))
    return {
        key: Measurement(key=key, **dict(zip(names, map(tuple, own), strict=True)))
        for key, *own in zip(layers, *columns, strict=True)
    }


def _integers(column: NDArray[np.generic]) -> list[list[int]]:
    """[rounds, models] numbers as whole ones, model by model."""
    return np.rint(column).astype(np.int64).T.tolist()
