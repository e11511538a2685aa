"""A search space at a glance."""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces.cost import GraphCosts
from search_spaces.space import SearchSpace


def describe_space(space: SearchSpace) -> dict[str, Any]:
    """Number of architectures and blocks, smallest and largest multiply-accumulates and parameters.

    The extremes are found decision by decision: exact where each decision changes blocks of its own.
    """
    costs = GraphCosts(space)
    found: dict[str, Any] = {
        "name": space.spec.name,
        "num_decisions": len(space.decisions),
        "num_architectures": space.num_architectures,
        "num_blocks": len({b.key for b in space.candidates if not b.is_identity}),
    }
    for cost_name, cost in (("macs", costs.macs), ("params", costs.params)):
        for bound, pick in (("min", np.argmin), ("max", np.argmax)):
            architecture = np.zeros((1, len(space.decisions)), dtype=np.int64)
            for position, decision in enumerate(space.decisions):
                variants = np.repeat(architecture, len(decision.choices), axis=0)
                variants[:, position] = np.arange(len(decision.choices))
                architecture = variants[[int(pick(cost(variants)))]]
            found[f"{bound}_{cost_name}"] = int(cost(architecture)[0])
    return found
