"""Runs that measure few rounds and look at few networks for the largest.

After measuring they do not pause to see whether a neighbour has gone.
"""

from __future__ import annotations

import importlib

ROUNDS = 10

OWN_TABLES = {
    "hwnas.stages.table.NUM_NETWORKS": 12,
    "hwnas.stages.table.EXTRA_NETWORKS": 2,
    "hwnas.stages.table.ROUNDS": 6,
}
"""How little is measured for the tables that runs make themselves: its numbers by module and name."""


def shortened(rounds: int) -> dict[str, float]:
    """What runs read, by its module and name, and how much less it is."""
    return {
        "hwnas.stages.setup.ROUNDS": rounds,
        "hwnas.stages.setup.FINAL_ROUNDS": rounds,
        "hwnas.stages.search.SIZE_EVALUATIONS": 100,
        "profilers.session.AFTER_PAUSE_S": 0.0,
    }


def shorten(rounds: int = ROUNDS, *, own_tables: bool = False) -> None:
    """Shorten the runs of this process for good, and the tables that they make where asked for."""
    for path, number in {**shortened(rounds), **(OWN_TABLES if own_tables else {})}.items():
        module, _, name = path.rpartition(".")
        setattr(importlib.import_module(module), name, number)
