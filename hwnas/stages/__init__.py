"""The stages of a run, in order. Each keeps its result in the run's folder and is not redone."""

from __future__ import annotations

from hwnas.run import Run
from hwnas.stages.export import export_networks
from hwnas.stages.retrain import retrain_networks
from hwnas.stages.search import find_networks
from hwnas.stages.summary import summarise
from hwnas.stages.supernet import train_supernet
from hwnas.stages.table import prepare_latency

STAGES = ("train", "search", "retrain", "export")


def run_stages(run: Run, *, last: str = "export") -> dict[str, object] | None:
    """Work through the stages up to the last one asked for; stages already done are only read.

    Returns:
        The summary of a complete run, else None.
    """
    assert last in STAGES
    with run.opened():
        latency = prepare_latency(run)
        supernet = train_supernet(run)
        if last == "train":
            return None
        found = find_networks(run, latency, supernet)
        if last == "search":
            return None
        retrained = retrain_networks(run, found, supernet)
        if last == "retrain":
            return None
        exported = export_networks(run, retrained)
        return summarise(run, found, retrained, exported)


__all__ = ["STAGES", "run_stages"]
