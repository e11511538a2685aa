"""A run's curves as TensorBoard event files, written anew from what its folder tells."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hwnas.report.facts import Facts
from hwnas.trackers import SearchCurve, TensorBoardTracker, TrackerInputs
from safe_files import replacing_folder


def write_events(facts: Facts, target: Path) -> None:
    """Write everything that a run has by now into a folder, in place of what was there, as its tracker does meanwhile.

    Each training has a folder of its own with loss, learning rate, images per second and, where it was scored, score by
    epoch; `search` has score, best score and predicted latency by evaluation.
    """
    with replacing_folder(target) as draft:
        tracker = TensorBoardTracker(TrackerInputs(name="", settings={}, state=draft / "unused", events=draft))
        try:
            _replay(facts, tracker)
        finally:
            tracker.close(is_complete=True)


def _replay(facts: Facts, tracker: TensorBoardTracker) -> None:
    for name, rows in facts.curves.items():
        for row in rows:
            values = {key: value for key, value in asdict(row).items() if key != "epoch" and value is not None}
            tracker.log_metrics(name, values, row.epoch + 1)
    curve = SearchCurve()
    for evaluation in facts.history:
        tracker.log_metrics("search", curve.add(evaluation.score, evaluation.costs["latency_ms"]), curve.num)
