"""The search loop: ask, evaluate, tell, and write down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from hwnas.errors import RunError
from hwnas.search.agent import Evaluation, SearchAgent, SearchResult
from profilers.durable import JsonLines
from search_spaces import Architecture

GENERATION = 10
"""Architectures asked for at a time."""


def run_search(
    agent: SearchAgent,
    score: Callable[[Architecture], float],
    costs: Callable[[Architecture], Mapping[str, float]],
    *,
    history_path: Path,
    num_evaluations: int,
    seed: int,
    on_evaluation: Callable[[int, Evaluation], None] = lambda *_: None,
) -> SearchResult:
    """Evaluate what the agent proposes until the number is reached or it has no more to propose.

    Every evaluation is appended to the history file. An interrupted search is replayed: the agent, made from the same
    seed, proposes the same again and is told the recorded scores instead of new ones.

    Raises:
        RunError: the history belongs to another search.
        RequestError: there is no feasible architecture.
    """
    history: list[Evaluation] = []
    with JsonLines(history_path) as lines:
        recorded = list(lines.records)
        while len(history) < num_evaluations:
            asked = agent.ask(min(GENERATION, num_evaluations - len(history)))
            if not asked:
                break
            generation: list[Evaluation] = []
            for architecture in asked:
                position = len(history) + len(generation)
                if position < len(recorded):
                    evaluation = _replayed(recorded[position], architecture, history_path)
                else:
                    evaluation = Evaluation(
                        architecture=architecture, score=score(architecture), costs=costs(architecture)
                    )
                    lines.append(evaluation.as_dict())
                generation.append(evaluation)
                on_evaluation(position + 1, evaluation)
            agent.tell(generation)
            history.extend(generation)
    return SearchResult(history=tuple(history), seed=seed)


def _replayed(record: Mapping[str, object], architecture: Architecture, path: Path) -> Evaluation:
    evaluation = Evaluation(**{**record, "architecture": tuple(record["architecture"])})  # type: ignore[arg-type]
    if evaluation.architecture != architecture:
        raise RunError(f"{path} records another search than this one; remove it to search again")
    return evaluation
