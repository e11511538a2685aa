"""AdamW beside SGD: what decays, what a killed training goes on with, and weights that are searched as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_line import run_cli
from samples import synthetic_table
from torch import nn
from toy_data import two_brightnesses
from toy_spaces import chain, slices

from hwnas.config import SupernetConfig, TrainingConfig
from hwnas.config_file import load_config
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Augmentation, Batches, Dataset
from hwnas.errors import RequestError, RunError
from hwnas.progress import Reporter
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.checkpoint import load_checkpoint
from hwnas.training.divergence import DivergedError, changeable_settings
from hwnas.training.optimizer import make_optimizer
from hwnas.training.strategy import steps_of
from hwnas.training.trainer import epochs_of
from lut import save_table
from search_spaces import SpaceSpec, make_space

ADAMW = TrainingConfig(epochs=4, batch_size=16, optimizer="adamw", learning_rate=0.002, warmup_epochs=1)


def _dataset() -> Dataset:
    return two_brightnesses(Augmentation(shift=1))


def _trainer(folder: Path, config: TrainingConfig, strategy: str = "uniform") -> Trainer:
    space, dataset = slices() if strategy == "progressive" else chain(), _dataset()
    torch.manual_seed(1)
    supernet = space.supernet()
    made = STRATEGIES[strategy](space, None)  # type: ignore[arg-type]
    made.prepare(supernet)
    return Trainer(
        module=supernet,
        config=config,
        batches=Batches.of(dataset, dataset.train, config.batch_size),
        accumulate=steps_of(made, supernet, SmoothedCrossEntropy()),
        checkpoint=folder / "c.safetensors",
        name="toy",
        seed=0,
        reporter=Reporter(is_quiet=True),
    )


class _KilledError(Exception):
    """Stands for a kill in the middle of an epoch."""


ALL = {"ema_decay": 0.9, "mixed_precision": True, "gradient_accumulation": 2}


@pytest.mark.parametrize(
    ("strategy", "changes"),
    [
        pytest.param("uniform", {}, id="some weights get no gradient"),
        pytest.param("sandwich", {}, id="all weights"),
        pytest.param("progressive", ALL, id="weights that are put in order"),
        *(pytest.param("uniform", {name: value}, id=name) for name, value in ALL.items()),
    ],
)
def test_interrupted_training_ends_as_uninterrupted(strategy: str, changes: dict[str, object], tmp_path: Path) -> None:
    config = replace(ADAMW, **changes)
    (tmp_path / "whole").mkdir()
    whole = _trainer(tmp_path / "whole", config, strategy)
    losses = [r.loss for r in whole.fit()]
    interrupted = _trainer(tmp_path, config, strategy)
    accumulate, calls = interrupted.accumulate, 0

    def kill_in_third_epoch(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 10 * config.gradient_accumulation:
            raise _KilledError
        return accumulate(*arguments)

    interrupted.accumulate = kill_in_third_epoch
    with pytest.raises(_KilledError):
        interrupted.fit()
    kept, _ = load_checkpoint(interrupted.checkpoint)
    assert {name.partition(".")[0] for name in kept} >= {"module", "exp_avg", "exp_avg_sq", "step"}
    continued = _trainer(tmp_path, config, strategy)
    assert [r.loss for r in continued.fit()] == losses
    (one, _), (other, _) = load_checkpoint(continued.checkpoint), load_checkpoint(whole.checkpoint)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_adamw_learns(tmp_path: Path) -> None:
    losses = [r.loss for r in _trainer(tmp_path, replace(ADAMW, epochs=6, learning_rate=0.02)).fit()]
    assert losses[-1] < 0.7 * losses[0]


def test_the_two_optimisers_and_their_settings_are_what_torch_has() -> None:
    module = nn.Linear(2, 2)
    adamw = make_optimizer(module, replace(ADAMW, betas=(0.8, 0.95)))
    assert type(adamw) is torch.optim.AdamW and adamw.defaults["betas"] == (0.8, 0.95)
    sgd = make_optimizer(module, replace(ADAMW, optimizer="sgd"))
    assert type(sgd) is torch.optim.SGD and sgd.defaults["nesterov"]


class _Tokens(nn.Module):
    """Tokens with positions, whose decay the module refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.ones(1, 5, 8))
        self.mix = nn.Parameter(torch.ones(5, 5))
        self.norm = nn.LayerNorm(8)

    def no_weight_decay(self) -> set[str]:
        return {"positions"}


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_norms_biases_and_what_a_module_declares_do_not_decay(kind: str) -> None:
    named = nn.Linear(8, 8)
    named.no_weight_decay = ("weight",)  # type: ignore[assignment]
    module = nn.ModuleDict({"tokens": _Tokens(), "plain": nn.Linear(8, 8), "named": named})
    optimizer = make_optimizer(module, replace(ADAMW, optimizer=kind, weight_decay=0.05))
    names = {id(p): name for name, p in module.named_parameters()}
    decays = {names[id(p)]: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decays.keys() == set(names.values())
    assert {name for name, decay in decays.items() if decay} == {"tokens.mix", "plain.weight"}


def test_the_checkpoint_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    _trainer(tmp_path, replace(ADAMW, optimizer="sgd")).fit()
    with pytest.raises(RunError, match=r"c\.safetensors is of another"):
        _trainer(tmp_path, ADAMW).fit()


def test_a_training_that_diverged_goes_on_with_a_lower_rate(tmp_path: Path) -> None:
    folder = tmp_path / "supernet"
    folder.mkdir()
    trainer = _trainer(folder, ADAMW)
    accumulate, calls = trainer.accumulate, 0

    def spoilt(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return accumulate(*arguments) * (float("nan") if calls == 6 else 1.0)

    trainer.accumulate = spoilt
    with pytest.raises(DivergedError, match=r"--set supernet\.learning_rate=0\.0002"):
        trainer.fit()
    assert "supernet.learning_rate" in changeable_settings({"supernet": folder})
    records = _trainer(folder, replace(ADAMW, learning_rate=0.0002)).fit()
    assert len(records) == 4 and not changeable_settings({"supernet": folder})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"supernet.optimizer": "adam"}, "supernet.optimizer"),
        ({"retrain.betas": [0.9, 1.0]}, "retrain.betas"),
        ({"retrain.betas": [0.9]}, "retrain.betas"),
        ({"retrain.epochs": -1}, "retrain.epochs"),
        ({"supernet.epochs": -1}, "supernet.epochs"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        load_config(None, {"max_latency": "60%", **settings})


def test_each_stage_has_an_optimiser_of_its_own() -> None:
    config = load_config(None, {"max_latency": "60%", "retrain.optimizer": "adamw", "retrain.betas": [0.9, 0.98]})
    assert (config.supernet.optimizer, config.retrain.optimizer, config.retrain.betas) == ("sgd", "adamw", (0.9, 0.98))


def test_no_epochs_keep_the_weights_as_they_are(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, SupernetConfig(epochs=0))
    before = {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}
    assert trainer.fit() == [] == epochs_of(trainer.checkpoint)
    with torch.no_grad():
        other = _trainer(tmp_path, SupernetConfig(epochs=0))
        for p in other.module.parameters():
            p.zero_()
    assert other.fit() == []
    after = other.module.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


OWN = '''
import torch

from search_spaces import SpaceSpec
from search_spaces.nasbench_macro import nasbench_macro


def given(spec):
    """A space whose supernet's weights are there before any training."""
    space = nasbench_macro(spec)
    space.has_weights = True
    return space
'''


@pytest.mark.usefixtures("very_short_runs", "instant_measurements")
def test_given_weights_are_searched_as_they_are_and_random_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    name = f"{tmp_path}/own.py:given"
    spec = SpaceSpec(name=name, input_size=8, in_channels=1, num_classes=10, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    flags = ("--width", 0.25, "--epochs", 0, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128)
    flags += ("--set", "search.finalists=2", "--set", "retrain.references=false")
    search = ("search", *flags, "--lut", tmp_path / "t.json", "--max-latency", "80%", "--quiet", "--trust-code")
    done = run_cli(*search, "--space", name, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert epochs_of(tmp_path / "run" / "supernet" / "checkpoint.safetensors") == []
    more = ("--max-latency", "70%", "--out", tmp_path / "more", "--quiet", "--trust-code")
    again = run_cli("search", "--from", tmp_path / "run", *more)
    assert again.code == 0, again.err
    refused = run_cli("search", *flags, "--max-latency", "80%", "--out", tmp_path / "none", "--quiet")
    assert refused.code == 2 and "supernet.epochs is 0, and the weights of nasbench-macro are random" in refused.err
