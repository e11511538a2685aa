"""One network that emits an architecture for any budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from hwnas.constraint import HardLimits
from hwnas.errors import RequestError
from hwnas.search.agent import Constraint, Evaluation, SearchAgent, Space
from hwnas.search.differentiable import most_likely_feasible
from hwnas.search.gaussian_process import ChoiceProcess, Posterior
from hwnas.search.predictor import normal_scores
from hwnas.search.sampling import FeasibleSampler
from hwnas.surrogate import AdditiveCosts
from search_spaces import Architecture, SearchSpace

NUM_INITIAL = 30
"""Random architectures, spread over what they cost, before the generator is trained."""

POOL = 2000
"""Random feasible architectures that the initial design is chosen from."""

NUM_STEPS, NUM_BUDGETS, LEARNING_RATE = 500, 32, 0.02
"""Settings of a training: steps, budgets per step, and Adam's learning rate."""

WIDTH = 64
"""Units of the hidden layer."""

EXCESS_WEIGHT = 20.0
"""The penalty on an expected cost above the budget by its whole size, in standard deviations of the scores."""

NUM_DRAWS = 64
"""Architectures drawn for one budget, of which the critic names one."""

LEAST_TOLD = 2
"""Evaluations that the generator can learn from."""

LOWEST_QUANTILE = 0.002
"""Budgets go down to what so many of the random architectures cost less than."""


class ArchitectureGenerator:
    """From budgets to a distribution over architectures, in one pass of a small network.

    After the architecture generator of Huang and Chu 2021 (SGNAS), with another teacher. There the gradient comes
    through the supernet, one batch at a time; here it comes through a model of the supernet's scores, a Gaussian
    process. As its kernel is a product and a sum over decisions, what it expects of a distribution of independent
    choices is known exactly, without sampling, and so are the expected costs.

    Args:
        limits: its maxima are the largest budgets that there will be.
    """

    def __init__(self, space: SearchSpace, limits: HardLimits, seed: int) -> None:
        self._space = space
        self._limits = limits
        self._sizes = [len(d.choices) for d in space.decisions]
        self._costs = AdditiveCosts(space, limits)
        self._random = torch.Generator().manual_seed(seed)
        sample = space.sample_many(POOL, np.random.default_rng(seed))
        lowest = np.quantile(limits.shares(sample), LOWEST_QUANTILE, axis=0)
        self._lowest = torch.from_numpy(np.minimum(lowest, 1.0)).float()
        self._network = self._untrained()
        self._posterior: Posterior | None = None

    def train(self, posterior: Posterior) -> None:
        """Start anew and learn to choose what the posterior expects most of, for budgets of every size.

        Args:
            posterior: of scores with a standard deviation of about one.
        """
        self._posterior = posterior
        self._network = self._untrained()
        optimizer = torch.optim.Adam(self._network.parameters(), lr=LEARNING_RATE)
        for step in range(NUM_STEPS):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 - step / NUM_STEPS)
            ratios_BL = self.random_budgets(NUM_BUDGETS)
            probabilities = self._probabilities(ratios_BL)
            loss = -self._expected_scores(probabilities).mean()
            if self._costs.num_limits:
                excess = self._costs.expected_shares(probabilities) / ratios_BL - 1.0
                loss = loss + EXCESS_WEIGHT * excess.clamp(min=0.0).sum(dim=1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def random_budgets(self, num: int) -> torch.Tensor:
        """Return [num, num_limits] budgets as shares of the largest."""
        drawn = torch.rand(num, self._costs.num_limits, generator=self._random)
        return self._lowest + (1.0 - self._lowest) * drawn

    def emit(self, limits: HardLimits, rng: np.random.Generator, num: int = 1) -> list[Architecture]:
        """Up to `num` different architectures that keep the limits exactly, the most promising first.

        Args:
            limits: the same costs as the generator was made for, with maxima no larger.

        Raises:
            RequestError: no architecture keeps them, as far as can be seen.
        """
        assert self._posterior is not None, "train first"
        given = {limit.name: limit.maximum for limit in limits.limits}
        ratios = [given[x.name] / x.maximum for x in self._limits.limits if x.maximum is not None]  # type: ignore[operator]
        with torch.no_grad():
            probabilities = self._probabilities(torch.tensor([ratios], dtype=torch.float32))
        log = [p[0].double().clamp(min=1e-12).log().numpy() for p in probabilities]
        drawn = [tuple(int((each + rng.gumbel(size=len(each))).argmax()) for each in log) for _ in range(NUM_DRAWS)]
        if (likeliest := most_likely_feasible(log, limits)) is not None:
            drawn.append(likeliest)
        sampler = FeasibleSampler(self._space, limits, rng)
        rows = sampler.feasible(np.array(drawn))
        if not len(rows):
            found = sampler.sample()
            if found is None:
                raise RequestError("no architecture keeps this budget")
            return [found]
        promised, _ = self._posterior.predict(rows)
        return [tuple(int(c) for c in rows[i]) for i in np.argsort(-promised, kind="stable")[:num]]

    def _untrained(self) -> nn.Sequential:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=self._random)))
            return nn.Sequential(
                nn.Linear(self._costs.num_limits, WIDTH), nn.SiLU(), nn.Linear(WIDTH, sum(self._sizes))
            )

    def _probabilities(self, ratios_BL: torch.Tensor) -> list[torch.Tensor]:
        """Per decision [num_budgets, num_choices]."""
        spread = (1.0 - self._lowest).clamp(min=1e-6)
        logits = self._network((ratios_BL - self._lowest) / spread * 2.0 - 1.0)
        return [part.softmax(dim=1) for part in logits.split(self._sizes, dim=1)]

    def _expected_scores(self, probabilities: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return [num_budgets] what the posterior expects where choices are independent."""
        assert self._posterior is not None
        posterior = self._posterior
        weights, product, additive = posterior.process.parameters
        falls = torch.from_numpy(np.exp(-weights)).float()
        rows = torch.from_numpy(np.asarray(posterior.rows))
        equal_BND = torch.stack([p[:, rows[:, d]] for d, p in enumerate(probabilities)], dim=2)
        kernel_BN = product * (falls + (1.0 - falls) * equal_BND).prod(dim=2) + additive * equal_BND.mean(dim=2)
        return kernel_BN @ torch.from_numpy(posterior.weights).float()


class GeneratorAgent(SearchAgent):
    """Trains an architecture generator on what it evaluated, and proposes what it emits.

    The initial design is spread over all costs below the constraint. From then on the generator is trained anew for
    every generation: half of the proposals are for the constraint itself, the other half for smaller budgets, so
    that it learns about those too. `emit` then answers any smaller budget without an evaluation.
    """

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None:
        self._rng = rng
        self._sampler = FeasibleSampler(space, constraint, rng)
        self.reasons: dict[Architecture, str] = self._sampler.reasons
        self._process = ChoiceProcess(num_decisions=len(space.decisions))
        self._told: list[Evaluation] = []
        self._num_trained = 0
        self._generator: ArchitectureGenerator | None = None
        if isinstance(space, SearchSpace) and isinstance(constraint, HardLimits):
            self._generator = ArchitectureGenerator(space, constraint, int(rng.integers(2**31)))
            self._limits = constraint

    def ask(self, num: int) -> list[Architecture]:
        """Return the initial design, then what the generator emits; random feasible ones where it has nothing new."""
        if self._generator is None or len(self._told) < NUM_INITIAL:
            return self._initial_design(num)
        self._train()
        found: list[Architecture] = []
        for ratios in self._generator.random_budgets(num // 2).tolist():
            emitted = self._generator.emit(self._scaled(ratios), self._rng, num=NUM_DRAWS)
            found += self._unseen(
                emitted, 1, f"emitted for {', '.join(f'{ratio:.0%}' for ratio in ratios)} of the budget"
            )
        emitted = self._generator.emit(self._limits, self._rng, num=NUM_DRAWS)
        found += self._unseen(emitted, num - len(found), "emitted for the budget")
        return found + self._sampler.fill(num - len(found), lambda _: None)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Remember them; the generator learns when it is asked next."""
        self._told += evaluations

    def emit(self, limits: HardLimits) -> Architecture:
        """Return the architecture for other budgets, no larger than the constraint's, by everything told so far.

        Raises:
            RequestError: too little was told yet, or no architecture keeps these budgets.
        """
        assert self._generator is not None, "it is made for spaces and limits whose costs are known"
        if len(self._told) < LEAST_TOLD:
            raise RequestError(
                f"the generator learns from evaluations: there are {len(self._told)}, and {LEAST_TOLD} at least are "
                "needed; search with more --evaluations"
            )
        self._train()
        return self._generator.emit(limits, self._rng)[0]

    def _train(self) -> None:
        assert self._generator is not None
        if len(self._told) == self._num_trained:
            return
        self._num_trained = len(self._told)
        rows = np.array([e.architecture for e in self._told])
        values = normal_scores(np.array([e.score for e in self._told]))
        self._process.fit(rows, values)
        self._generator.train(self._process.condition(rows, values))

    def _initial_design(self, num: int) -> list[Architecture]:
        """Return those of many random architectures whose costs are nearest to ones drawn evenly over their range."""
        if self._generator is None:
            return self._sampler.fill(num, lambda _: None)
        pool = self._sampler.feasible(self._sampler.peek(POOL))
        if not len(pool):
            return self._sampler.fill(num, lambda _: None)
        shares = self._limits.worst_share(pool)
        wanted = self._rng.uniform(shares.min(), shares.max(), size=num)
        nearest = np.abs(shares[None, :] - wanted[:, None]).argmin(axis=1)
        found = self._unseen([tuple(int(c) for c in pool[i]) for i in nearest], num, "initial design")
        return found + self._sampler.fill(num - len(found), lambda _: None)

    def _scaled(self, ratios: Sequence[float]) -> HardLimits:
        limited = [limit for limit in self._limits.limits if limit.maximum is not None]
        scaled = self._limits
        for limit, ratio in zip(limited, ratios, strict=True):
            assert limit.maximum is not None
            scaled = scaled.with_maximum(limit.name, limit.maximum * ratio)
        return scaled

    def _unseen(self, architectures: Sequence[Architecture], num: int, reason: str) -> list[Architecture]:
        found = [a for a in dict.fromkeys(architectures) if a not in self._sampler.seen][:num]
        self._sampler.seen.update(found)
        self.reasons |= dict.fromkeys(found, reason)
        return found
