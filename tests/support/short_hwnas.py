"""Runs that measure few rounds and look at few networks for the largest.

After measuring they do not pause to see whether a neighbour has gone.
"""

from __future__ import annotations

import importlib

ROUNDS = 10


def shortened(rounds: int) -> dict[str, float]:
    """What runs read, by its module and name, and how much less it is."""
    return {
        "hwnas.stages.setup.ROUNDS": rounds,
        "hwnas.stages.setup.FINAL_ROUNDS": rounds,
        "hwnas.stages.search.SIZE_EVALUATIONS": 100,
        "profilers.session.AFTER_PAUSE_S": 0.0,
    }


def shorten(rounds: int = ROUNDS) -> None:
    """Shorten the runs of this process for good."""
    for path, number in shortened(rounds).items():
        module, _, name = path.rpartition(".")
        setattr(importlib.import_module(module), name, number)
