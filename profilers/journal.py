"""Append-only record of everything measured, so that a killed run loses at most one round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from profilers.errors import JournalError
from profilers.events import STRICT, CpuNs, Index, Round, WallNs, first_error
from safe_files import FileError
from safe_files.writing import JsonLines

VERSION = 3


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RoundRecord:
    """One round over the models of a group, and the restart of the worker that it was in.

    The file calls the restart `sitting`. `pace` and `first_ns` are there where the worker tells its pace and its first
    runs.
    """

    group: Index
    restart: Annotated[Index, Field(validation_alias="sitting")]
    order: tuple[Index, ...]
    wall_ns: tuple[WallNs, ...]
    cpu_ns: tuple[CpuNs, ...]
    pace: tuple[WallNs, CpuNs] | None = None
    first_ns: tuple[WallNs, ...] | None = None

    @model_validator(mode="after")
    def _columns_fit(self) -> RoundRecord:
        lengths = {len(c) for c in (self.order, self.wall_ns, self.cpu_ns, self.first_ns) if c is not None}
        if len(lengths) != 1:
            raise ValueError("order, wall_ns, cpu_ns and first_ns must be equally long")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ThrottledRecord:
    """A round that does not count, since the device was throttled during it."""

    group: Index
    order: tuple[Index, ...]
    wall_ns: tuple[WallNs, ...]
    throttled: Literal[True]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class FailureRecord:
    """A model, by index, that cannot be measured."""

    failed: Index
    message: Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PaceTimes:
    """The pace since the last round."""

    wall_ns: tuple[WallNs, ...]
    cpu_ns: tuple[CpuNs, ...]

    @model_validator(mode="after")
    def _columns_fit(self) -> PaceTimes:
        if len(self.wall_ns) != len(self.cpu_ns):
            raise ValueError("wall_ns and cpu_ns must be equally long")
        return self


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class PaceRecord:
    """The pace after the last round."""

    pace_after: PaceTimes


class Journal:
    """Rounds and failures of one profiling run, on disk from the moment they happen.

    Attributes:
        rounds: oldest first.
        pace_after: the pace since the last round; None before that is told.
        failures: what went wrong, by model index.
        num_throttled: rounds that do not count, since the device was throttled during them.
        groups: indices of the models that are opened together, as they were when the journal was begun.
    """

    def __init__(self, path: Path, identity: Mapping[str, object], *, groups: list[list[int]]) -> None:
        """Continue the journal at `path`, or begin one with those groups.

        Raises:
            JournalError: a journal of another identity is there, or the file is not a journal.
        """
        self.rounds: list[RoundRecord] = []
        self.failures: dict[int, str] = {}
        self.num_throttled = 0
        self.pace_after: PaceTimes | None = None
        self.groups = groups
        header = json.loads(json.dumps({"journal": VERSION, **identity}))
        try:
            self._lines = JsonLines(path)
        except FileError as error:
            raise JournalError(f"{error}; remove the file or give another output") from error
        if not self._lines.records:
            self._lines.append({**header, "groups": groups})
            return
        try:
            self._continue(path, header)
        except JournalError:
            self._lines.close()
            raise

    def add_round(self, group: int, restart: int, answer: Round) -> None:
        """Record one round over the models of a group in a restart of the worker, as the worker told it."""
        record = {"group": group, "sitting": restart, "order": answer.order}
        record |= {"wall_ns": answer.wall_ns, "cpu_ns": answer.cpu_ns}
        record |= {name: told for name in ("pace", "first_ns") if (told := getattr(answer, name)) is not None}
        self._take(_parsed(_ROUND, record))
        self._lines.append(record)

    def add_pace(self, wall_ns: list[int], cpu_ns: list[int]) -> None:
        """Record the pace after the last round."""
        self._add(PaceRecord(pace_after=PaceTimes(wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns))))

    def add_throttled_round(self, group: int, order: list[int], wall_ns: list[int]) -> None:
        """Record a round that does not count."""
        self._add(ThrottledRecord(group=group, order=tuple(order), wall_ns=tuple(wall_ns), throttled=True))

    def add_failure(self, index: int, message: str) -> None:
        """Record that a model cannot be measured."""
        self._add(FailureRecord(failed=index, message=message))

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _continue(self, path: Path, header: Mapping[str, Any]) -> None:
        """Take over what is there."""
        found = dict(self._lines.records[0])
        groups = found.pop("groups", None)
        _require_same(path, found, header)
        for number, record in enumerate(self._lines.records, start=1):
            try:
                if number == 1:
                    self.groups = _parsed_groups(groups, self.groups)
                else:
                    self._take(_parsed_record(record))
            except ValueError as error:
                reason = first_error(error) if isinstance(error, ValidationError) else error
                raise JournalError(
                    f"{path} is damaged, line {number}: {reason}; start afresh with --fresh, or give another output"
                ) from error

    def _add(self, record: Record) -> None:
        self._take(record)
        self._lines.append(asdict(record))

    def _take(self, record: Record) -> None:
        """Count a record in.

        Raises:
            ValueError: it is of a group or a model that is not there, or not of all that were to be measured.
        """
        if isinstance(record, FailureRecord):
            if not any(record.failed in members for members in self.groups):
                raise ValueError(f"there is no model {record.failed}")
            self.failures[record.failed] = record.message
        elif isinstance(record, PaceRecord):
            self.pace_after = record.pace_after
        else:
            self._require_whole(record)
            if isinstance(record, ThrottledRecord):
                self.num_throttled += 1
                return
            if self.rounds and record.restart < self.rounds[-1].restart:
                raise ValueError(f"restart {record.restart} comes after restart {self.rounds[-1].restart}")
            self.rounds.append(record)
            self.pace_after = None

    def _require_whole(self, record: RoundRecord | ThrottledRecord) -> None:
        if record.group >= len(self.groups):
            raise ValueError(f"there is no group {record.group}")
        expected = sorted(index for index in self.groups[record.group] if index not in self.failures)
        if sorted(record.order) != expected or len(record.wall_ns) != len(expected):
            raise ValueError(f"expected a visit to each of {len(expected)} models, found others or not all of them")


Record = RoundRecord | ThrottledRecord | FailureRecord | PaceRecord
_RecordT = TypeVar("_RecordT", bound=Record)

_ROUND = TypeAdapter(RoundRecord)
_KINDS: Mapping[str, TypeAdapter[Any]] = {
    "failed": TypeAdapter(FailureRecord),
    "throttled": TypeAdapter(ThrottledRecord),
    "pace_after": TypeAdapter(PaceRecord),
}
"""Kinds of records besides rounds, by a field that only they have."""

_GROUPS: TypeAdapter[list[list[int]]] = TypeAdapter(list[list[Index]])


def _parsed_record(record: Mapping[str, Any]) -> Record:
    kind = next((kind for name, kind in _KINDS.items() if name in record), _ROUND)
    parsed: Record = _parsed(kind, record)
    return parsed


def _parsed(kind: TypeAdapter[_RecordT], record: object) -> _RecordT:
    return kind.validate_json(json.dumps(record), strict=True)


def _parsed_groups(found: object, groups: list[list[int]]) -> list[list[int]]:
    """Return the groups of the journal, which was begun with the same models and perhaps with other memory."""
    parsed = _GROUPS.validate_json(json.dumps(found), strict=True)
    expected = {index for members in groups for index in members}
    if {index for members in parsed for index in members} != expected or not all(parsed):
        raise ValueError(f"expected groups of {len(expected)} models")
    if any(len(set(members)) != len(members) for members in parsed):
        raise ValueError("expected each model once in a group")
    return parsed


def _require_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
    if differing:
        raise JournalError(
            f"{path} was begun with another {', '.join(differing)}; measurements never mix: "
            "give another output, or start afresh with --fresh"
        )
