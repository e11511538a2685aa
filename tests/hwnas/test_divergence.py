"""Trainings whose numbers are no longer finite stop, say what to set, and go on with it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from command_line import Outcome, run_cli
from samples import synthetic_table
from torch import nn

from hwnas.agents import ClassificationAgent
from hwnas.config import TrainingConfig
from hwnas.dataflow import Augmentation, Batches, Dataset, Split
from hwnas.errors import RunError
from hwnas.progress import Reporter
from hwnas.training import Trainer
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.divergence import DivergedError, changeable_settings
from lut import save_table
from search_spaces import SpaceSpec, make_space

SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
pytestmark = pytest.mark.usefixtures("very_short_runs")

FAST = (
    *("--width", 0.25, "--evaluations", 4, "--retrain-epochs", 2, "--train-images", 300, "--quiet"),
    *("--set", "retrain.references=false"),
)
TOO_HIGH = "1e38"


def _trainer(folder: Path, network: nn.Module, *, spoil: object = None, epochs: int = 3, **config: object) -> Trainer:
    """Trains on two classes; `spoil(step)` may break the network, and gives the factor of the loss."""
    targets_N = torch.arange(32) % 2
    images_NCHW = (targets_N[:, None, None, None] * 100 + torch.randint(0, 50, (32, 1, 4, 4))).to(torch.uint8)
    split = Split(images_NCHW=images_NCHW, targets_N=targets_N)
    dataset = Dataset(name="toy", classes=("a", "b"), train=split, test=split, augmentation=Augmentation())

    def accumulate(batch, _rng, moment):  # type: ignore[no-untyped-def]
        factor = spoil(moment.step) if callable(spoil) else 1.0
        loss = factor * ClassificationAgent().loss(network(batch[0]), batch[1])
        loss.backward()
        return loss.detach()

    return Trainer(
        module=network,
        config=TrainingConfig(epochs=epochs, batch_size=16, **{"learning_rate": 0.05, **config}),
        batches=Batches.of(dataset, dataset.train, 16),
        accumulate=accumulate,
        checkpoint=folder / "retrain" / "c.safetensors",
        name="retrain toy",
        seed=0,
        settings="retrain",
        reporter=Reporter(is_quiet=True),
    )


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))


@pytest.mark.parametrize("ema_decay", [None, 0.9])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("step", [2, 3])
def test_a_loss_that_is_not_finite_stops_and_keeps_the_epoch_before(
    step: int, bad: float, ema_decay: float | None, tmp_path: Path
) -> None:
    """Two steps an epoch: in the first and in the last of the second one."""
    trainer = _trainer(tmp_path, _network(), spoil=lambda s: bad if s == step else 1.0, ema_decay=ema_decay)
    message = r"retrain toy diverged in epoch 2 of 3: expected finite numbers, found a loss of (nan|inf); .*0\.05.*"
    with pytest.raises(DivergedError, match=message + r"after epoch 1 is kept.*--set retrain\.learning_rate=0\.005"):
        trainer.fit()
    tensors, record = load_checkpoint(trainer.checkpoint)
    assert len(record["epochs"]) == 1 and all(t.isfinite().all() for t in tensors.values())
    trainings = {"retrain": tmp_path / "retrain"}
    assert changeable_settings(trainings) == {f"retrain.{x}" for x in ("learning_rate", "warmup_epochs", "clip_norm")}
    again = _trainer(tmp_path, _network(), ema_decay=ema_decay, learning_rate=0.01)
    assert len(again.fit()) == 3
    assert changeable_settings(trainings) == frozenset()


@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "3.bias"])
def test_numbers_that_the_last_step_spoils_are_seen_though_no_loss_is(name: str, tmp_path: Path) -> None:
    network = _network()
    trainer = _trainer(tmp_path, network, epochs=1, clip_norm=None)
    step = Trainer._step

    def spoil(self: Trainer, optimizer: torch.optim.Optimizer) -> None:
        step(self, optimizer)
        network.state_dict()[name].fill_(math.inf)

    trainer.batches = _trainer(tmp_path, network).batches
    with pytest.MonkeyPatch.context() as patch:
        calls = iter((step, spoil))
        patch.setattr(Trainer, "_step", lambda self, optimizer: next(calls)(self, optimizer))
        with pytest.raises(
            DivergedError, match=r"found weights that are not finite.*no epoch was kept.*retrain\.clip_norm=5"
        ):
            trainer.fit()
    assert not trainer.checkpoint.exists()


def test_a_checkpoint_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, _network())
    trainer.fit()
    tensors, record = load_checkpoint(trainer.checkpoint)
    tensors["module.3.bias"].fill_(math.nan)
    save_checkpoint(trainer.checkpoint, tensors, record)
    with pytest.raises(RunError, match="has weights that are not finite; remove it to train again"):
        _trainer(tmp_path, _network()).fit()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    save_table(synthetic_table(make_space(SPEC), scale_ns=1e8), tmp_path / "t.json")
    return tmp_path / "t.json"


def _search(table: Path, out: Path, *flags: object) -> Outcome:
    return run_cli("search", *FAST, "--lut", table, "--max-latency", "80%", "--out", out, "--json", *flags)


def test_a_supernet_that_diverges_ends_the_search_and_goes_on_with_a_lower_rate(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    high = (
        "--epochs=2",
        f"--set=supernet.learning_rate={TOO_HIGH}",
        "--set=supernet.clip_norm=1e38",
        "--set=supernet.warmup_epochs=0",
    )
    outcome = _search(table, out, *high)
    assert outcome.code == 1 and outcome.out == ""
    assert "supernet diverged in epoch 1 of 2" in outcome.err and "--set supernet.learning_rate=1e+37" in outcome.err
    assert not (out / "search").exists() and not (out / "export").exists()
    assert run_cli("search", "--resume", "--out", out, "--quiet").code == 1, "as before with the same settings"
    other = run_cli("search", "--resume", "--out", out, "--quiet", "--set", "retrain.learning_rate=0.01")
    assert other.code == 2 and "other settings (retrain.learning_rate)" in other.err
    lower = ("--set", "supernet.learning_rate=0.05", "--set", "supernet.clip_norm=5")
    done = run_cli("train", "--resume", "--out", out, "--quiet", *lower)
    assert done.code == 0, done.err
    tensors, _ = load_checkpoint(out / "supernet" / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert "learning_rate: 0.05" in (out / "config.yaml").read_text()
    late = run_cli("search", "--resume", "--out", out, "--quiet", "--set", "supernet.learning_rate=0.04")
    assert late.code == 2 and "other settings (supernet.learning_rate)" in late.err, "it is trained by now"


def test_a_retraining_that_diverges_is_no_winner(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    high = (f"--set=retrain.learning_rate={TOO_HIGH}", "--set=retrain.warmup_epochs=0", "--evaluator=zen")
    outcome = _search(table, out, *high)
    assert outcome.code == 1 and "retrain winner diverged in epoch 1 of 2" in outcome.err
    assert not (out / "export").exists()
    done = run_cli(
        *("search", "--resume", "--out", out, "--quiet", "--json"),
        "--set=retrain.learning_rate=0.05",
    )
    assert done.code == 0, done.err


def test_a_short_training_that_diverges_asks_for_another_search(table: Path, tmp_path: Path) -> None:
    high = (f"--set=retrain.learning_rate={TOO_HIGH}", "--set=retrain.warmup_epochs=0", "--evaluator=short-training")
    outcome = _search(table, tmp_path / "run", *high)
    assert outcome.code == 1
    assert "short training diverged in epoch 1 of 2" in outcome.err and "search anew with another --out" in outcome.err


def test_resuming_with_a_configuration_beside_is_refused(tmp_path: Path) -> None:
    outcome = run_cli("search", "other.yaml", "--resume", "--out", tmp_path)
    assert outcome.code == 2 and "got other.yaml too" in outcome.err
