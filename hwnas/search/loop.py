"""The search loop: ask, evaluate, tell, and write down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from hwnas.errors import RunError
from hwnas.search.agent import Evaluation, SearchAgent, SearchResult
from hwnas.search.history import evaluation_of, open_history
from hwnas.search.judgement import Judgement, Rivals
from search_spaces import Architecture

Judge = Callable[[Sequence[Architecture], Sequence[Judgement | None]], Iterator[Judgement]]
"""Judgements in the order of the architectures, each as soon as it and those before it are known.

Beside each architecture its rival, which it is given up against; None to look at all there is.
"""


def run_search(
    agent: SearchAgent,
    judge: Judge,
    costs: Callable[[Architecture], Mapping[str, float]],
    *,
    history_path: Path,
    num_evaluations: int,
    generation_size: int,
    seed: int,
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
            generation = [_replayed(r, a, history_path) for r, a in zip(known, asked, strict=False)]
            judgements = [Judgement.from_dict(r) for r in known]
            for evaluation in generation:
                on_evaluation(len(history) + 1, evaluation)
            started = time.monotonic()
            new = asked[len(generation) :]
            costs_of_new = [costs(a) for a in new]
            judged = judge(new, [rivals.of(c) for c in costs_of_new])
            for architecture, cost, judgement in zip(new, costs_of_new, judged, strict=True):
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
                generation.append(evaluation)
                judgements.append(judgement)
                on_evaluation(len(history) + len(generation), evaluation)
            agent.tell(generation)
            for evaluation, judgement in zip(generation, judgements, strict=True):
                rivals.add(evaluation.costs, judgement)
            history.extend(generation)
    return SearchResult(history=tuple(history), seed=seed)


def _replayed(record: Mapping[str, object], architecture: Architecture, path: Path) -> Evaluation:
    evaluation = evaluation_of(record, path)
    if evaluation.architecture != architecture:
        raise RunError(f"{path} records another search than this one; remove it to search again")
    return evaluation
