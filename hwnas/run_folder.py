"""A run's folder: every path in it, and the records that lie there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from hwnas.artifacts import Decision, Deployment, Exported, ProxyValues, SearchOutcome, Summary, TimedTable
from hwnas.errors import RequestError, RunError
from hwnas.records import MAKE_AGAIN, read_record
from hwnas.search import Evaluation
from hwnas.search.history import merged_histories
from safe_files import write_text

EXPORT_AGAIN = "remove it to export again"

WINNER = "winner"
"""The name of the network that keeps the run's first budget."""

_Metrics = Annotated[dict[str, float], Field(min_length=1)]


class _Writable(Protocol):
    """A record that is kept in a file."""

    def as_dict(self) -> dict[str, object]: ...


_Record = TypeVar("_Record", bound=_Writable)


@dataclass(frozen=True, slots=True)
class SearchFiles:
    """The files of the search stage."""

    folder: Path

    @property
    def outcome(self) -> Path:
        """The record of what was found."""
        return self.folder / "result.json"

    @property
    def proxies(self) -> Path:
        """The values of proxies for a sample of the space."""
        return self.folder / "proxies.json"

    def history(self, name: str) -> Path:
        """Return the evaluations of the search for the winner of that name."""
        return self.folder / ("history.jsonl" if name == WINNER else f"history-{name}.jsonl")

    def finalists(self, name: str, group: int) -> Path:
        """Return the journal of measuring a group of finalists for the winner of that name."""
        return self.folder / "finalists" / (f"{group}.journal" if name == WINNER else f"{name}-{group}.journal")

    def evaluations(self) -> list[Evaluation]:
        """Return every evaluation, searches of all budgets after one another, each network once; none before a search.

        The search may be under way: nothing is written, and an evaluation that is being written is left out.

        Raises:
            RunError: a history is damaged.
        """
        return merged_histories(sorted(self.folder.glob("history*.jsonl")))

    def kept_outcome(self, make: Callable[[], SearchOutcome]) -> SearchOutcome:
        """Return what was found, sought and written first where it is not there yet.

        Raises:
            RunError: the file is damaged or of another version.
        """
        return _kept(SearchOutcome, self.outcome, make)

    def kept_proxies(self, make: Callable[[], ProxyValues]) -> ProxyValues:
        """Return the values of proxies, computed and written first where they are not there yet."""
        return _kept(ProxyValues, self.proxies, make)


@dataclass(frozen=True, slots=True)
class RetrainFiles:
    """The files of the retraining."""

    folder: Path

    def checkpoint(self, name: str) -> Path:
        """Return the training of the network of that name."""
        return self.folder / f"{name}.safetensors"

    def metrics(self, name: str) -> Path:
        """Its metrics on the test images."""
        return self.folder / f"{name}.json"

    def checkpoints(self) -> list[Path]:
        """Return the trainings that there are."""
        return sorted(self.folder.glob("*.safetensors"))

    def kept_metrics(self, name: str, make: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """Return a network's metrics on the test images, found out and written first where they are not there yet.

        Raises:
            RunError: the file is damaged.
        """
        path = self.metrics(name)
        if not path.exists():
            _write(path, make())
        metrics: dict[str, float] = read_record(_Metrics, path)
        return metrics

    def adopt(self, name: str, same: Sequence[str]) -> None:
        """Take over the training of the same network under another name, where there is one and none under its own."""
        trained = next((n for n in same if self.checkpoint(n).exists()), name)
        if trained != name and not self.checkpoint(name).exists():
            for file in (self.metrics, self.checkpoint):  # the checkpoint last: it tells that there is something
                if file(trained).exists():
                    file(trained).replace(file(name))


@dataclass(frozen=True, slots=True)
class ExportFiles:
    """The files of the export."""

    folder: Path

    @property
    def result(self) -> Path:
        """The record of the export."""
        return self.folder / "result.json"

    @property
    def decision(self) -> Path:
        """The decision about winners that missed their budgets; once it is there the attempt is set aside."""
        return self.folder / "next.json"

    @property
    def journal(self) -> Path:
        """The journal of measuring the exported networks."""
        return self.folder / "measure.journal"

    @property
    def second_journal(self) -> Path:
        """The journal of measuring once more what missed its budget."""
        return self.folder / "measure-again.journal"

    @property
    def dynamic_model(self) -> Path:
        """The winner's model for any batch size."""
        return self.folder / "model.dynamic.onnx"

    def model(self, name: str) -> Path:
        """Return the model of the network of that name."""
        return self.folder / ("model.onnx" if name == WINNER else f"{name}.onnx")

    def label(self, path: Path) -> str:
        """Return a file's name in records, from the run's folder on."""
        return f"{self.folder.name}/{path.relative_to(self.folder).as_posix()}"

    def models_of(self, name: str) -> list[Path]:
        """Return the models of a network, quantized ones among them."""
        model = self.model(name)
        dynamic = [self.dynamic_model] if name == WINNER else []
        return [model, *model.parent.glob(f"{model.stem}-int8-*.onnx"), *dynamic]

    def kept_result(self, make: Callable[[], Exported]) -> Exported:
        """Return the outcome of the export, which is made and written first where it is not there yet.

        Raises:
            RunError: the file is damaged or of another version.
        """
        return _kept(Exported, self.result, make, remedy=EXPORT_AGAIN)

    def read_result(self) -> Exported:
        """Return the outcome of the export.

        Raises:
            RunError: it is not there, or damaged or of another version.
        """
        return read_record(Exported, self.result, remedy=EXPORT_AGAIN)

    def kept_decision(self, make: Callable[[], Decision]) -> Decision:
        """Return the decision about winners that missed, which is made and written first where it is not there yet."""
        return _kept(Decision, self.decision, make)

    def read_decision(self) -> Decision | None:
        """Return the decision about winners that missed; None where there is none."""
        return read_record(Decision, self.decision) if self.decision.exists() else None


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder. What lies in it is spelt here and nowhere else."""

    root: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.root / "config.yaml"

    @property
    def lock(self) -> Path:
        """The file that tells that a process works on the run."""
        return self.root / ".lock"

    @property
    def inputs(self) -> Path:
        """What the run was begun with besides its settings."""
        return self.root / "inputs.json"

    @property
    def space(self) -> Path:
        """The copy of a search space that is a YAML file."""
        return self.root / "space.yaml"

    @property
    def table(self) -> Path:
        """The latency table that the run makes for itself, or its copy of the one that was given."""
        return self.root / "lut.json"

    @property
    def speed(self) -> Path:
        """What timing a table's references gave before the search."""
        return self.root / "speed.json"

    @property
    def supernet(self) -> Path:
        """The training of the supernet."""
        return self.root / "supernet" / "checkpoint.safetensors"

    @property
    def trainings(self) -> dict[str, Path]:
        """The folders of trainings, by the name that the configuration has their settings under."""
        return {"supernet": self.supernet.parent, "retrain": self.retrain.folder}

    @property
    def search(self) -> SearchFiles:
        """The files of the search."""
        return SearchFiles(self.root / "search")

    @property
    def retrain(self) -> RetrainFiles:
        """The files of the retraining."""
        return RetrainFiles(self.root / "retrain")

    @property
    def export(self) -> ExportFiles:
        """The files of the export."""
        return ExportFiles(self.root / "export")

    @property
    def summary(self) -> Path:
        """The record of what the run came to."""
        return self.root / "summary.json"

    @property
    def report(self) -> Path:
        """The report, which is written last."""
        return self.root / "report.html"

    @property
    def events(self) -> Path:
        """The folder of TensorBoard's files."""
        return self.root / "tensorboard"

    @property
    def deployment(self) -> Path:
        """The copy of what the last bundle says of itself."""
        return self.root / "export" / "deployment.json"

    @property
    def has_begun(self) -> bool:
        """Whether it holds a run, whose settings proved to be possible."""
        return self.config.is_file()

    def read_speed(self) -> TimedTable | None:
        """Return how fast the machine was by a table; None where nothing is written of it that can be read."""
        try:
            return read_record(TimedTable, self.speed)
        except RunError:
            return None

    def write_speed(self, timed: TimedTable) -> None:
        """Write how fast the machine was."""
        write_text(self.speed, json.dumps(timed.as_dict()) + "\n")

    def read_evaluations(self) -> list[Evaluation]:
        """Return every evaluation of the run.

        Raises:
            RequestError: it has not searched yet.
            RunError: a history is damaged.
        """
        if not (found := self.search.evaluations()):
            raise RequestError(
                f"no search in {self.root} yet; continue it with hwnas search --out {self.root} --resume"
            )
        return found

    def read_summary(self) -> Summary | None:
        """Return the summary; None where there is none yet.

        Raises:
            RunError: the file is damaged.
        """
        if not self.summary.exists():
            return None
        return read_record(Summary, self.summary, remedy="remove it; hwnas search --resume makes it again")

    def write_summary(self, summary: Summary) -> None:
        """Write the summary."""
        _write(self.summary, self.described(summary))

    def described(self, summary: Summary) -> dict[str, object]:
        """Return a summary with the paths of the models in this folder, as it is written and printed."""
        winners = {
            name: {**row.as_dict(), "onnx": str(self.export.model(name))} for name, row in summary.winners.items()
        }
        models = {"onnx": str(self.export.model(WINNER)), "onnx_dynamic_batch": str(self.export.dynamic_model)}
        fields = {name: value for name, value in summary.as_dict().items() if name != "version"}
        return {**fields, "winners": winners, **models, "version": summary.version}

    def read_deployment(self) -> Deployment | None:
        """Return what the last bundle says of itself; None where there was none yet.

        Raises:
            RunError: the file is damaged.
        """
        if not self.deployment.exists():
            return None
        return read_record(Deployment, self.deployment, remedy="remove it; hwnas export -o makes it again")

    def write_deployment(self, deployment: Deployment) -> None:
        """Write what a bundle says of itself."""
        _write(self.deployment, deployment.as_dict())

    def attempts(self) -> list[RunFolder]:
        """Return the attempts that were set aside, in order, with the files as they lay in the run's folder."""
        found: list[RunFolder] = []
        while (attempt := self._attempt(len(found) + 1)).closed.exists():
            found.append(attempt)
        return found

    def decisions(self) -> dict[Path, Decision]:
        """Return what was decided about the attempts that were set aside, in order, by the files that say so."""
        return {attempt.closed: read_record(Decision, attempt.closed) for attempt in self.attempts()}

    def set_aside(self, heirs: Mapping[str, str | None]) -> None:
        """Move the attempt's files out of the way, the decision last, so that it can be interrupted and done again.

        Args:
            heirs: the networks to be replaced, each with the name of a network that is the same and stays, if there is
                one: its training goes to that.
        """
        target = self._attempt(len(self.attempts()) + 1)
        for name, heir in heirs.items():
            kept, aside = self.retrain, target.retrain
            for own, put in ((kept.checkpoint, aside.checkpoint), (kept.metrics, aside.metrics)):
                if heir is not None:
                    _move(own(name), own(heir))
                _move(own(name), put(name))
            for model in self.export.models_of(name):
                _move(model, target.root / model.relative_to(self.root))
        for path in (self.export.journal, self.export.second_journal, self.export.result):
            _move(path, target.root / path.relative_to(self.root))
        self.export.decision.replace(target.closed)

    def _attempt(self, number: int) -> RunFolder:
        return RunFolder(self.root / "missed" / str(number))

    @property
    def closed(self) -> Path:
        """The decision about an attempt that was set aside, in the folder of that."""
        return self.root / "next.json"


def _move(source: Path, target: Path) -> None:
    """Move a file that is still there; one that was moved before is not overwritten by its successor."""
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)


def _kept(kind: type[_Record], path: Path, make: Callable[[], _Record], *, remedy: str = MAKE_AGAIN) -> _Record:
    """Return the record in a file, made and written first where it is not there yet."""
    if not path.exists():
        _write(path, make().as_dict())
    return read_record(kind, path, remedy=remedy)


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=1) + "\n")
