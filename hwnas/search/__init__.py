"""Search agents: which architectures to try next under a constraint."""

from __future__ import annotations

from hwnas.search.agent import Constraint, Evaluation, SearchAgent, SearchResult
from hwnas.search.constraint import HardLimits, Limit
from hwnas.search.differentiable import DifferentiableAgent
from hwnas.search.evolution import EvolutionAgent
from hwnas.search.predictor import PredictorAgent
from hwnas.search.random_search import RandomAgent

AGENTS: dict[str, type[SearchAgent]] = {
    "differentiable": DifferentiableAgent,
    "evolution": EvolutionAgent,
    "predictor": PredictorAgent,
    "random": RandomAgent,
}
"""Search agents by name; each is made as `Agent(space, constraint, rng)`."""

__all__ = [
    "AGENTS",
    "Constraint",
    "DifferentiableAgent",
    "Evaluation",
    "EvolutionAgent",
    "HardLimits",
    "Limit",
    "PredictorAgent",
    "RandomAgent",
    "SearchAgent",
    "SearchResult",
]
