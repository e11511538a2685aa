"""A run as its folder tells it, whatever state it is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from hwnas.artifacts import NetworkSummary, RunTimes, SearchOutcome, Summary
from hwnas.config import RunConfig
from hwnas.config_file import load_config
from hwnas.errors import LaterVersionError, RequestError, RunError
from hwnas.front import latency_front
from hwnas.pipeline.inputs import Inputs, read_inputs
from hwnas.run_folder import RunFolder
from hwnas.run_lock import is_worked_on
from hwnas.search import Evaluation
from hwnas.ui.folder import Cache, require_own, signature
from safe_files import FileError

State = Literal["running", "finished", "failed", "interrupted", "stopped", "damaged"]
STATES: tuple[State, ...] = get_args(State)

MODEL_SUFFIXES = (".onnx", ".data")

GIVEN, NO_DATA = "hwnas.api.given:", "no_data"
"""What names of objects begin with that a program handed over, and the one that stands for no data (hwnas.api)."""

_Read = TypeVar("_Read")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunRecords:
    """The records in a run's folder; None where they are not there yet, or cannot be read.

    Attributes:
        faults: what is wrong with them, a sentence each.
        changed_s: when the newest was written, in seconds since 1970.
        models: the files of its exported models, with their bytes.
    """

    config: RunConfig | None
    inputs: Inputs | None
    outcome: SearchOutcome | None
    summary: Summary | None
    times: RunTimes | None
    has_report: bool
    models: dict[str, int]
    faults: tuple[str, ...]
    changed_s: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunEntry:
    """A run of the folder.

    Attributes:
        key: its path from the folder on.
        state: stopped where it is not finished, no process works on it, and the last one did what it was asked for.
    """

    key: str
    files: RunFolder
    records: RunRecords
    state: State

    @property
    def date_s(self) -> float:
        """The end of the run in seconds since 1970; where that is not written, the date of its newest record."""
        times = self.records.times
        return self.records.changed_s if times is None or times.ended is None else times.ended.timestamp()

    @property
    def failure(self) -> str | None:
        """The words of the error that a failed run ended by; None of others."""
        times = self.records.times
        return times.failure if self.state == "failed" and times is not None else None

    @property
    def data(self) -> str:
        """The name of the data set, "none" of a search without any; empty where that is not known."""
        name = "" if self.records.config is None else self.records.config.data.name
        if name == GIVEN + NO_DATA:
            return "none"
        return f"own {name.removeprefix(GIVEN)}" if name.startswith(GIVEN) else name

    @property
    def space(self) -> str:
        """The name of the search space, or of the network that was brought; empty where that is not known."""
        if self.records.config is not None and self.records.config.space.model is not None:
            return Path(self.records.config.space.model).name
        if self.records.inputs is not None:
            return str(self.records.inputs.space.get("name", ""))
        if self.records.summary is not None:
            return str(self.records.summary.space.get("name", ""))
        config = self.records.config
        return "" if config is None else config.space.name

    @property
    def device(self) -> str:
        """The device's name; empty where that is not known."""
        summary, inputs, config = self.records.summary, self.records.inputs, self.records.config
        if summary is not None:
            return summary.device
        if inputs is not None:
            return inputs.device
        return "" if config is None else config.device or ""

    @property
    def networks(self) -> dict[str, NetworkSummary]:
        """The figures of its networks, the winner's first; none before it is finished."""
        return {} if self.records.summary is None else self.records.summary.networks

    def front(self) -> list[Evaluation]:
        """Return what no other evaluation beats in both score and latency, as far as the search is.

        Raises:
            FileError: a history leads out of the folder, or is too large.
            RunError: one is damaged.
        """
        if self.records.outcome is not None:
            return list(self.records.outcome.front)
        histories = sorted(self.files.search.folder.glob("history*.jsonl"))
        for path in histories:
            require_own(path, self.files.root.resolve())
        return latency_front(self.files.search.evaluations())


class Runs:
    """The runs of a folder, read once and again when they have changed.

    Args:
        root: the folder, without links in its path.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cache: Cache[RunRecords] = Cache()

    def entry(self, key: str, folder: Path) -> RunEntry:
        """Return a run, whatever is wrong with it."""
        files = RunFolder(folder)
        watched = [*_records_of(files), files.report, files.export.folder]
        records = self._cache.get(folder, signature(watched), lambda: read_records(files, self._root))
        return RunEntry(key=key, files=files, records=records, state=_state(files, records))


def _records_of(files: RunFolder) -> list[Path]:
    found = [files.config, files.request, files.inputs, files.search.outcome, files.summary, files.export.decision]
    return [*found, files.times]


def _state(files: RunFolder, records: RunRecords) -> State:
    if is_worked_on(files.lock):
        return "running"
    if records.faults:
        return "damaged"
    if (times := records.times) is not None and times.ended is None:
        return "interrupted"  # whatever ended it could not write so, or was a signal
    if times is not None and times.failure is not None:
        return "failed"
    config = records.config
    if config is not None and config.data.name == GIVEN + NO_DATA:
        return "finished" if records.outcome is not None else "stopped"
    if records.summary is None:
        return "stopped"
    return "finished" if records.has_report else "interrupted"  # the report is written last, soon after the summary


def read_records(files: RunFolder, root: Path) -> RunRecords:
    """Return what can be read in a run's folder, and what is wrong with the rest; nothing is written."""
    faults: list[str] = []

    def read(path: Path, how: Callable[[], _Read]) -> _Read | None:
        if not (path.exists() or path.is_symlink()):
            return None
        try:
            require_own(path, root)
            return how()
        except (RequestError, RunError, LaterVersionError, FileError, OSError) as error:
            faults.append(str(error))
            return None

    settings = files.config if files.config.exists() else files.request
    if not settings.exists():
        faults.append(f"expected {files.config.name} in {files.root}, found none: is it a run of hwnas?")
    config = read(settings, lambda: load_config(settings, {}))
    inputs = read(files.inputs, lambda: read_inputs(files.inputs))
    outcome = read(files.search.outcome, files.search.read_outcome)
    summary = read(files.summary, files.read_summary)
    times = read(files.times, files.read_times)
    return RunRecords(
        config=config,
        inputs=inputs,
        outcome=outcome,
        summary=summary,
        times=times,
        has_report=is_own_file(files.report, root),
        models=_models(files, root),
        faults=tuple(faults),
        changed_s=max((found[1] for found in signature(_records_of(files)) if found is not None), default=0) / 1e9,
    )


def _models(files: RunFolder, root: Path) -> dict[str, int]:
    """Return the files of exported models, with their bytes."""
    folder = files.export.folder
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in MODEL_SUFFIXES)
    except OSError:
        return {}
    return {path.name: path.stat().st_size for path in paths if is_own_file(path, root)}


def is_own_file(path: Path, root: Path) -> bool:
    """Return whether there is a regular file that no link leads to."""
    try:
        return path.is_file() and not path.is_symlink() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False
