"""`benchmarks/end_to_end.py` with a made-up benchmark and scores that nothing is trained for."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hwnas.evaluators.tabular import TabularBenchmark
from search_spaces import Architecture, SpaceSpec, make_space

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NUM_NETWORKS = 3**8


@pytest.fixture(scope="module")
def accuracies() -> TabularBenchmark:
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10))
    rng = np.random.default_rng(0)
    validation, macs = rng.uniform(80, 95, NUM_NETWORKS), rng.uniform(1, 9, NUM_NETWORKS)
    return TabularBenchmark(space=space, validation=validation, test=validation, costs={"macs": macs})


@pytest.fixture
def module(accuracies: TabularBenchmark, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark; supernet and short trainings score networks by their choices."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    found = importlib.import_module("end_to_end")
    monkeypatch.setattr(found.torch, "set_num_threads", lambda _: None)  # this process goes on with other tests
    monkeypatch.setattr(found, "load_tabular", lambda _: accuracies)
    monkeypatch.setattr(found.Runs, "supernet_s", 60.0)
    monkeypatch.setattr(found.Runs, "likelihood", lambda _, architecture: (float(sum(architecture)), 1.0))
    monkeypatch.setattr(found.Runs, "short_training", lambda _, architecture, __: (float(sum(architecture)), 1.0))
    return found


Main = Callable[..., int]


@pytest.fixture
def main(module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    """Runs the benchmark as a program does, and returns its exit code."""
    arguments = importlib.import_module("arguments")

    def run(*given: object) -> int:
        usual = ("--data", tmp_path, "--out", tmp_path / "out", "--quantiles", "0.5", "--seeds", 1, "--without-random")
        monkeypatch.setattr(sys, "argv", ["end_to_end.py", *map(str, (*usual, "--threads", 1, *given))])
        try:
            with arguments.errors_in_a_line():
                module.main()
        except SystemExit as ended:
            assert isinstance(ended.code, int)
            return ended.code
        return 0

    return run


def _rows(tmp_path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((tmp_path / "out" / "rows.json").read_text())
    return rows


@pytest.mark.parametrize("num", [6, 5, 2])
def test_as_many_networks_are_scored_as_are_asked_for(
    num: int, main: Main, module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Architecture] = []

    def likelihood(_: object, architecture: Architecture) -> tuple[float, float]:
        scored.append(architecture)
        return float(sum(architecture)), 1.0

    monkeypatch.setattr(module.Runs, "likelihood", likelihood)
    assert main("--evaluations", num) == 0
    assert len(scored) == len(set(scored)) == num


def test_rows_of_other_seeds_and_quantiles_stay(main: Main, tmp_path: Path) -> None:
    assert main("--first-seed", 1, "--evaluations", 2) == 0
    (first,) = _rows(tmp_path)
    assert main("--evaluations", 2) == 0 and main("--first-seed", 1, "--evaluations", 2, "--quantiles", 0.25) == 0
    rows = _rows(tmp_path)
    assert [(row["seed"], row["quantile"]) for row in rows] == [(0, 0.5), (1, 0.25), (1, 0.5)] and rows[-1] == first
    assert main("--first-seed", 1, "--evaluations", 4) == 0
    assert _rows(tmp_path)[:2] == rows[:2] and _rows(tmp_path)[2]["minutes"] > first["minutes"]


def test_scores_of_other_settings_are_not_gone_on_from(
    main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "out" / "settings.json"
    assert main("--evaluations", 2, "--ema-decay", 0.9) == 0
    kept, rows = settings.read_text(), _rows(tmp_path)
    for given, words in (
        (("--ema-decay", 0.9, "--input-size", 8), "expected --input-size 16, as the scores in"),
        (("--ema-decay", 0.9, "--train-images", 100), "expected no --train-images, as the scores"),
        ((), "were made, found no --ema-decay: give the same, or another --out"),
    ):
        assert main("--evaluations", 2, "--first-seed", 1, *given) == 2
        assert words in capsys.readouterr().err
    assert settings.read_text() == kept and _rows(tmp_path) == rows
    assert main("--evaluations", 3, "--ema-decay", 0.9) == 0


def test_a_folder_of_scores_without_settings_goes_on(main: Main, tmp_path: Path) -> None:
    (tmp_path / "out" / "seed-0").mkdir(parents=True)
    assert main("--evaluations", 2, "--input-size", 8) == 0
    assert main("--evaluations", 2, "--input-size", 16) == 2


@pytest.mark.parametrize("name", ["settings.json", "rows.json"])
@pytest.mark.parametrize("text", ["", "[1]", "7", '{"a": 1}'])
def test_files_of_something_else_are_told_of_before_any_work(
    name: str, text: str, main: Main, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(text)
    assert main("--evaluations", 2) == 2 and name in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
