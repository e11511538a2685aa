"""Architecture distributions learnt together with the weights, kept within the budgets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from hwnas.constraint import HardLimits
from hwnas.errors import RequestError
from hwnas.surrogate import AdditiveCosts
from hwnas.training.strategy import Moment, Step, TrainingStrategy
from search_spaces import SearchSpace
from search_spaces.supernet import MixableSupernet, Supernet

MULTIPLIER_STEP = 0.05
"""The growth of the multipliers of broken budgets, per step and per excess as a share of the budget."""

PENALTY = 1.0
"""Weight of the squared excess, as a share of the budget."""

FIRST_TEMPERATURE, LAST_TEMPERATURE = 5.0, 0.1
"""First and last temperatures of the Gumbel distribution, falling exponentially, about as in Wu et al. 2019."""


class Differentiable(TrainingStrategy, ABC):
    """Trains weights and logits over choices by one loss: the task's, and an augmented Lagrangian of the budgets.

    The expected cost under independent choices is exact for the additive surrogate of each budget's cost. Its
    multiplier rises while the expectation is above the budget, and is part of the checkpoint (Nocedal and Wright 2006,
    chapter 17).
    Which single network this ends in is the differentiable search agent's choice, by the exact cost.

    Raises, in `prepare`:
        RequestError: the supernet has no separate candidates to mix.
    """

    def __init__(self, space: SearchSpace, constraint: HardLimits) -> None:
        self._space = space
        self._costs = AdditiveCosts(space, constraint)

    def prepare(self, supernet: Supernet) -> None:
        """Add the logits, all zero, and the multipliers."""
        if not isinstance(supernet, MixableSupernet):
            raise RequestError(
                f"differentiable strategies mix separate candidate blocks, and {self._space.spec.name} shares weights "
                "between them: use sandwich or uniform"
            )
        supernet.decision_logits = nn.ParameterList(torch.zeros(len(d.choices)) for d in self._space.decisions)
        supernet.register_buffer("budget_multipliers", torch.zeros(self._costs.num_limits))

    def accumulate(self, step: Step) -> torch.Tensor:
        """Gradients of weights and logits; gives the task's loss alone."""
        supernet = step.supernet
        assert isinstance(supernet, MixableSupernet)
        logits = supernet.choice_logits()
        weights = [self.weights(each, step.rng, step.moment) for each in logits]
        value = step.loss(supernet.forward_mixed(step.x_NCHW, weights), step.targets_N)
        multipliers = supernet.budget_multipliers
        assert isinstance(multipliers, torch.Tensor)
        shares = self._costs.expected_shares([torch.softmax(each, dim=0).cpu() for each in logits])
        excess = shares.to(multipliers.device) - 1.0
        (value + (multipliers * excess + PENALTY / 2 * excess.clamp(min=0.0) ** 2).sum()).backward()
        multipliers.add_(MULTIPLIER_STEP * excess.detach()).clamp_(min=0.0)
        return value.detach()

    @abstractmethod
    def weights(self, logits: torch.Tensor, rng: np.random.Generator, moment: Moment) -> Mapping[int, torch.Tensor]:
        """Weights of a layer's candidates by choice, from its logits [num_choices]; others are not computed."""


class SoftmaxMixture(Differentiable):
    """Every candidate, weighted by the softmax of the logits (Liu et al. 2019, DARTS, on one set of images)."""

    def weights(self, logits: torch.Tensor, rng: np.random.Generator, moment: Moment) -> Mapping[int, torch.Tensor]:
        return dict(enumerate(torch.softmax(logits, dim=0)))


class GumbelMixture(Differentiable):
    """Softmax with Gumbel noise and falling temperature (Wu et al. 2019, FBNet; Jang et al. 2017)."""

    def weights(self, logits: torch.Tensor, rng: np.random.Generator, moment: Moment) -> Mapping[int, torch.Tensor]:
        progress = moment.step / max(1, moment.num_steps - 1)
        temperature = FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** progress
        noise = torch.from_numpy(rng.gumbel(size=len(logits)).astype(np.float32)).to(logits.device)
        return dict(enumerate(torch.softmax((torch.log_softmax(logits, dim=0) + noise) / temperature, dim=0)))


class BinarisedPaths(Differentiable):
    """Two sampled candidates a layer, of which one counts; both get a gradient (Cai et al. 2019, ProxylessNAS)."""

    def weights(self, logits: torch.Tensor, rng: np.random.Generator, moment: Moment) -> Mapping[int, torch.Tensor]:
        probabilities = torch.softmax(logits.detach().cpu().double(), dim=0).numpy()
        num = min(2, int(np.count_nonzero(probabilities)))
        chosen = rng.choice(len(logits), size=num, replace=False, p=probabilities / probabilities.sum())
        between = torch.softmax(logits[torch.from_numpy(chosen).to(logits.device)], dim=0)
        counts = torch.zeros(num, device=logits.device)
        counts[int(rng.random() >= float(between[0].detach()))] = 1.0
        gates = counts + between - between.detach()  # hard forward, soft backward
        return dict(zip(chosen.tolist(), gates, strict=True))
