"""The records that stages hand on: checked when made and when read, written as they were read, and of one version."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from hwnas.artifacts import (
    Decision,
    Deployment,
    Exported,
    ExportedNetwork,
    FoundNetwork,
    MeasuredFinalist,
    MissedWinner,
    NearestNetwork,
    ProxyValues,
    RunTimes,
    SearchOutcome,
    TimedTable,
)
from hwnas.errors import LaterVersionError
from hwnas.measured import Measured
from hwnas.records import read_record
from hwnas.run_folder import RunFolder
from hwnas.search import Evaluation
from hwnas.stages.summary import figures
from onnx_models.parity import Parity
from search_spaces import SpaceSpec, make_space

MEASURED = Measured(latency_ms=1.5, repeatability=0.01, drift=1.25)
FOUND = FoundNetwork(
    architecture=(0, 2), params=3, macs=4, supernet_score=0.5, predicted_ms=1.0, max_ms=2.0, finalist=MEASURED
)
FINALIST = MeasuredFinalist(
    architecture=(0, 2), score=0.5, costs={"latency_ms": 1.0}, latency_ms=1.5, repeatability=0.01, drift=None
)
OUTCOME = SearchOutcome(
    networks={"winner": FOUND},
    finalists=(FINALIST,),
    finalists_of_budgets={"winner-5ms": (FINALIST,)},
    front=(Evaluation(architecture=(0, 2), score=0.5, costs={"latency_ms": 1.0}),),
    num_evaluations=7,
)
EXPORTED = Exported(
    parity={
        "export/model.onnx": Parity(max_abs_difference=0.0, max_abs_output=1.0, equal_predictions=1.0, num_images=9)
    },
    networks={"winner": ExportedNetwork(architecture=(0, 2), first_ms=3.0, latency_ms=1.5, repeatability=0.01)},
)
DECISION = Decision(
    missed={"winner": MissedWinner(architecture=(0, 2), exported=MEASURED, finalist=MEASURED)},
    networks={"winner": FOUND},
    nearest={"winner-5ms": NearestNetwork(architecture=(0, 1), now_ms=1.0), "winner-4ms": None},
)


@pytest.fixture
def files(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def test_what_is_written_is_what_is_read(files: RunFolder) -> None:
    assert files.search.kept_outcome(lambda: OUTCOME) == OUTCOME
    assert files.export.kept_result(lambda: EXPORTED) == EXPORTED == files.export.read_result()
    assert files.export.kept_decision(lambda: DECISION) == DECISION == files.export.read_decision()


def test_what_is_there_is_not_made_again(files: RunFolder) -> None:
    files.search.kept_outcome(lambda: OUTCOME)
    assert files.search.kept_outcome(lambda: pytest.fail("made again")) == OUTCOME


def test_a_record_of_an_earlier_version_is_read_and_one_of_a_later_is_refused(files: RunFolder) -> None:
    files.search.kept_outcome(lambda: OUTCOME)
    path = files.search.outcome
    content = json.loads(path.read_text())
    assert content.pop("version") == 1
    del content["finalists"][0]["repeatability"]
    path.write_text(json.dumps({"networks": content["networks"], "finalists": content["finalists"], "unknown": 1}))
    assert read_record(SearchOutcome, path).networks == OUTCOME.networks
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(
        LaterVersionError, match=r"result\.json was written by a later .* \(version 2, this one reads 1\)"
    ):
        read_record(SearchOutcome, path)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ProxyValues, {"architectures": [[0, 2]], "values": {"zen": [1.0]}}),
        (TimedTable, {"table": "t", "drift": 1.1}),
        (Deployment, {"models": {}, "schema_version": 1}),
        (RunTimes, {"began": "2026-01-31T12:00:00+00:00"}),
    ],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_records_that_once_had_no_version_have_one_now(kind: type, content: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    record = read_record(kind, path)
    assert record.as_dict()["version"] == 1
    path.write_text(json.dumps(record.as_dict()))
    assert read_record(kind, path) == record
    path.write_text(json.dumps({**content, "version": 2}))
    with pytest.raises(LaterVersionError, match=r"record\.json was written by a later version of hwnas"):
        read_record(kind, path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Measured(latency_ms=0.0, repeatability=0.0),
        lambda: Measured(latency_ms=float("nan"), repeatability=0.0),
        lambda: FoundNetwork(**{**FOUND.as_dict(), "params": -1}),
        lambda: SearchOutcome(networks={"winner": None}),
        lambda: RunTimes(began=datetime(2026, 1, 31)),  # in no time zone
        lambda: ExportedNetwork(architecture="x", first_ms=None, latency_ms=1.0, repeatability=0.0),
    ],
)
def test_records_that_cannot_be_are_not_made(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        make()


def test_a_bundle_of_an_earlier_version_gives_way_to_the_networks_next_one(files: RunFolder) -> None:
    old, new = (Deployment(models={}, network="largest", seed=seed) for seed in (1, 2))
    files.export.folder.mkdir()
    files.export.deployment("winner").write_text(json.dumps(old.as_dict()))
    assert files.export.read_deployments() == [old]
    files.write_deployment(new)
    assert files.export.read_deployments() == [new]
    files.write_deployment(winners := Deployment(models={}))
    assert files.export.read_deployments() == [winners, new]


def test_an_attempt_that_is_set_aside_leaves_what_stays(files: RunFolder) -> None:
    """The winner is replaced; the network that is the same takes over its training."""
    for path in (files.retrain.checkpoint("winner"), files.retrain.metrics("winner"), files.export.model("winner")):
        path.parent.mkdir(exist_ok=True)
        path.write_text("the winner's")
    files.export.model("random").write_text("the reference's")
    files.export.kept_result(lambda: EXPORTED)
    files.export.kept_decision(lambda: DECISION)
    files.set_aside({"winner": "random"})
    (attempt,) = files.attempts()
    assert attempt.export.model("winner").read_text() == "the winner's"
    assert attempt.export.read_result() == EXPORTED and list(files.decisions().values()) == [DECISION]
    assert files.retrain.checkpoint("random").exists() and not files.retrain.checkpoint("winner").exists()
    assert files.export.model("random").exists() and files.export.read_decision() is None


@pytest.mark.parametrize(("predicted_ms", "is_kept"), [(0.9, None), (1.1, False)])
def test_a_network_that_was_not_measured_misses_a_budget_by_its_prediction(
    predicted_ms: float, is_kept: bool | None
) -> None:
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, num_classes=10, width=0.25))
    found = FoundNetwork(
        architecture=(0,) * 8, params=1, macs=1, supernet_score=0.5, predicted_ms=predicted_ms, max_ms=1.0
    )
    assert figures(space, found, {"mean_iou": 0.4}, None, epoch=None).budget_kept is is_kept
