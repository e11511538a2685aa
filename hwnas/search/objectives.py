"""What a search agent is asked to seek."""

from __future__ import annotations

from hwnas.errors import RequestError
from hwnas.search import AGENTS
from hwnas.search.agent import SearchAgent
from hwnas.setting_types import Objective


def objective_arguments(name: str, agent: type[SearchAgent], objective: Objective | None) -> dict[str, Objective]:
    """Return what an agent is made with to seek an objective, by keyword; None is what it seeks by itself.

    Raises:
        RequestError: it cannot seek that.
    """
    if objective is None:
        return {}
    if objective not in agent.objectives:
        able = [other for other, one in AGENTS.items() if objective in one.objectives]
        raise RequestError(f"expected an agent that seeks the {objective}, got {name}; take one of {', '.join(able)}")
    return {"objective": objective} if len(agent.objectives) > 1 else {}
