"""What a tracker is, and what it is made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safe_files import FileError, read_json, write_text


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerInputs:
    """The run that a tracker is made for.

    Attributes:
        name: of the run's folder.
        settings: of the run, by dotted name.
        state: the file in the run's folder in which a tracker keeps by what it finds its own run again.
        events: the folder of TensorBoard's files.
    """

    name: str
    settings: Mapping[str, object]
    state: Path
    events: Path

    def kept(self, tracker: str) -> dict[str, str]:
        """Return what a tracker kept of a run that goes on; nothing of a new one."""
        try:
            found = read_json(self.state) if self.state.is_file() else {}
        except FileError:
            return {}  # a run that is not found again begins anew
        own = found.get(tracker) if isinstance(found, dict) else None
        return {str(key): str(value) for key, value in own.items()} if isinstance(own, dict) else {}

    def keep(self, tracker: str, values: Mapping[str, str]) -> None:
        """Write down by what a tracker finds its own run again.

        Raises:
            WriteError: there is no room, or nothing may be written there.
        """
        write_text(self.state, json.dumps({tracker: dict(values)}, indent=1) + "\n")


class Tracker(Protocol):
    """Keeps the numbers and files of a run. It is made as the run begins or goes on; whatever it raises ends no run."""

    def log_metrics(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Keep numbers of a step.

        Args:
            group: what they are of: "supernet", "retrain winner", "search", "front", "winner".
            values: by name.
            step: the epoch, the number of the evaluation, or the place on the front; counted from 1.
        """
        ...

    def log_files(self, name: str, paths: Sequence[Path]) -> None:
        """Keep files and folders together, under a name such as "run" or "bundle"."""
        ...

    def close(self, *, is_complete: bool) -> None:
        """Send what is left to be sent; nothing is kept afterwards.

        Args:
            is_complete: whether the command did what it was asked for, rather than ending early.
        """
        ...
