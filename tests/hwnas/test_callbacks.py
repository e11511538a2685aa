"""What callbacks are told of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from samples import synthetic_table

from hwnas.callbacks import Callback
from hwnas.config_file import load_config
from hwnas.pipeline.order import run_stages
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.run_folder import RunFolder
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)


class Recording(Callback):
    """Keeps what it is told, in order; raises once it is told of so many candidates."""

    def __init__(self, *, most_candidates: int = 1000) -> None:
        self.told: list[tuple[str, Any]] = []
        self._most = most_candidates

    def of(self, kind: str) -> list[Any]:
        return [what for name, what in self.told if name == kind]

    def on_run_start(self, settings: Mapping[str, object]) -> None:
        self.told.append(("start", settings))

    def on_stage_start(self, stage: str) -> None:
        self.told.append(("begins", stage))

    def on_stage_end(self, stage: str) -> None:
        self.told.append(("over", stage))

    def on_epoch(self, training: str, epoch: int, metrics: Mapping[str, float]) -> None:
        self.told.append(("epoch", (training, epoch, metrics)))

    def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
        self.told.append(("candidate", (architecture, score, latency_ms)))
        if len(self.of("candidate")) >= self._most:
            raise RuntimeError("enough")

    def on_run_end(self, folder: Path, summary: Mapping[str, object] | None) -> None:
        self.told.append(("end", (folder, summary)))

    def on_run_error(self, folder: Path, error: BaseException) -> None:
        self.told.append(("error", (folder, error)))


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, object]:
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), tmp_path / "t.json")
    return {
        "lut": tmp_path / "t.json",
        "max_latency": "80%",
        "space.width": 0.25,
        "data.train_images": 128,
        "supernet.epochs": 2,
        "search.evaluations": 6,
        "retrain.epochs": 1,
        "retrain.references": False,
        "out": tmp_path / "run",
    }


def _run(settings: Mapping[str, object], callback: Callback, *, last: str = "export") -> Run:
    run = Run(load_config(None, settings), Reporter(is_quiet=True, callbacks=[callback]))
    run_stages(run, last=last)
    return run


def test_a_run_tells_of_its_stages_epochs_and_candidates(settings: dict[str, object], tmp_path: Path) -> None:
    callback = Recording()
    run = _run(settings, callback)
    kinds = [kind for kind, _ in callback.told]
    assert kinds[0] == "start" and kinds[-1] == "end" and "error" not in kinds
    (told,) = callback.of("start")
    assert told["supernet.epochs"] == 2 and told["max_latency"] == "80%" and told["out"] == str(tmp_path / "run")
    stages = ["latency", "train", "search", "retrain", "export"]
    assert callback.of("begins") == callback.of("over") == stages
    epochs = [(training, epoch) for training, epoch, _ in callback.of("epoch")]
    assert epochs == [("supernet", 1), ("supernet", 2), ("retrain winner", 1)]
    assert all(metrics["loss"] > 0 and "epoch" not in metrics for _, _, metrics in callback.of("epoch"))
    evaluations = run.files.read_evaluations()
    assert callback.of("candidate") == [(e.architecture, e.score, e.costs["latency_ms"]) for e in evaluations]
    ((folder, summary),) = callback.of("end")
    assert folder == run.folder
    assert json.loads(json.dumps(summary)) == json.loads(run.files.summary.read_text())
    times, before = run.files.read_times(), run.files.times.read_bytes()
    assert times is not None and times.began is not None and times.ended is not None and times.failure is None
    again = Recording()
    _run(settings, again)
    assert again.told == [] and run.files.times.read_bytes() == before


def test_a_run_that_ended_early_goes_on_and_tells_of_the_rest(settings: dict[str, object]) -> None:
    stopped = Recording(most_candidates=2)
    with pytest.raises(RuntimeError, match="enough"):
        _run(settings, stopped, last="search")
    ((folder, error),) = stopped.of("error")
    assert folder == settings["out"] and str(error) == "enough" and stopped.of("end") == []
    failed = RunFolder(folder).read_times()
    assert failed is not None and failed.failure == "RuntimeError: enough"
    going_on = Recording()
    run = _run(settings, going_on, last="search")
    assert going_on.of("epoch") == [] and going_on.of("end") == [(run.folder, None)]
    times = run.files.read_times()
    assert times is not None and times.began == failed.began and times.ended is not None and times.failure is None
    told = [a for a, *_ in (*stopped.of("candidate"), *going_on.of("candidate"))]
    assert told == [e.architecture for e in run.files.read_evaluations()]
