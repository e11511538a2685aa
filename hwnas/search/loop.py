"""The search loop: ask, evaluate, tell, and write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hwnas.errors import RunError
from hwnas.evaluators.score import Baselines, Evaluate, Score
from hwnas.search.agent import Evaluation, SearchAgent, SearchResult
from hwnas.search.history import evaluation_of, open_history
from safe_files.writing import JsonLines
from search_spaces import Architecture


def run_search(
    agent: SearchAgent,
    evaluate: Evaluate,
    costs: Callable[[Architecture], Mapping[str, float]],
    *,
    history_path: Path,
    num_evaluations: int,
    generation_size: int,
    stop_below: int | None = None,
    on_evaluation: Callable[[int, Evaluation], None] = lambda *_: None,
) -> SearchResult:
    """Evaluate what the agent proposes until the number is reached or it has no more to propose.

    A generation is evaluated together, in its order. Every evaluation is appended to the history file. An interrupted
    search is replayed: the agent, made from the same seed, proposes the same again and is told the recorded scores
    instead of new ones. The caller holds the run's lock: an evaluation that a crash cut short is taken out of the file.

    Args:
        generation_size: architectures asked for at a time: the fewer, the more an agent knows when asked again.
        stop_below: evaluators that work in chunks stop early at an architecture that is certain to be worse than so
            many others, evaluated in earlier generations, which are no slower; None for never.

    Raises:
        RunError: the history belongs to another search or is damaged, or an evaluator gives no number.
        RequestError: there is no feasible architecture.
    """
    history: list[Evaluation] = []
    baselines = Baselines(num=stop_below)
    with open_history(history_path) as lines:
        recorded = list(lines.records)
        while len(history) < num_evaluations:
            asked = agent.ask(min(generation_size, num_evaluations - len(history)))
            if not asked:
                break
            known = recorded[len(history) : len(history) + len(asked)]
            generation = [
                (_replayed(r, a, history_path), Score.from_dict(r)) for r, a in zip(known, asked, strict=False)
            ]
            for evaluation, _ in generation:
                on_evaluation(len(history) + 1, evaluation)
            for evaluation, score in _evaluated(asked[len(known) :], evaluate, costs, baselines, agent, lines):
                generation.append((evaluation, score))
                on_evaluation(len(history) + len(generation), evaluation)
            agent.tell([evaluation for evaluation, _ in generation])
            for evaluation, score in generation:
                baselines.add(evaluation.costs, score)
            history.extend(evaluation for evaluation, _ in generation)
    return SearchResult(history=tuple(history))


def _evaluated(
    architectures: Sequence[Architecture],
    evaluate: Evaluate,
    costs: Callable[[Architecture], Mapping[str, float]],
    baselines: Baselines,
    agent: SearchAgent,
    lines: JsonLines,
) -> Iterator[tuple[Evaluation, Score]]:
    """Yield what is found out about architectures, each once it is written down."""
    all_costs = [costs(a) for a in architectures]
    evaluated = evaluate(architectures, [baselines.of(c) for c in all_costs])
    for architecture, cost, score in zip(architectures, all_costs, evaluated, strict=True):
        if not math.isfinite(score.value):
            raise RunError(
                f"the evaluator gave {'-'.join(map(str, architecture))} a score of {score.value}, expected a finite "
                "number; search with another evaluator, or train the supernet anew with a lower learning rate"
            )
        evaluation = Evaluation(architecture=architecture, score=score.value, costs=cost)
        reason = agent.reasons.get(architecture)
        # Nothing by the clock: the same search writes the same bytes.
        lines.append({**evaluation.as_dict(), **score.as_dict(), **({"reason": reason} if reason else {})})
        yield evaluation, score


def _replayed(record: Mapping[str, object], architecture: Architecture, path: Path) -> Evaluation:
    evaluation = evaluation_of(record, path)
    if evaluation.architecture != architecture:
        raise RunError(f"{path} records another search than this one; remove it to search again")
    return evaluation
