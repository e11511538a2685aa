"""Search agents: which architectures to try next under a constraint.

`hwnas.search` can be called too: it is the function that `hwnas.api.searching.search` documents.
"""

from __future__ import annotations

from hwnas.constraint import HardLimits, Limit
from hwnas.search.agent import Constraint, Evaluation, SearchAgent, SearchResult
from hwnas.search.differentiable import DifferentiableAgent
from hwnas.search.evolution import EvolutionAgent
from hwnas.search.generator import GeneratorAgent
from hwnas.search.local_search import LocalSearchAgent
from hwnas.search.nsga2 import Nsga2Agent, pareto_front
from hwnas.search.predictor import PredictorAgent
from hwnas.search.random_search import RandomAgent
from hwnas.search.reinforce import ReinforceAgent

AGENTS: dict[str, type[SearchAgent]] = {
    "differentiable": DifferentiableAgent,
    "evolution": EvolutionAgent,
    "generator": GeneratorAgent,
    "local-search": LocalSearchAgent,
    "nsga2": Nsga2Agent,
    "predictor": PredictorAgent,
    "random": RandomAgent,
    "reinforce": ReinforceAgent,
}
"""Search agents by name; each is made as `Agent(space, constraint, rng)`."""

__all__ = [
    "AGENTS",
    "Constraint",
    "DifferentiableAgent",
    "Evaluation",
    "EvolutionAgent",
    "GeneratorAgent",
    "HardLimits",
    "Limit",
    "LocalSearchAgent",
    "Nsga2Agent",
    "PredictorAgent",
    "RandomAgent",
    "ReinforceAgent",
    "SearchAgent",
    "SearchResult",
    "pareto_front",
]
