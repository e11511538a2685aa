"""Evaluators beside the supernet, and Ray."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run_cli
from samples import history_of, small_spec, synthetic_table
from scipy.stats import spearmanr
from task_samples import dataset_for
from torch.nn import functional

from hwnas.agents import ClassificationAgent
from hwnas.config import RetrainConfig
from hwnas.config_file import load_config
from hwnas.dataflow.splits import Portions, divide
from hwnas.errors import RunError
from hwnas.evaluators import EVALUATORS
from hwnas.evaluators.executor import _as_raised, _own_answer_to_sigterm, on_ray
from hwnas.evaluators.inputs import EvaluatorInputs
from hwnas.evaluators.score import Score
from hwnas.evaluators.short_training import ShortTraining
from hwnas.evaluators.zero_cost import PROXIES, ZeroCost
from hwnas.pipeline.order import run_stages
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.search.proxy_features import proxy_features
from hwnas.training import trainer
from hwnas.training.task import LearningTask
from lut import save_table
from search_spaces import Architecture, SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("very_short_runs")

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
FLAGS = ("--width", 0.25, "--evaluations", 6, "--retrain-epochs", 1, "--train-images", 160, "--quiet")


def _evaluator(name: str, seed: int = 0, space_name: str = "nasbench-macro") -> ZeroCost:
    generator = torch.Generator().manual_seed(1)
    x_NCHW = torch.randn(16, 1, 16, 16, generator=generator)
    targets_N = torch.arange(16) % 10
    space = make_space(small_spec(space_name))
    return ZeroCost(space, PROXIES[name], x_NCHW, targets_N, loss=functional.cross_entropy, seed=seed)


def test_short_trainings_do_not_depend_on_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "step_times_s", lambda *_: pytest.fail("steps are timed"))
    space, dataset = make_space(replace(SPEC, num_classes=4)), dataset_for("classes")
    portions = Portions(train=None, validation_images=None, retrain_validation=None, by_class=False)
    inputs = EvaluatorInputs(
        space=space,
        supernet=space.supernet(),
        task=LearningTask(agent_class=ClassificationAgent, space=space, dataset=dataset, seed=0),
        splits=divide(dataset, portions, rng_of=lambda _: np.random.default_rng(0)),
        training=RetrainConfig(epochs=1, batch_size=20, mixed_precision="auto"),
        batch_size=20,
        recalibration_batches=1,
        seed=0,
    )
    assert 0 <= ShortTraining(inputs).score((0,) * 8) <= 1


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_proxies_are_reproducible_finite_and_tell_networks_apart(name: str) -> None:
    one, same, other = _evaluator(name), _evaluator(name), _evaluator(name, seed=1)
    small, large = (0,) * 8, (2,) * 8
    scores = [one.score(small), one.score(large)]
    assert np.isfinite(scores).all() and scores[0] != scores[1]
    assert [same.score(large), same.score(small)] == scores[::-1]  # whatever was scored before
    if name != "synflow":
        assert other.score(large) != scores[1]
    assert scores[1] > scores[0], "nothing ranks below everything"


@pytest.mark.parametrize("name", sorted(PROXIES))
def test_proxies_tell_networks_without_batchnorm_apart(name: str) -> None:
    evaluator = _evaluator(name, space_name="autoformer")
    scores = [evaluator.score((width, depth, *(1,) * 28)) for width, depth in ((0, 0), (0, 2), (2, 0))]
    assert np.isfinite(scores).all() and len(set(scores)) == 3
    assert min(scores) > -600, "the flow of signals ends nowhere"


def test_proxies_are_learnt_from_a_sample_for_all_others() -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 3, size=(300, 8))
    exact = np.sin(rows @ np.arange(1.0, 9.0) / 8) + rows.sum(axis=1)
    known = exact[:200].copy()
    known[0] = np.nan
    features = proxy_features(rows[:200].tolist(), {"one": known.tolist(), "other": (-exact[:200]).tolist()})
    one_N, other_N = features(rows[200:]).T
    assert spearmanr(one_N, exact[200:])[0] > 0.9 and spearmanr(other_N, exact[200:])[0] < -0.9
    assert features(rows[:1])[0, 0] < -1, "what cannot be computed counts as the lowest"


def test_a_predictor_reads_proxies_and_others_say_they_do_not(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwnas.stages.proxies.NUM_SAMPLES", 30)
    out = tmp_path / "run"
    settings = {"lut": table, "max_latency": "70%", "space.width": 0.25, "data.train_images": 160, "out": out}
    settings |= {"search.evaluator": "naswot", "search.evaluations": 16, "search.proxies": ["naswot"]}
    run_stages(Run(load_config(None, settings), Reporter(is_quiet=True)), last="search")
    known = json.loads((out / "search" / "proxies.json").read_text())
    assert len(known["architectures"]) == len(known["values"]["naswot"]) > 25
    # What is to be maximised is known from the start: what the predictor asks for first beats the initial design.
    scores = [json.loads(line)["score"] for line in (out / "search" / "history.jsonl").read_text().splitlines()]
    assert scores[12] > max(scores[:12])
    common = ("search", *FLAGS, "--lut", table, "--max-latency", "70%", "--evaluator", "naswot")
    outcome = run_cli(*common, "--out", tmp_path / "other", "--set", "search.proxies=[zen]", "--agent", "evolution")
    assert outcome.code == 2 and "agent evolution makes no use of proxies" in outcome.err
    outcome = run_cli(*common, "--out", tmp_path / "other", "--set", "search.proxies=[zens]")
    assert outcome.code == 2 and "proxies" in outcome.err


def test_proxies_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    for name in PROXIES:
        _evaluator(name).score((1,) * 8)
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    return tmp_path / "t.json"


@pytest.mark.parametrize(
    "name",
    [
        name if name == "short-training" else pytest.param(name, marks=pytest.mark.slow)
        for name in sorted({*EVALUATORS} - {"supernet"})
    ],
)
def test_runs_without_a_supernet(name: str, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    common = ("search", *FLAGS, "--lut", table, "--max-latency", "70%", "--evaluator", name, "--out", out, "--json")
    outcome = run_cli(*common, "--set", "retrain.references=false")
    assert outcome.code == 0, outcome.err
    assert not (out / "supernet" / "checkpoint.safetensors").exists()
    assert len(history_of(out / "search" / "history.jsonl")) == 6


def test_wrong_evaluators_are_refused(table: Path, tmp_path: Path) -> None:
    common = ("search", *FLAGS, "--lut", table, "--max-latency", "70%", "--out", tmp_path / "run")
    for name, words in (
        ("magic", "unknown evaluator 'magic'; there are: gradient-norm"),
        ("tabular:none.json", "none.json: No such file"),
    ):
        outcome = run_cli(*common, "--evaluator", name)
        assert outcome.code == 2 and words in outcome.err, outcome.err


def _counting(folder: Path, *, kills: Architecture | None = None, always: bool = False) -> object:
    """A class of a function travels to actors by value."""

    class _Counting:
        """Scores that depend on the architecture alone; the process dies once over the one that is told."""

        def __init__(self, folder: Path, *, kills: Architecture | None = None, always: bool = False) -> None:
            self.folder, self.kills, self.always = folder, kills, always

        def score(self, architecture: Architecture) -> float:
            if architecture == self.kills and (self.always or not (self.folder / "killed").exists()):
                (self.folder / "killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(sum(architecture)) + torch.get_num_threads() / 100

    return _Counting(folder, kills=kills, always=always)


def _chunkwise() -> object:
    class _Partwise:
        """Says who the baseline was."""

        def score(self, architecture: Architecture) -> float:
            return -1.0

        def evaluate(self, architecture: Architecture, baseline: Score | None) -> Score:
            return Score(value=100.0 * architecture[0] + (baseline.value if baseline else -1.0))

    return _Partwise()


ASKED = [(i, i % 3) for i in range(12)]
NO_BASELINES = [None] * len(ASKED)


def test_a_signal_within_ray_is_told_as_it_is() -> None:
    with pytest.raises(KeyboardInterrupt), _as_raised():
        raise SystemError("wait returned a result with an exception set") from KeyboardInterrupt()
    with pytest.raises(SystemError, match="its own"), _as_raised():
        raise SystemError("its own")


def test_a_signal_that_ray_answers_while_it_starts_is_answered_as_ours() -> None:
    answered: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: answered.append(number))
    try:
        with pytest.raises(SystemExit), _own_answer_to_sigterm():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert answered == [signal.SIGTERM]


@pytest.mark.slow
def test_ray_actors_give_scores_in_order_and_survive_the_loss_of_one(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs ray")
    expected = [float(sum(a)) + 0.01 for a in ASKED]
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)  # once for all
    try:
        with on_ray(_counting(tmp_path, kills=(5, 2)), 2) as evaluate:
            assert [s.value for s in evaluate(ASKED, NO_BASELINES)] == expected
            assert (tmp_path / "killed").exists()
        with on_ray(_chunkwise(), 1) as evaluate:
            baselines = [None, *(Score(value=float(i)) for i in range(1, 12))]
            assert [s.value for s in evaluate(ASKED, baselines)] == [-1.0, *(101.0 * i for i in range(1, 12))]
        with (
            on_ray(_counting(tmp_path, kills=(5, 2), always=True), 1) as evaluate,
            pytest.raises(RunError, match="3 actors were lost over the architecture 5-2"),
        ):
            list(evaluate(ASKED, NO_BASELINES))
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_search_on_ray_finds_the_same_as_in_one_process(table: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray")
    few = ("--epochs", 1, "--set", "search.finalists=2", "--set", "retrain.references=false")
    common = ("search", *FLAGS, *few, "--lut", table, "--max-latency", "70%", "--json")
    found = []
    for name, where in (("alone", ()), ("ray", ("--executor", "ray", "--actors", 2))):
        outcome = run_cli(*common, *where, "--out", tmp_path / name)
        assert outcome.code == 0, outcome.err
        found.append(history_of(tmp_path / name / "search" / "history.jsonl"))
    assert found[0] == found[1]
    summaries = [json.loads((tmp_path / name / "summary.json").read_text()) for name in ("alone", "ray")]
    assert summaries[0]["architecture"] == summaries[1]["architecture"]
