"""Searches of built-in spaces at several resolutions: the size of images is chosen with all else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run_cli, shorten_runs
from paced_machine import measure_instantly
from samples import bare_table, synthetic_table

import hwnas
from hwnas.errors import RequestError
from hwnas.evaluators.tabular import TabularBenchmark
from lut import LatencyModel, TableError, load_table, save_table
from lut.networks import draw_networks
from search_spaces import SpaceError, SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25, resolutions=(8, 6))
FLAGS = ("--space", "nasbench-macro", "--width", 0.25, "--resolutions", "8,6")
FAST = ("--evaluations", 6, "--train-images", 128, "--validation-images", 64, "--set", "search.finalists=2", "--quiet")
SMALLER = "1-1-1-0-1-0-0-1-0"
"""A network at the second resolution."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, very_short_runs: None) -> Path:
    """The folder of a finished search, with a network at each resolution."""
    folder = tmp_path_factory.mktemp("sizes")
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), folder / "t.json")
    table = ("--lut", folder / "t.json", "--max-latency", "80%")
    training = ("--epochs", 1, "--retrain-epochs", 1)
    outcome = run_cli("search", *FLAGS, *FAST, *training, *table, "--out", folder / "run")
    assert outcome.code == 0, outcome.err
    outcome = run_cli("retrain", folder / "run", "--architecture", SMALLER, "--quiet")
    assert outcome.code == 0, outcome.err
    return folder / "run"


def _summary(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return read


def _side(path: Path) -> list[int]:
    return [d.dim_value for d in onnx.load(path).graph.input[0].type.tensor_type.shape.dim][1:]


def test_a_search_chooses_the_resolution_and_models_are_exported_at_it(run: Path) -> None:
    summary = _summary(run)
    assert summary["space"]["resolutions"] == [8, 6]
    for name, row in {"winner": summary, **summary["references"]}.items():
        assert row.get("input_size") == (None, 6)[row["architecture"][0]], name
        assert row["choices"][0] == ("8", "6")[row["architecture"][0]]
        side = (8, 6)[row["architecture"][0]]
        assert _side(run / "export" / f"{'model' if name == 'winner' else name}.onnx") == [1, side, side]
    assert summary["parity"]["equal_predictions"] >= 0.999
    assert summary["parity"]["max_abs_difference"] <= 1e-4 * max(1.0, summary["parity"]["max_abs_output"])


def test_a_run_goes_on_with_its_resolutions(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_instantly(monkeypatch)
    again = run_cli("search", "--out", run, "--resume", "--json")
    assert again.code == 0 and json.loads(again.out)["space"]["resolutions"] == [8, 6], again.err
    begun = ("search", "--from", run, "--max-latency", "70%", "--retrain-epochs", 1, "--quiet")
    outcome = run_cli(*begun, "--out", tmp_path / "other")
    assert outcome.code == 0, outcome.err
    assert _summary(tmp_path / "other")["space"]["resolutions"] == [8, 6]
    refused = run_cli(*begun, "--resolutions", "8,5", "--out", tmp_path / "third")
    assert refused.code == 2 and "space.resolutions" in refused.err and "Traceback" not in refused.err


@pytest.mark.usefixtures("no_tvm")
def test_a_network_of_a_smaller_resolution_ships_as_it_was_tested(run: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    network = ("--network", f"network-{SMALLER}")
    outcome = run_cli("export", run, *network, "-o", bundle, "--no-int8", "--quiet", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["input"] == {"channels": 1, "size": 6}
    assert _side(bundle / "model.onnx") == [1, 6, 6]
    outcome = run_cli("compare", f"{run}:network-{SMALLER}", "--data", "digits", "--rounds", 3, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    (row,) = json.loads(outcome.out)
    metrics = json.loads((run / "retrain" / f"network-{SMALLER}.json").read_text())
    assert row["accuracy"] == pytest.approx(metrics["accuracy"]) and "1x6x6" in row["input"]
    explained = run_cli("explain", f"{run}:network-{SMALLER}", "--rounds", 3, "--quiet")
    assert explained.code == 0, explained.err


def test_the_page_and_the_front_tell_of_resolutions(run: Path) -> None:
    told = run_cli("report", run)
    assert told.code == 0, told.err
    assert "resolution" in (run / "report.html").read_text()
    front = run_cli("front", run, "--json")
    assert front.code == 0 and len(json.loads(front.out)[0]["architecture"]) == 9


def test_a_table_holds_the_blocks_of_every_resolution_and_one_certificate(run: Path) -> None:
    space = make_space(SPEC)
    table = load_table(run.parent / "t.json")
    assert table.space == SPEC and table.certificate is not None
    assert {b.key for s in space.spaces for b in s.candidates if not b.is_identity} == set(table.latency_ms)  # type: ignore[attr-defined]
    assert {n.architecture[0] for n in draw_networks(space, 20, seed=0)} == {0, 1}
    roles = {(n.role, n.architecture[0]) for n in table.networks}
    assert roles >= {("calibration", 0), ("calibration", 1), ("held_out", 0), ("held_out", 1)}
    shown = run_cli("lut", "show", run.parent / "t.json")
    assert shown.code == 0 and "8x8 or 6" in shown.out, shown.err


def test_tables_of_other_resolutions_are_refused_with_the_command_that_makes_one() -> None:
    plain = SpaceSpec(**{k: v for k, v in SPEC.as_dict().items() if k != "resolutions"})  # type: ignore[arg-type]
    with pytest.raises(TableError, match="--resolutions 8,6"):
        LatencyModel(make_space(SPEC), bare_table(make_space(plain)))
    with pytest.raises(TableError, match="is for nasbench-macro at 1x8x8 or 6"):
        LatencyModel(make_space(plain), bare_table(make_space(SPEC)))


def test_spaces_of_programs_take_resolutions(tmp_path: Path) -> None:
    space = hwnas.space("nasbench-macro", channels=1, classes=10, width=0.25, resolutions="8,6")
    assert space.spec == SPEC
    assert hwnas.space("nasbench-macro", channels=1, classes=10, width=0.25, resolutions=[8, "6"]).spec == SPEC
    assert hwnas.space("fbnet-s").spec.input_size == 224
    with pytest.raises(SpaceError, match="images' own size, 16"):
        hwnas.space("nasbench-macro", input_size=16, resolutions=(8, 6))
    with pytest.raises(RequestError, match="large"):
        hwnas.space("nasbench-macro", resolutions="large,6")
    save_table(synthetic_table(space, scale_ns=1e8), tmp_path / "t.json")
    table = hwnas.load_table(tmp_path / "t.json")
    assert table.space.decisions[0].name == "resolution"

    def score(architecture: tuple[int, ...]) -> float:
        return float(np.sum(architecture))

    study = hwnas.Study(table=table, max_latency="80%", agent="evolution", seed=1)
    study.optimize(score, 10)
    assert len(study.best.architecture) == 9


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--resolutions", "8,9"), ("each smaller", "got 8, 9")),
        (("--resolutions", "8"), ("two resolutions or more",)),
        (("--resolutions", "8,large"), ("pixels a side", "large")),
        (("--resolutions", ""), ("pixels a side", "got ''")),
        (("--input-size", 16, "--resolutions", "8,6"), ("images' own size, 16",)),
        (("--space", "autoformer", "--resolutions", "8,4"), ("weights of other shapes", "leave 4 out")),
        (("--space", "mobilefacenet", "--resolutions", "16,8"), ("weights of other shapes", "leave 8 out")),
        (("--space", "mobilevit", "--resolutions", "16,8"), ("count pixels", "leave 8 out")),
    ],
)
def test_wrong_resolutions_end_with_words_and_code_2(
    flags: tuple[object, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    commands = (
        ("search", "--max-latency", "60%", "--quiet", "--out", tmp_path / "run"),
        ("profile", "--dry-run", "--channels", 1, "-o", tmp_path / "t.json"),
    )
    for command in commands:
        outcome = run_cli(*command, *flags)
        assert outcome.code == 2 and "Traceback" not in outcome.err, outcome.err
        assert all(word in " ".join(outcome.err.split()) for word in words), outcome.err
    assert not (tmp_path / "run").exists()


def test_a_benchmark_of_networks_of_one_size_is_none_of_several() -> None:
    plain = SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10)
    nothing = np.zeros(0)
    benchmark = TabularBenchmark(space=make_space(plain), validation=nothing, test=nothing, costs={})
    assert benchmark.of_space(make_space(replace(SPEC, resolutions=()))) is benchmark
    with pytest.raises(RequestError, match="this search of those of nasbench-macro, which choose a resolution"):
        benchmark.of_space(make_space(SPEC))


def test_dense_heads_take_one_size(tmp_path: Path) -> None:
    flags = ("--head", "detection", "--resolutions", "64,48", "--dry-run", "-o", tmp_path / "t.json")
    outcome = run_cli("profile", "--space", "fbnet-s", *flags)
    assert outcome.code == 2 and "no resolutions beside it" in outcome.err


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_search_goes_by_one_measured_table_for_all_resolutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is made up: blocks and networks of both resolutions are measured in the same rounds."""
    shorten_runs(monkeypatch)
    work = ("--channels", 1, "--networks", 12, "--rounds", 10, "--quiet")
    profiled = run_cli("profile", *FLAGS, *work, "-o", tmp_path / "t.json")
    table = load_table(tmp_path / "t.json")
    assert table.space == SPEC and table.certificate is not None, profiled.err
    assert {n.architecture[0] for n in table.networks if n.role == "held_out"} == {0, 1}
    training = ("--epochs", 2, "--retrain-epochs", 2, "--evaluations", 10, "--quiet", "--json")
    budget = ("--lut", tmp_path / "t.json", "--accept-table", "--max-latency", "60%")
    outcome = run_cli("search", *FLAGS, *training, *budget, "--out", tmp_path / "run")
    assert outcome.code in (0, 1), outcome.err  # 1 where a busy machine keeps no budget
    summary = json.loads(outcome.out)
    assert summary["parity"]["equal_predictions"] >= 0.999
    side = (8, 6)[summary["architecture"][0]]
    assert _side(Path(summary["onnx"])) == [1, side, side]
