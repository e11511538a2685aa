"""The files of the stages in a run's folder, and the records that lie there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from hwnas.artifacts import (
    WINNER,
    Decision,
    Deployment,
    Exported,
    FoundNetwork,
    FurtherNetworks,
    ProxyValues,
    SearchOutcome,
    ShownPredictions,
)
from hwnas.records import MAKE_AGAIN, read_record
from hwnas.search import Evaluation
from hwnas.search.history import merged_histories
from safe_files import write_text

EXPORT_AGAIN = "remove it to export again"
PREDICT_AGAIN = "remove it and report.html; hwnas search --resume makes both again"
BUNDLE_AGAIN = "remove it; hwnas export -o makes it again"
FURTHER_AGAIN = "restore a copy; or remove it, and give hwnas retrain its --architecture or --budget again"

_Metrics = Annotated[dict[str, float], Field(min_length=1)]


class _Writable(Protocol):
    """A record that is kept in a file."""

    def as_dict(self) -> dict[str, object]: ...


_Record = TypeVar("_Record", bound=_Writable)


@dataclass(frozen=True, slots=True)
class FleetFiles:
    """The files of the further devices of a fleet, by their numbers from zero; the run's first device is none."""

    folder: Path

    def table(self, number: int) -> Path:
        """Return the copy of the table of that device."""
        return self.folder / f"lut-{number + 2}.json"

    def speed(self, number: int) -> Path:
        """Return the times of that table's references before the search."""
        return self.folder / f"speed-{number + 2}.json"

    def forget(self, *, speeds_only: bool = False) -> None:
        """Remove the files, or how fast the machines were, and the folder as far as it is empty then."""
        for path in self.folder.glob("speed-*.json" if speeds_only else "*.json"):
            path.unlink()
        with suppress(OSError):
            self.folder.rmdir()


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

    @property
    def further(self) -> Path:
        """The record of the networks that were asked for after the search."""
        return self.folder / "further.json"

    @property
    def short_trainings(self) -> Path:
        """The scores of finalists that were trained alone for a few epochs."""
        return self.folder / "short-trainings.jsonl"

    def history(self, name: str) -> Path:
        """Return the evaluations of the search for the winner of that name."""
        return self.folder / ("history.jsonl" if name == WINNER else f"history-{name}.jsonl")

    def finalists(self, name: str, group: int, again: int = 0, *, device: str | None = None) -> Path:
        """Return the journal of measuring a group of finalists for the winner of that name.

        Args:
            again: how many times the group was measured before.
            device: one of a fleet; None for the run's first.
        """
        stem = (str(group) if name == WINNER else f"{name}-{group}") + (f"-again{again}" if again else "")
        stem += "" if device is None else f"@{device}"
        return self.folder / "finalists" / f"{stem}.journal"

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
            RunError: the file is damaged.
        """
        return _kept(SearchOutcome, self.outcome, make)

    def read_outcome(self) -> SearchOutcome:
        """Return what was found.

        Raises:
            RunError: it is not there, or damaged.
        """
        return read_record(SearchOutcome, self.outcome)

    def read_further(self) -> dict[str, FoundNetwork]:
        """Return the networks that were asked for after the search, by name.

        Raises:
            RunError: the file is damaged.
        """
        if not self.further.exists():
            return {}
        return dict(read_record(FurtherNetworks, self.further, remedy=FURTHER_AGAIN).networks)

    def write_further(self, networks: Mapping[str, FoundNetwork]) -> None:
        """Write the networks that were asked for after the search."""
        write_json(self.further, FurtherNetworks(networks=dict(networks)).as_dict())

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
        """Return the metrics of the network of that name on the test images."""
        return self.folder / f"{name}.json"

    def checkpoints(self) -> list[Path]:
        """Return the trainings that there are."""
        return sorted(self.folder.glob("*.safetensors"))

    def kept_metrics(self, name: str, make: Callable[[], Mapping[str, float]]) -> dict[str, float]:
        """Return a network's metrics on the test images, found out and written first where they are not there yet.

        Raises:
            RunError: the file is damaged.
        """
        if not self.metrics(name).exists():
            write_json(self.metrics(name), make())
        return self.read_metrics(name)

    def read_metrics(self, name: str) -> dict[str, float]:
        """Return a network's metrics on the test images.

        Raises:
            RunError: the file is not there, or damaged.
        """
        metrics: dict[str, float] = read_record(_Metrics, self.metrics(name))
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

    def journals_elsewhere(self) -> list[Path]:
        """Return the journals of measuring on further devices of a fleet."""
        return sorted(self.folder.glob("measure*@*.journal"))

    @property
    def predictions(self) -> Path:
        """The record of what the winner says of test images."""
        return self.folder / "predictions.json"

    def deployment(self, name: str) -> Path:
        """Return the copy of what the last bundle of the network of that name says of itself."""
        return self.folder / ("deployment.json" if name == WINNER else f"deployment-{name}.json")

    def deployments(self) -> list[Path]:
        """Return the copies of what bundles say of themselves, the winner's first."""
        paths = [self.deployment(WINNER), *sorted(self.folder.glob(self.deployment("*").name))]
        return [path for path in paths if path.exists()]

    def read_deployments(self) -> list[Deployment]:
        """Return what the last bundle of each network says of itself, the winner's first.

        Raises:
            RunError: a file is damaged.
        """
        found = [read_record(Deployment, path, remedy=BUNDLE_AGAIN) for path in self.deployments()]
        # In the winner's place earlier versions kept the last bundle of any network.
        return list({deployment.network: deployment for deployment in found}.values())

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
            RunError: the file is damaged.
        """
        return _kept(Exported, self.result, make, remedy=EXPORT_AGAIN)

    def read_result(self) -> Exported:
        """Return the outcome of the export.

        Raises:
            RunError: it is not there, or damaged.
        """
        return read_record(Exported, self.result, remedy=EXPORT_AGAIN)

    def kept_predictions(self, make: Callable[[], ShownPredictions]) -> ShownPredictions:
        """Return what the winner says of test images, which is found out and written first where it is not there yet.

        Raises:
            RunError: the file is damaged.
        """
        return _kept(ShownPredictions, self.predictions, make, remedy=PREDICT_AGAIN)

    def read_predictions(self) -> ShownPredictions | None:
        """Return what the winner says of test images; None where nothing is written of it.

        Raises:
            RunError: the file is damaged.
        """
        if not self.predictions.exists():
            return None
        return read_record(ShownPredictions, self.predictions, remedy=PREDICT_AGAIN)

    def kept_decision(self, make: Callable[[], Decision]) -> Decision:
        """Return the decision about winners that missed, which is made and written first where it is not there yet."""
        return _kept(Decision, self.decision, make)

    def read_decision(self) -> Decision | None:
        """Return the decision about winners that missed; None where there is none."""
        return read_record(Decision, self.decision) if self.decision.exists() else None


def _kept(kind: type[_Record], path: Path, make: Callable[[], _Record], *, remedy: str = MAKE_AGAIN) -> _Record:
    """Return the record in a file, made and written first where it is not there yet."""
    if not path.exists():
        write_json(path, make().as_dict())
    return read_record(kind, path, remedy=remedy)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, whole or not at all, and its folder first where that is not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(content, indent=1) + "\n")
