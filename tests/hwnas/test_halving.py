"""Short trainings of finalists: who is trained, for how long, and what is kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st
from samples import synthetic_table

from hwnas.errors import RunError
from hwnas.progress import Reporter
from hwnas.search import Evaluation
from hwnas.stages.halving import ShortTrainings, contenders, halved, trained_epochs
from lut import save_table
from search_spaces import Architecture, SpaceSpec, make_space
from search_spaces.cost import GraphCosts

SPACE = make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25))
COSTS = GraphCosts(SPACE)
NUM_LAYERS = 8


def _evaluation(score: float, *, larger_layers: int) -> Evaluation:
    architecture = (2,) * larger_layers + (1,) * (NUM_LAYERS - larger_layers)
    return Evaluation(architecture=architecture, score=score, costs={"latency_ms": 1.0})


def test_large_networks_of_lower_scores_are_contenders_too() -> None:
    small_best = _evaluation(0.9, larger_layers=0)
    large_worse = _evaluation(0.5, larger_layers=8)
    beaten = [_evaluation(0.4 - 0.01 * n, larger_layers=n) for n in range(1, 7)]
    chosen = contenders([*beaten, large_worse, small_best], COSTS, 2)
    assert chosen == [small_best, large_worse]
    assert contenders([], COSTS, 3) == []
    assert len(contenders([small_best], COSTS, 3)) == 1


def test_of_a_long_front_networks_far_from_each_other_are_taken() -> None:
    front = [_evaluation(0.9 - 0.1 * n, larger_layers=n) for n in range(9)]
    chosen = contenders(front, COSTS, 2)
    assert chosen == [front[0], front[-1]]


@given(
    num=st.integers(0, 20),
    epochs=st.integers(1, 5),
    most_epochs=st.integers(0, 40),
    scores=st.lists(st.floats(0, 1), min_size=20, max_size=20),
)
def test_halving_orders_all_and_trains_the_better_half_longer(
    num: int, epochs: int, most_epochs: int, scores: list[float]
) -> None:
    architectures: list[Architecture] = [(i,) for i in range(num)]
    trained: list[tuple[Architecture, int]] = []

    def score(asked: Sequence[Architecture], for_epochs: int) -> list[float]:
        trained.extend((a, for_epochs) for a in asked)
        return [scores[a[0]] for a in asked]

    order = halved(architectures, score, epochs=epochs, most_epochs=most_epochs)
    assert sorted(order) == architectures
    assert all(for_epochs <= max(most_epochs, 1) for _, for_epochs in trained)
    assert trained_epochs(num, epochs=epochs, most_epochs=most_epochs) == sum(for_epochs for _, for_epochs in trained)
    rounds = Counter(for_epochs for _, for_epochs in trained)
    assert list(rounds.values()) == [math.ceil(num / 2**n) for n in range(len(rounds))]
    if trained:
        assert [scores[a[0]] for a in order] == sorted((scores[a[0]] for a in architectures), reverse=True)
    else:
        assert order == architectures


def _trainings(
    folder: Path, trained: list[tuple[Architecture, int]], *, num: int = 4, are_begun: bool = False
) -> ShortTrainings:
    def train(architecture: Architecture, epochs: int) -> float:
        trained.append((architecture, epochs))
        return sum(architecture) / 100 + epochs

    return ShortTrainings(
        num=num,
        epochs=1,
        most_epochs=4,
        train=train,
        costs=COSTS,
        path=folder / "short-trainings.jsonl",
        reporter=Reporter(is_quiet=True),
        are_begun=are_begun,
    )


def test_every_training_is_written_down_and_read_again(tmp_path: Path) -> None:
    evaluations = [_evaluation(0.9 - 0.1 * n, larger_layers=n) for n in range(6)]
    trained: list[tuple[Architecture, int]] = []
    ranked = _trainings(tmp_path, trained).ranked(evaluations)
    assert ranked[0] == evaluations[5] and len(ranked) == 6, "the largest scores best when it is trained"
    assert Counter(epochs for _, epochs in trained) == {1: 4, 2: 2}
    again: list[tuple[Architecture, int]] = []
    assert _trainings(tmp_path, again).ranked(evaluations) == ranked and not again

    kept = tmp_path / "short-trainings.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:3]) + lines[3][:9])  # killed while it wrote
    assert _trainings(tmp_path, again).ranked(evaluations) == ranked and again == trained[3:]


def test_networks_that_the_search_trained_are_not_trained_as_long_again(tmp_path: Path) -> None:
    trained: list[tuple[Architecture, int]] = []
    ranked = _trainings(tmp_path, trained, are_begun=True).ranked(
        [_evaluation(0.9 - 0.1 * n, larger_layers=n) for n in range(4)]
    )
    assert Counter(epochs for _, epochs in trained) == {2: 2}
    assert {a for a, _ in trained} == {e.architecture for e in ranked[:2]}
    assert {e.score for e in ranked[:2]} == {0.9, 0.8}, "the two that scored best in the search are trained on"


@pytest.mark.parametrize(
    "line", ['{"architecture": [1], "epochs": 1}', '{"architecture": [1], "epochs": 0, "score": 1.0}', "[]", "x"]
)
def test_a_damaged_file_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "short-trainings.jsonl").write_text(line + "\n")
    with pytest.raises(RunError, match=r"short-trainings\.jsonl.*; remove the file to train them again"):
        _trainings(tmp_path, []).ranked([_evaluation(0.5, larger_layers=n) for n in range(2)])


@pytest.mark.slow
@pytest.mark.usefixtures("short_runs")
@pytest.mark.parametrize("inherit", [False, True])
def test_a_run_names_the_finalist_that_trains_best(inherit: bool, tmp_path: Path) -> None:
    settings = {"search.trained_finalists": 3, "search.short_epochs": 1, "search.finalists": 3, "retrain.epochs": 2}
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    where = ("--out", tmp_path / "run", "--width", 0.25, "--epochs", 1, "--evaluations", 8, "--train-images", 200)
    begin = "--inherit" if inherit else "--no-inherit"
    save_table(synthetic_table(SPACE, scale_ns=1e8), tmp_path / "t.json")
    # A budget that all keep: of the three that are measured none is lost to a slow moment of the machine.
    budget = ("--lut", tmp_path / "t.json", "--max-latency", "100s")
    outcome = run_cli("search", *budget, *where, begin, "--set", "retrain.references=false", *flags)
    assert outcome.code == 0, outcome.err
    rows = [json.loads(line) for line in (tmp_path / "run/search/short-trainings.jsonl").read_text().splitlines()]
    found = json.loads((tmp_path / "run/search/result.json").read_text())
    measured = [tuple(f["architecture"]) for f in found["finalists"]]
    assert {tuple(row["architecture"]) for row in rows} <= set(measured)
    last = max(row["epochs"] for row in rows)
    best = max((row for row in rows if row["epochs"] == last), key=lambda row: row["score"])
    winner = json.loads((tmp_path / "run/summary.json").read_text())["architecture"]
    assert len(rows) == 3 + 2 and last == 2 and np.array_equal(winner, best["architecture"])
