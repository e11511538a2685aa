"""A run's folder: every path in it, and the records that lie there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hwnas.artifacts import (
    WINNER,
    Decision,
    Deployment,
    Exported,
    FurtherNetworks,
    ProxyValues,
    RunTimes,
    SearchOutcome,
    ShownPredictions,
    Summary,
    TimedTable,
)
from hwnas.errors import RequestError, RunError
from hwnas.records import MAKE_AGAIN, read_record, refuse_later_version
from hwnas.search import Evaluation
from hwnas.stage_files import (
    BUNDLE_AGAIN,
    EXPORT_AGAIN,
    FURTHER_AGAIN,
    PREDICT_AGAIN,
    ExportFiles,
    FleetFiles,
    RetrainFiles,
    SearchFiles,
    write_json,
)
from safe_files import write_text

__all__ = ["ExportFiles", "FleetFiles", "RetrainFiles", "RunFolder", "SearchFiles"]

SUMMARY_AGAIN = "remove it; hwnas search --resume makes it again"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder. What lies in it is spelt here and nowhere else."""

    root: Path

    @property
    def config(self) -> Path:
        """The settings."""
        return self.root / "config.yaml"

    @property
    def request(self) -> Path:
        """The settings of a run that has not begun: its table is being made, and they may prove impossible."""
        return self.root / "request.yaml"

    @property
    def lock(self) -> Path:
        """The file that tells that a process works on the run."""
        return self.root / ".lock"

    @property
    def times(self) -> Path:
        """The record of when the run began, when it ended and what it failed by."""
        return self.root / "times.json"

    @property
    def inputs(self) -> Path:
        """The inputs that the run was begun with besides its settings."""
        return self.root / "inputs.json"

    @property
    def space(self) -> Path:
        """The copy of a search space that is a YAML file."""
        return self.root / "space.yaml"

    @property
    def network(self) -> Path:
        """The copy of the network that a person brought, and of what can be chosen of it."""
        return self.root / "network.safetensors"

    @property
    def table(self) -> Path:
        """The latency table that the run makes for itself, or its copy of the one that was given."""
        return self.root / "lut.json"

    @property
    def speed(self) -> Path:
        """The times of a table's references before the search."""
        return self.root / "speed.json"

    @property
    def fleet(self) -> FleetFiles:
        """The files of the further devices of a fleet."""
        return FleetFiles(self.root / "fleet")

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
    def tracking(self) -> Path:
        """The file by which a tracker finds its own run again."""
        return self.root / "tracking.json"

    @property
    def has_begun(self) -> bool:
        """Whether it holds a run, whose settings proved to be possible."""
        return self.config.is_file()

    def refuse_later_versions(self) -> None:
        """Raise LaterVersionError for a record that a later version of hwnas wrote: none is ignored or overwritten."""
        attempts = self.attempts()
        records: list[tuple[type, Path, str]] = [
            *((TimedTable, path, MAKE_AGAIN) for path in (self.speed, *self.fleet.folder.glob("speed-*.json"))),
            (RunTimes, self.times, MAKE_AGAIN),
            (SearchOutcome, self.search.outcome, MAKE_AGAIN),
            (ProxyValues, self.search.proxies, MAKE_AGAIN),
            (FurtherNetworks, self.search.further, FURTHER_AGAIN),
            *((Exported, folder.export.result, EXPORT_AGAIN) for folder in (self, *attempts)),
            *((Decision, path, MAKE_AGAIN) for path in (self.export.decision, *(a.decision_aside for a in attempts))),
            *((Deployment, path, BUNDLE_AGAIN) for path in self.export.deployments()),
            (ShownPredictions, self.export.predictions, PREDICT_AGAIN),
            (Summary, self.summary, SUMMARY_AGAIN),
        ]
        for kind, path, remedy in records:
            if path.exists():
                refuse_later_version(kind, path, remedy=remedy)

    def read_speed(self, number: int | None = None) -> TimedTable | None:
        """Return how fast the machine was by a table; None where nothing is written of it that can be read.

        Args:
            number: of a further device of a fleet; None for the run's first.
        """
        try:
            return read_record(TimedTable, self._speed(number))
        except RunError:
            return None

    def write_speed(self, timed: TimedTable, number: int | None = None) -> None:
        """Write how fast the machine was."""
        path = self._speed(number)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(timed.as_dict()) + "\n")

    def _speed(self, number: int | None) -> Path:
        return self.speed if number is None else self.fleet.speed(number)

    def read_times(self) -> RunTimes | None:
        """Return when the run began and ended; None of one that only earlier versions worked on.

        Raises:
            RunError: the file is damaged.
        """
        return read_record(RunTimes, self.times) if self.times.exists() else None

    def write_times(self, times: RunTimes) -> None:
        """Write when the run began and ended."""
        write_json(self.times, times.as_dict())

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
        return read_record(Summary, self.summary, remedy=SUMMARY_AGAIN)

    def write_summary(self, summary: Summary) -> None:
        """Write the summary."""
        write_json(self.summary, self.described(summary))

    def described(self, summary: Summary) -> dict[str, object]:
        """Return a summary with the paths of the models in this folder, as it is written and printed."""
        winners = {
            name: {**row.as_dict(), "onnx": str(self.export.model(name))} for name, row in summary.winners.items()
        }
        models = {"onnx": str(self.export.model(WINNER)), "onnx_dynamic_batch": str(self.export.dynamic_model)}
        fields = {name: value for name, value in summary.as_dict().items() if name != "version"}
        offer = summary.offer(str(self.root))
        offered = {} if offer is None else {"better_reference": summary.better_reference, "offer": offer}
        return {**fields, "winners": winners, **models, **offered, "version": summary.version}

    def write_deployment(self, deployment: Deployment) -> None:
        """Write what a bundle says of itself, in place of what the last one of the same network said."""
        write_json(self.export.deployment(deployment.network or WINNER), deployment.as_dict())

    def attempts(self) -> list[RunFolder]:
        """Return the attempts that were set aside, in order, with the files as they lay in the run's folder."""
        found: list[RunFolder] = []
        while (attempt := self._attempt(len(found) + 1)).decision_aside.exists():
            found.append(attempt)
        return found

    def decisions(self) -> dict[Path, Decision]:
        """Return what was decided about the attempts that were set aside, in order, by the files that say so."""
        return {attempt.decision_aside: read_record(Decision, attempt.decision_aside) for attempt in self.attempts()}

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
        journals = (self.export.journal, self.export.second_journal, *self.export.journals_elsewhere())
        for path in (*journals, self.export.result):
            _move(path, target.root / path.relative_to(self.root))
        self.export.decision.replace(target.decision_aside)

    def _attempt(self, number: int) -> RunFolder:
        return RunFolder(self.root / "missed" / str(number))

    @property
    def decision_aside(self) -> Path:
        """The decision about an attempt that was set aside, in the folder of that."""
        return self.root / "next.json"


def _move(source: Path, target: Path) -> None:
    """Move a file that is still there; one that was moved before is not overwritten by its successor."""
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
