"""The contract of search agents, and the records they trade in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

import numpy as np

from hwnas.setting_types import Objective
from search_spaces import Architecture, Decision


class Space(Protocol):
    """The members of a search space that a search agent needs, so that any table or toy can stand in for one."""

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions, for each of which an architecture has a choice."""
        ...

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return an architecture at random."""
        ...

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the one form of all architectures that are the same network."""
        ...


class Constraint(Protocol):
    """The members of a constraint that a search agent needs."""

    def is_met(self, architecture: Architecture) -> bool:
        """Return whether the architecture may be proposed."""
        ...

    def cost(self, architecture: Architecture) -> float:
        """Return the cost that the constraint limits; lower is nearer to being met."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """An architecture, how good it is (higher is better), and what it costs, by name."""

    architecture: Architecture
    score: float
    costs: Mapping[str, float]

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, for files."""
        return {"architecture": list(self.architecture), "score": self.score, "costs": dict(self.costs)}


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """Everything a search evaluated, in order."""

    history: tuple[Evaluation, ...]

    @property
    def ranked(self) -> tuple[Evaluation, ...]:
        """The evaluations, best score first, cheaper first among equals, earlier first among those."""
        return tuple(sorted(self.history, key=lambda e: (-e.score, *e.costs.values())))

    @property
    def best(self) -> Evaluation:
        """The best evaluation."""
        return self.ranked[0]


class SearchAgent(Protocol):
    """Proposes feasible architectures, never the same network twice, and learns from their evaluations.

    Made as `Agent(space, constraint, rng)`. Agents inherit from it, so that they have the defaults of what they say
    nothing of.

    Attributes:
        reads_supernet: whether it is made with the trained supernet too, as `supernet=`.
        reads_features: whether it is made with what cheap evaluators say of architectures too, as `features=`.
        objectives: what it can seek, the first unless asked otherwise; where there are several, it is made with the one
            that is asked for, as `objective=`.
        reasons: why each architecture was proposed, for the history.

    Raises, when it is made or asked:
        RequestError: no feasible architecture can be found.
    """

    reads_supernet: ClassVar[bool] = False
    reads_features: ClassVar[bool] = False
    objectives: ClassVar[tuple[Objective, ...]] = ("score",)
    reasons: Mapping[Architecture, str] = MappingProxyType({})

    def __init__(self, space: Space, constraint: Constraint, rng: np.random.Generator) -> None: ...

    @abstractmethod
    def ask(self, num: int) -> list[Architecture]:
        """Return up to `num` architectures in canonical form; none once no unseen feasible one can be found."""

    @abstractmethod
    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Take in how good the architectures asked for turned out to be."""
