"""Append-only record of everything measured, so that a killed run loses at most one round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profilers.errors import JournalError
from safe_files.writing import JsonLines

VERSION = 3


class Journal:
    """Rounds and failures of one profiling run, on disk from the moment they happen.

    Attributes:
        rounds: each `{"group": 0, "sitting": 0, "order": [...], "wall_ns": [...], "cpu_ns": [...]}`, oldest first; with
            `"pace": [wall, cpu]` and `"first_ns": [...]` where the worker tells its pace and its first runs.
        pace_after: `{"wall_ns": [...], "cpu_ns": [...]}` of the pace since the last round; None before that is told.
        failures: what went wrong, by model index.
        num_throttled: rounds that do not count, since the device was throttled during them.
        groups: indices of the models that are opened together, as they were when the journal was begun.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], *, groups: list[list[int]]) -> None:
        """Continue the journal at `path`, or begin one with those groups.

        Raises:
            JournalError: a journal of another identity is there, or the file is not a journal.
        """
        self.rounds: list[dict[str, Any]] = []
        self.failures: dict[int, str] = {}
        self.num_throttled = 0
        self.pace_after: dict[str, list[int]] | None = None
        self.groups = groups
        header = json.loads(json.dumps({"journal": VERSION, **identity}))
        try:
            self._lines = JsonLines(path)
        except ValueError as error:
            raise JournalError(f"{error}; remove the file or give another output") from error
        if not self._lines.records:
            self._lines.append({**header, "groups": groups})
            return
        found = dict(self._lines.records[0])
        self.groups = found.pop("groups", groups)
        _require_same(path, found, header)
        for record in self._lines.records[1:]:
            if "failed" in record:
                self.failures[int(record["failed"])] = str(record["message"])
            elif record.get("throttled"):
                self.num_throttled += 1
            elif "pace_after" in record:
                self.pace_after = record["pace_after"]
            else:
                self.rounds.append(record)
                self.pace_after = None

    def add_round(
        self,
        group: int,
        sitting: int,
        order: list[int],
        wall_ns: list[int],
        cpu_ns: list[int],
        *,
        pace: list[int] | None = None,
        first_ns: list[int] | None = None,
    ) -> None:
        """Record one round over the models of a group, in the sitting (the life of a worker) of that number."""
        record = {"group": group, "sitting": sitting, "order": order, "wall_ns": wall_ns, "cpu_ns": cpu_ns}
        record |= {name: told for name, told in (("pace", pace), ("first_ns", first_ns)) if told is not None}
        self._lines.append(record)
        self.rounds.append(record)
        self.pace_after = None

    def add_pace(self, wall_ns: list[int], cpu_ns: list[int]) -> None:
        """Record the pace after the last round."""
        self.pace_after = {"wall_ns": wall_ns, "cpu_ns": cpu_ns}
        self._lines.append({"pace_after": self.pace_after})

    def add_throttled_round(self, group: int, order: list[int], wall_ns: list[int]) -> None:
        """Record a round that does not count."""
        self._lines.append({"group": group, "order": order, "wall_ns": wall_ns, "throttled": True})
        self.num_throttled += 1

    def add_failure(self, index: int, message: str) -> None:
        """Record that a model cannot be measured."""
        self._lines.append({"failed": index, "message": message})
        self.failures[index] = message

    def close(self) -> None:
        """Close the file."""
        self._lines.close()


def _require_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    if differing:
        raise JournalError(
            f"{path} was begun with another {', '.join(differing)}; measurements never mix: "
            "give another output, or start afresh with --fresh"
        )
