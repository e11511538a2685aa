"""Searches that begin with architectures somebody would try by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hwnas.search.agent import Evaluation, SearchAgent
from search_spaces import Architecture


class BeginningWith(SearchAgent):
    """Proposes given architectures first, and then what another agent proposes, which is told of all.

    Args:
        first: feasible, none of them twice.
    """

    def __init__(self, agent: SearchAgent, first: Sequence[Architecture]) -> None:
        self._agent = agent
        self._left = list(first)
        self._first = frozenset(first)

    @property
    def reasons(self) -> Mapping[Architecture, str]:  # type: ignore[override]
        """Why each architecture was proposed."""
        return {**self._agent.reasons, **dict.fromkeys(self._first, "by hand")}

    def ask(self, num: int) -> list[Architecture]:
        """Return the given ones as long as there are any, else what the agent proposes."""
        if self._left:
            asked, self._left = self._left[:num], self._left[num:]
            return asked
        return self._agent.ask(num)

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Tell the agent."""
        self._agent.tell(evaluations)
