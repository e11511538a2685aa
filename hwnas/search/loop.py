"""The search loop: ask, evaluate, tell, and write down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hwnas.errors import RunError
from hwnas.search.agent import Evaluation, SearchAgent, SearchResult
from profilers.durable import JsonLines
from search_spaces import Architecture

GENERATION = 10
"""Architectures asked for at a time."""


def run_search(
    agent: SearchAgent,
    scores: Callable[[Sequence[Architecture]], Iterator[float]],
    costs: Callable[[Architecture], Mapping[str, float]],
    *,
    history_path: Path,
    num_evaluations: int,
    seed: int,
    on_evaluation: Callable[[int, Evaluation], None] = lambda *_: None,
) -> SearchResult:
    """Evaluate what the agent proposes until the number is reached or it has no more to propose.

    A generation's scores are asked for together, and come in its order. Every evaluation is appended to the history
    file. An interrupted search is replayed: the agent, made from the same seed, proposes the same again and is told the
    recorded scores instead of new ones.

    Raises:
        RunError: the history belongs to another search.
        RequestError: there is no feasible architecture.
    """
    history: list[Evaluation] = []
    reasons: Mapping[Architecture, str] = getattr(agent, "reasons", {})
    with JsonLines(history_path) as lines:
        recorded = list(lines.records)
        while len(history) < num_evaluations:
            asked = agent.ask(min(GENERATION, num_evaluations - len(history)))
            if not asked:
                break
            known = recorded[len(history) : len(history) + len(asked)]
            generation = [_replayed(r, a, history_path) for r, a in zip(known, asked, strict=False)]
            for evaluation in generation:
                on_evaluation(len(history) + 1, evaluation)
            started = time.monotonic()
            new = asked[len(generation) :]
            for architecture, score in zip(new, scores(new), strict=True):
                evaluation = Evaluation(architecture=architecture, score=score, costs=costs(architecture))
                ended = time.monotonic()
                seconds, reason = round(ended - started, 3), reasons.get(architecture)
                lines.append({**evaluation.as_dict(), "seconds": seconds} | ({"reason": reason} if reason else {}))
                started = ended
                generation.append(evaluation)
                on_evaluation(len(history) + len(generation), evaluation)
            agent.tell(generation)
            history.extend(generation)
    return SearchResult(history=tuple(history), seed=seed)


def _replayed(record: Mapping[str, object], architecture: Architecture, path: Path) -> Evaluation:
    evaluation = Evaluation(
        architecture=tuple(record["architecture"]),  # type: ignore[arg-type]
        score=float(record["score"]),  # type: ignore[arg-type]
        costs=dict(record["costs"]),  # type: ignore[call-overload]
    )
    if evaluation.architecture != architecture:
        raise RunError(f"{path} records another search than this one; remove it to search again")
    return evaluation
