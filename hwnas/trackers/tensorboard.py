"""TensorBoard's event files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwnas.trackers.tracker import TrackerInputs


class TensorBoardTracker:
    """Writes TensorBoard's event files into the run's folder while it works, a folder for each group of numbers.

    It writes in this thread: tensorboardX's own writer waits for ever once the disk is full.
    """

    def __init__(self, inputs: TrackerInputs) -> None:
        self._folder = inputs.events
        self._writers: dict[str, Any] = {}

    def log_metrics(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        writer = self._writer(group)
        for name, value in values.items():
            writer.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))
        writer.flush()

    def _writer(self, group: str) -> Any:
        from tensorboardX.event_file_writer import EventsWriter

        if group not in self._writers:
            folder = self._folder / group.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            number = sum(1 for _ in folder.iterdir())  # of the file; a run that goes on has some
            self._writers[group] = EventsWriter(str(folder / (f"events-{number}" if number else "events")))
        return self._writers[group]

    def log_files(self, name: str, paths: Sequence[Path]) -> None:
        """Do nothing: the files are in the run's folder as it is, and TensorBoard shows numbers."""

    def close(self, *, is_complete: bool) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
