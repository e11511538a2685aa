"""Trackers: what they are told of a run, that a run goes on in the same one, and that none ends a run."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from command_line import run_cli
from samples import synthetic_table

from hwnas.callbacks import Callback
from hwnas.config_file import load_config
from hwnas.pipeline.order import run_stages
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.scaffold import generate
from hwnas.trackers import MlflowTracker, SearchCurve, TensorBoardTracker, TrackerInputs, WandbTracker
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs", "instant_measurements", "no_tvm")

DIGITS = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
SHORT = {
    "max_latency": "70%",
    "space": {"width": 0.25},
    "data": {"train_images": 160},
    "supernet": {"epochs": 2},
    "search": {"evaluations": 6, "generation": 2, "finalists": 2},
    "retrain": {"epochs": 1, "references": False},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a table, in which nothing of the environment names a server."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    save_table(synthetic_table(make_space(DIGITS), scale_ns=1e8), tmp_path / "t.json")


def _inputs(folder: Path, **settings: object) -> TrackerInputs:
    return TrackerInputs(name="mine", settings=settings, state=folder / "tracking.json", events=folder / "tensorboard")


def _run(tracker: str, *callbacks: Callback) -> Run:
    settings = {**SHORT, "lut": "t.json", "tracker": tracker, "out": "run"}
    path = Path("config.yaml")
    path.write_text(json.dumps(settings))
    return Run(load_config(path, {}), Reporter(is_quiet=True, callbacks=callbacks))


def _told(path: Path = Path("run/tracked.jsonl")) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class _Interrupting(Callback):
    """Ends the run at an evaluation, as Ctrl-C does."""

    def __init__(self, at: int) -> None:
        self._left = at

    def on_candidate(self, architecture: tuple[int, ...], score: float, latency_ms: float) -> None:
        self._left -= 1
        if not self._left:
            raise KeyboardInterrupt


def test_a_tracker_is_told_of_a_whole_run_that_was_interrupted_once(tmp_path: Path) -> None:
    path, _ = generate("tracker", "mine", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_stages(_run(f"{path}:Mine", _Interrupting(3)))
    before = _told()
    assert before[0]["name"] == "run" and before[0]["settings"]["search.evaluations"] == "6"
    assert [line["step"] for line in before if line.get("group") == "supernet"] == [1, 2]
    assert [line["step"] for line in before if line.get("group") == "search"] == [1, 2]
    assert before[-1] == {"is_complete": False}
    summary = run_stages(Run.from_folder(Path("run"), Reporter(is_quiet=True)))
    assert summary is not None
    after = _told()[len(before) :]
    assert not [line for line in after if line.get("group") == "supernet"]  # it was trained before
    steps = [line["step"] for line in after if line.get("group") == "search"]
    assert steps == [4, 5, 6]  # the third was written down before the interruption
    (retrained,) = (line for line in after if line.get("group") == "retrain winner")
    assert {"loss", "learning_rate", "images_per_s"} < set(retrained)
    winner = next(line for line in after if line.get("group") == "winner")
    assert winner["test_accuracy"] == summary.test_accuracy and winner["params"] == summary.params
    front = [line for line in after if line.get("group") == "front"]
    assert [line["step"] for line in front] == list(range(1, len(front) + 1)) and front[0]["latency_ms"] > 0
    files = next(line["files"] for line in after if line.get("of") == "run")
    assert [Path(file).name for file in files] == ["front.csv", "config.yaml", "summary.json", "report.html"]
    assert after[-1] == {"is_complete": True}
    num = len(_told())
    outcome = run_cli("export", "run", "-o", "bundle", "--no-int8", "--trust-code", "--quiet")
    assert outcome.code == 0, outcome.err
    _, bundle, end = _told()[num:]
    assert bundle == {"files": ["bundle"], "of": "bundle"} and end == {"is_complete": True}


FAILING = """
class Failing:
    def __init__(self, inputs):
        self.inputs = inputs

    def log_metrics(self, group, values, step):
        raise OSError(28, "No space left on device")

    def log_files(self, name, paths):
        raise AssertionError("told more")

    def close(self, *, is_complete):
        raise AssertionError("told more")
"""


def test_a_tracker_that_fails_warns_once_and_ends_no_run(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    settings = {**SHORT, "lut": "t.json", "out": "run", "tracker": f"{tmp_path / 'failing.py'}:Failing"}
    Path("config.yaml").write_text(json.dumps(settings))
    outcome = run_cli("search", "config.yaml", "--trust-code", "--quiet")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("warning: tracker ") == 1 and outcome.err.count("No space left on device") == 1
    assert "the run goes on: OSError" in outcome.err and Path("run/report.html").is_file()


def test_a_tracker_without_its_packages_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hwnas.trackers.find_spec", lambda _: None)
    outcome = run_cli("search", "--tracker", "mlflow", "--width", 0.25, "--lut", "t.json", "--max-latency", "70%")
    assert (
        outcome.code == 2 and "tracker mlflow needs mlflow and sqlalchemy: pip install 'hwnas[mlflow]'" in outcome.err
    )
    assert not Path("runs").exists()
    outcome = run_cli("search", "--tracker", "ledger", "--width", 0.25, "--lut", "t.json", "--max-latency", "70%")
    assert outcome.code == 2 and "mlflow, tensorboard, wandb" in outcome.err


def test_a_search_counts_on_from_what_was_evaluated_before() -> None:
    curve = SearchCurve(5, 0.9)
    assert curve.add(0.5, 2.0) == {"score": 0.5, "best_score": 0.9, "latency_ms": 2.0} and curve.num == 6
    assert curve.add(0.95, 3.0)["best_score"] == 0.95


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir(), key=lambda path: ("-" in path.name.partition(".")[0], path.name)):
        content = path.read_bytes()
        while content:  # a record is its length, a checksum of that, the event and a checksum of it
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_is_written_while_the_run_works_and_goes_on(tmp_path: Path) -> None:
    for epoch, loss in ((1, 0.75), (2, 0.5)):
        tracker = TensorBoardTracker(_inputs(tmp_path))
        tracker.log_metrics("retrain winner", {"loss": loss}, epoch)
        assert (epoch, loss) in _scalars(tmp_path / "tensorboard" / "retrain-winner")["loss"]  # before it is closed
        tracker.log_files("run", [tmp_path])
        tracker.close(is_complete=True)
    assert _scalars(tmp_path / "tensorboard" / "retrain-winner") == {"loss": [(1, 0.75), (2, 0.5)]}


def _mlflow_run(folder: Path) -> Any:
    import mlflow

    state = json.loads((folder / "tracking.json").read_text())["mlflow"]
    return mlflow.MlflowClient(state["tracking_uri"]), state["run_id"]


def test_mlflow_keeps_a_run_that_goes_on_in_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/m.db")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "model.onnx").write_bytes(b"onnx")
    tracker = MlflowTracker(_inputs(tmp_path, **{"seed": 3, "supernet.learning_rate": 0.1}))
    tracker.log_metrics("supernet", {"loss": 0.75}, 1)
    tracker.close(is_complete=False)
    client, run_id = _mlflow_run(tmp_path)
    assert client.get_run(run_id).info.status == "FAILED" and client.get_run(run_id).info.run_name == "mine"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # it is found again where it was begun
    tracker = MlflowTracker(_inputs(tmp_path, **{"seed": 3, "supernet.learning_rate": 0.05, "out": "x" * 9000}))
    tracker.log_metrics("supernet", {"loss": 0.5}, 2)
    tracker.log_files("bundle", [bundle, tmp_path / "t.json"])
    tracker.close(is_complete=True)
    assert _mlflow_run(tmp_path)[1] == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.params["seed"] == "3" and len(run.data.params["out"]) == 500
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "supernet/loss")] == [(1, 0.75), (2, 0.5)]
    assert {f.path for f in client.list_artifacts(run_id, "bundle")} == {"bundle/model.onnx", "bundle/t.json"}
    assert len(client.search_runs([run.info.experiment_id])) == 1


def test_wandb_offline_keeps_a_run_under_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for epoch in (1, 2):
        tracker = WandbTracker(_inputs(tmp_path, seed=3))
        tracker.log_metrics("supernet", {"loss": 0.5 / epoch}, epoch)
        tracker.log_files("bundle", [tmp_path / "t.json"])
        tracker.close(is_complete=True)
    run_id = json.loads((tmp_path / "tracking.json").read_text())["wandb"]["run_id"]
    deadline = time.monotonic() + 60  # its own process writes the files, a moment later
    while True:
        files = sorted((tmp_path / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
        if files and all(b"supernet/loss" in file.read_bytes() for file in files):
            break
        assert time.monotonic() < deadline, files
        time.sleep(0.2)


def _figures(run: Any) -> Mapping[str, float]:
    return {name: value for name, value in run.data.metrics.items() if name.startswith("winner/")}


@pytest.mark.slow
def test_a_whole_run_is_in_mlflow_with_its_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/m.db")
    Path("config.yaml").write_text(json.dumps({**SHORT, "lut": "t.json", "out": "run"}))
    outcome = run_cli("search", "config.yaml", "--tracker", "mlflow", "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    outcome = run_cli("export", "run", "-o", "bundle", "--no-int8", "--quiet")
    assert outcome.code == 0 and "warning" not in outcome.err, outcome.err
    client, run_id = _mlflow_run(tmp_path / "run")
    run = client.get_run(run_id)
    assert run.data.params["search.evaluations"] == "6" and run.data.params["tracker"] == "mlflow"
    assert _figures(run)["winner/test_accuracy"] == pytest.approx(summary["test_accuracy"])
    assert [m.step for m in client.get_metric_history(run_id, "search/best_score")] == [*range(1, 7)]
    assert client.get_metric_history(run_id, "front/latency_ms")
    assert "bundle/model.onnx" in {f.path for f in client.list_artifacts(run_id, "bundle")}
    assert "run/front.csv" in {f.path for f in client.list_artifacts(run_id, "run")}
