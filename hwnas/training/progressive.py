"""Progressive shrinking."""

from __future__ import annotations

import re

import numpy as np
import torch

from hwnas.constraint import HardLimits
from hwnas.errors import RequestError
from hwnas.training.strategy import Step, TrainingStrategy, distillation_of
from search_spaces import Architecture, SearchSpace
from search_spaces.cost import GraphCosts
from search_spaces.overview import extreme_architecture

PHASES = ("kernel", "depth", "expansion")
"""The dimensions that become free one by one, once the largest network has had its share of the steps."""


class ProgressiveShrinking(TrainingStrategy):
    """First the largest network, then smaller kernels, depths and expansions too (Cai et al. 2020, Once-for-All).

    Each of the four phases takes a quarter of the steps. From the second on, a step trains one random architecture of
    those that are free, by the targets and by what the largest says. Before expansions shrink, channels are sorted by
    importance. Which part of a choice is which is told by its name, such as `k3_e6`; decisions without such names are
    depths.

    Raises:
        RequestError: the space's networks are not slices of the largest.
    """

    def __init__(self, space: SearchSpace, _constraint: HardLimits) -> None:
        if not space.is_elastic:
            raise RequestError(
                "progressive shrinking is for spaces whose networks are slices of the largest, such as "
                f"ofa-mobilenetv3; {space.spec.name} has weights of its own for every choice: use another strategy"
            )
        self._space = space
        self._largest = extreme_architecture(space, GraphCosts(space).macs, largest=True)
        self._free = [self._free_choices(num) for num in range(len(PHASES) + 1)]

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of the drawn path."""
        supernet, moment = step.supernet, step.moment
        phase = self._phase(moment.step, moment.num_steps)
        is_first = moment.step == 0 or self._phase(moment.step - 1, moment.num_steps) != phase
        if is_first and phase == len(PHASES):
            supernet.sort_channels()
        outputs, value = step.learnt_by(self._draw(phase, step.rng))
        total = value
        if phase > 0:
            with torch.no_grad():
                teacher = supernet(step.x_NCHW, self._largest)
            total = value + distillation_of(step.loss)(outputs, teacher)
        total.backward()
        return value.detach()

    def _draw(self, phase: int, rng: np.random.Generator) -> Architecture:
        """Return a random architecture of those that are free in a phase."""
        return tuple(int(rng.choice(choices)) for choices in self._free[phase])

    def _phase(self, step: int, num_steps: int) -> int:
        return min(len(PHASES), step * (len(PHASES) + 1) // max(1, num_steps))

    def _free_choices(self, phase: int) -> list[list[int]]:
        free = set(PHASES[:phase])
        found = []
        for decision, best in zip(self._space.decisions, self._largest, strict=True):
            parts = [re.fullmatch(r"k(\d+)_e(\d+)", name) for name in decision.choices]
            kept = []
            for choice, part in enumerate(parts):
                largest = parts[best]
                if part is None or largest is None:
                    is_free = "depth" in free if all(p is None for p in parts) else phase > 0
                else:
                    is_free = (part[1] == largest[1] or "kernel" in free) and (
                        part[2] == largest[2] or "expansion" in free
                    )
                if is_free or choice == best:
                    kept.append(choice)
            found.append(kept)
        return found
