"""The search loop: ask, evaluate, tell, and write down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hwnas.errors import RunError
from hwnas.evaluators.judgement import Judge, Judgement, Rivals
from hwnas.search.agent import Evaluation, SearchAgent, SearchResult
from hwnas.search.history import evaluation_of, open_history
from safe_files.writing import JsonLines
from search_spaces import Architecture


def run_search(
    agent: SearchAgent,
    judge: Judge,
    costs: Callable[[Architecture], Mapping[str, float]],
    *,
    history_path: Path,
    num_evaluations: int,
    generation_size: int,
    give_up_below: int | None = None,
    on_evaluation: Callable[[int, Evaluation], None] = lambda *_: None,
) -> SearchResult:
    """Evaluate what the agent proposes until the number is reached or it has no more to propose.

    A generation is judged together, in its order. Every evaluation is appended to the history file. An interrupted
    search is replayed: the agent, made from the same seed, proposes the same again and is told the recorded scores
    instead of new ones. The caller holds the run's lock: an evaluation that a crash cut short is taken out of the file.

    Args:
        generation_size: architectures asked for at a time: the fewer, the more an agent knows when asked again.
        give_up_below: evaluators that work in parts give up an architecture that is certain to be worse than so many
            others, evaluated in earlier generations, which are no slower; None for never.

    Raises:
        RunError: the history belongs to another search or is damaged, or an evaluator gives no number.
        RequestError: there is no feasible architecture.
    """
    history: list[Evaluation] = []
    rivals = Rivals(num=give_up_below)
    with open_history(history_path) as lines:
        recorded = list(lines.records)
        while len(history) < num_evaluations:
            asked = agent.ask(min(generation_size, num_evaluations - len(history)))
            if not asked:
                break
            known = recorded[len(history) : len(history) + len(asked)]
            generation = [
                (_replayed(r, a, history_path), Judgement.from_dict(r)) for r, a in zip(known, asked, strict=False)
            ]
            for evaluation, _ in generation:
                on_evaluation(len(history) + 1, evaluation)
            for evaluation, judgement in _judged(asked[len(known) :], judge, costs, rivals, agent, lines):
                generation.append((evaluation, judgement))
                on_evaluation(len(history) + len(generation), evaluation)
            agent.tell([evaluation for evaluation, _ in generation])
            for evaluation, judgement in generation:
                rivals.add(evaluation.costs, judgement)
            history.extend(evaluation for evaluation, _ in generation)
    return SearchResult(history=tuple(history))


def _judged(
    architectures: Sequence[Architecture],
    judge: Judge,
    costs: Callable[[Architecture], Mapping[str, float]],
    rivals: Rivals,
    agent: SearchAgent,
    lines: JsonLines,
) -> Iterator[tuple[Evaluation, Judgement]]:
    """Yield what is found out about architectures, each once it is written down."""
    started = time.monotonic()
    all_costs = [costs(a) for a in architectures]
    judged = judge(architectures, [rivals.of(c) for c in all_costs])
    for architecture, cost, judgement in zip(architectures, all_costs, judged, strict=True):
        if math.isnan(judgement.score):
            raise RunError(
                f"the evaluator gave {'-'.join(map(str, architecture))} a score of nan, expected a number; "
                "search with another evaluator, or train the supernet anew with a lower learning rate"
            )
        evaluation = Evaluation(architecture=architecture, score=judgement.score, costs=cost)
        ended = time.monotonic()
        seconds, reason = round(ended - started, 3), agent.reasons.get(architecture)
        told = {**evaluation.as_dict(), **judgement.as_dict(), "seconds": seconds}
        lines.append(told | ({"reason": reason} if reason else {}))
        started = ended
        yield evaluation, judgement


def _replayed(record: Mapping[str, object], architecture: Architecture, path: Path) -> Evaluation:
    evaluation = evaluation_of(record, path)
    if evaluation.architecture != architecture:
        raise RunError(f"{path} records another search than this one; remove it to search again")
    return evaluation
