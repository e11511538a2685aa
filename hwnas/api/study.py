"""A search that a program drives itself: it asks for architectures and tells what they are worth."""

from __future__ import annotations

from typing import get_args

from hwnas.api import checks
from hwnas.api.result import Evaluations
from hwnas.api.scores import Score, finite_score, require_callable
from hwnas.api.table import LatencyTable
from hwnas.components import find
from hwnas.constraint import HardLimits, Limit
from hwnas.errors import RequestError
from hwnas.front import latency_front
from hwnas.quantities import Budget, format_ms
from hwnas.search import Evaluation, SearchAgent, SearchResult
from hwnas.search.objectives import objective_arguments
from hwnas.setting_types import Objective
from hwnas.stages.latency import CurrentModel
from hwnas.training.randomness import numpy_rng
from search_spaces import Architecture, SearchSpace, SpaceError


class Study:
    """Asks and tells by hand, as `ask(num)` and `tell(architecture, score)`; nothing is written, trained or measured.

    Args:
        space: the networks; None for those of the table.
        table: predicts their latency; None for a search without.
        max_latency: the budget, as in `hwnas.search`: 20ms or 60%; None for none.
        agent: proposes architectures; see `hwnas list search-agent`.
        objective: "score" seeks the best one, "front" those that no other beats in both score and latency; None for
            what the agent seeks by itself.
        seed: the same seed and the same scores give the same proposals.

    Raises:
        RequestError: no network keeps the budget, or the agent needs a supernet.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        table: LatencyTable | None = None,
        max_latency: str | None = None,
        agent: str = "predictor",
        objective: Objective | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(space, SearchSpace | None) or not isinstance(table, LatencyTable | None):
            raise RequestError(
                f"expected a search space and a table, got {space!r} and {table!r}: make them with hwnas.space() and "
                "hwnas.load_table()"
            )
        found = table.space if space is None and table is not None else space
        if found is None:
            raise RequestError("a study needs a search space, or a table that is of one")
        if max_latency is not None and table is None:
            raise RequestError(f"max_latency={max_latency!r} needs a table that predicts latencies: give table=")
        self.space = found
        self._limits = _limits(table, max_latency)
        made: type[SearchAgent] = find("search-agent", checks.text("agent", agent, "evolution"))
        if made.reads_supernet:
            raise RequestError(f"agent {agent} reads a trained supernet: take search(), or another agent")
        if objective not in (None, *get_args(Objective)):
            raise RequestError(f"objective: expected one of {', '.join(get_args(Objective))}, got {objective!r}")
        rng, sought = numpy_rng(checks.whole("seed", seed), "search"), objective_arguments(agent, made, objective)
        self._agent = made(self.space, self._limits, rng, **sought)
        self._asked: list[Architecture] = []
        self._told: list[Evaluation] = []

    def ask(self, num: int = 1) -> list[Architecture]:
        """Return up to `num` architectures that keep the budget and were never asked for; none once there are none."""
        asked = self._agent.ask(checks.count("num", num))
        self._asked += asked
        return asked

    def tell(self, architecture: Architecture, score: float) -> None:
        """Take in how good an architecture is; higher is better.

        Raises:
            RequestError: it was not asked for, or was told already.
            RunError: the score is no finite number.
        """
        try:
            architecture = self.space.validated(architecture)
        except SpaceError as error:
            raise RequestError(f"{error}: tell what ask() returned") from error
        if architecture not in self._asked:
            raise RequestError(f"{architecture} was not asked for, or was told already: tell what ask() returned, once")
        score = finite_score(score, "-".join(map(str, architecture)))
        self._asked.remove(architecture)
        evaluation = Evaluation(architecture=architecture, score=score, costs=self._limits.costs(architecture))
        self._agent.tell([evaluation])
        self._told.append(evaluation)

    def optimize(self, score: Score, num: int, *, at_a_time: int = 5) -> Evaluation:
        """Score `num` architectures by a function, fewer where there are no more, and return the best of all."""
        require_callable(score, "score", may_be_left_out=False)
        left, most = checks.count("num", num, least=1), checks.count("at_a_time", at_a_time, least=1)
        while left > 0 and (asked := self.ask(min(most, left))):
            for architecture in asked:
                self.tell(architecture, score(architecture))
            left -= len(asked)
        return self.best

    @property
    def history(self) -> Evaluations:
        """Every architecture that was told, in order."""
        return Evaluations(self._told)

    @property
    def front(self) -> Evaluations:
        """The architectures that no other beats in both score and predicted latency, fastest first.

        Raises:
            RequestError: the study has no table, which predicts latency.
        """
        if not self._limits.limits:
            raise RequestError("a front is of scores and latencies: give the study a table=, which predicts these")
        return Evaluations(latency_front(self._told))

    @property
    def best(self) -> Evaluation:
        """The best architecture that was told, the cheaper of equals.

        Raises:
            RequestError: none was.
        """
        if not self._told:
            raise RequestError("nothing was told yet: tell() the score of an architecture that ask() returned")
        return SearchResult(history=tuple(self._told)).best


def _limits(table: LatencyTable | None, max_latency: str | None) -> HardLimits:
    if table is None:
        return HardLimits(limits=())
    model, maximum = table.model, None
    if max_latency is not None:
        _, fastest_ms = model.extreme()
        maximum = Budget.parse(max_latency).resolve_ms(CurrentModel(then=model).whole_ms)
        if maximum < fastest_ms:
            raise RequestError(
                f"no architecture under {format_ms(maximum)}; the fastest of this space is {format_ms(fastest_ms)}"
            )
    limit = Limit(name="latency_ms", cost=model.predict_ms, maximum=maximum, least=lambda: model.extreme()[1])
    return HardLimits(limits=(limit,))
