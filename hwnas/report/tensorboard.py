"""A run's curves as TensorBoard event files."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from hwnas.report.facts import Facts
from safe_files import replacing_folder


def write_events(facts: Facts, target: Path) -> None:
    """Write everything that a run has by now into a folder, in place of what was there.

    Each training has a folder of its own with loss, learning rate, images per second and, where it was scored, score by
    epoch; `search` has score, best score and predicted latency by evaluation.
    """
    with replacing_folder(target) as draft:
        for name, rows in facts.curves.items():
            titles = ("loss", "learning_rate", "images_per_s", "score")
            scalars = [(title, getattr(row, title), row.epoch + 1) for row in rows for title in titles]
            _write(
                draft / name.replace(" ", "-"), [(t, value, step) for t, value, step in scalars if value is not None]
            )
        if facts.history:
            _write(draft / "search", _search_scalars(facts))


def _search_scalars(facts: Facts) -> Iterable[tuple[str, float, int]]:
    best = float("-inf")
    for number, evaluation in enumerate(facts.history, start=1):
        best = max(best, evaluation.score)
        yield "score", evaluation.score, number
        yield "best_score", best, number
        yield "latency_ms", evaluation.costs["latency_ms"], number


def _write(folder: Path, scalars: Iterable[tuple[str, float, int]]) -> None:
    """Write one file of events, in this thread: tensorboardX's own writer waits for ever once the disk is full."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    folder.mkdir()
    writer = EventsWriter(str(folder / "events"))
    try:
        for title, value, step in scalars:
            writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(title, value)))
    finally:
        writer.close()
