"""The training loop, strategies, and what a checkpoint carries over."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from samples import small_spec
from torch import nn

from hwnas.config import TrainingConfig
from hwnas.criteria import SmoothedCrossEntropy
from hwnas.dataflow import Augmentation, Batches, Dataset, Split
from hwnas.errors import RunError
from hwnas.progress import Reporter
from hwnas.training import STRATEGIES, Trainer
from hwnas.training.randomness import numpy_rng, torch_rng
from hwnas.training.trainer import learning_rate
from hwnas.training.weight_average import WeightAverage
from search_spaces import SearchSpace, make_space

CONFIG = TrainingConfig(epochs=4, batch_size=16, learning_rate=0.05, warmup_epochs=1)


def _dataset() -> Dataset:
    """Two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(64) % 2
    noise = torch.randint(0, 60, (64, 1, 8, 8), generator=generator)
    images = (noise + 120 * targets[:, None, None, None]).to(torch.uint8)
    split = Split(images_NCHW=images, targets_N=targets)
    return Dataset(name="toy", classes=("dark", "light"), train=split, test=split, augmentation=Augmentation(shift=1))


def _space() -> SearchSpace:
    return make_space(small_spec("nasbench-macro", input_size=8, num_classes=2))


def _trainer(folder: Path, config: TrainingConfig, *, strategy: str = "uniform", seed: int = 0) -> Trainer:
    space, dataset = _space(), _dataset()
    torch.manual_seed(1)
    supernet = space.supernet()
    made = STRATEGIES[strategy](space)
    return Trainer(
        module=supernet,
        config=config,
        batches=Batches.of(dataset, dataset.train, config.batch_size),
        accumulate=lambda batch, rng: made.accumulate(supernet, batch, SmoothedCrossEntropy(), rng),
        checkpoint=folder / "c.safetensors",
        name="toy",
        seed=seed,
        reporter=Reporter(is_quiet=True),
    )


def _state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.module.state_dict().items()}


def _equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


class _KilledError(Exception):
    """Stands for a kill in the middle of an epoch."""


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_interrupted_training_ends_as_uninterrupted(strategy: str, ema_decay: float | None, tmp_path: Path) -> None:
    config = replace(CONFIG, ema_decay=ema_decay)
    (tmp_path / "whole").mkdir()
    whole = _trainer(tmp_path / "whole", config, strategy=strategy)
    records = whole.fit()
    assert [r.epoch for r in records] == [0, 1, 2, 3]
    interrupted = _trainer(tmp_path, config, strategy=strategy)
    accumulate, calls = interrupted.accumulate, 0

    def kill_in_third_epoch(batch: tuple[torch.Tensor, torch.Tensor], rng: np.random.Generator) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise _KilledError
        return accumulate(batch, rng)

    interrupted.accumulate = kill_in_third_epoch
    with pytest.raises(_KilledError):
        interrupted.fit()
    continued = _trainer(tmp_path, config, strategy=strategy)
    again = continued.fit()
    assert [r.loss for r in again] == [r.loss for r in records]
    assert _equal(_state(continued), _state(whole))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_training_learns_and_follows_the_seed(strategy: str, tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
    config = replace(CONFIG, epochs=30, learning_rate=0.02)
    one, same, other = (
        _trainer(tmp_path / name, config, strategy=strategy, seed=seed)
        for name, seed in zip("abc", (0, 0, 1), strict=True)
    )
    losses = [[r.loss for r in trainer.fit()] for trainer in (one, same, other)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0][-1] < 0.7 * losses[0][0]
    assert _equal(_state(one), _state(same)) and not _equal(_state(one), _state(other))


def test_finished_training_is_only_read(tmp_path: Path) -> None:
    first = _trainer(tmp_path, CONFIG)
    first.fit()
    second = _trainer(tmp_path, CONFIG)
    second.accumulate = lambda *_: pytest.fail("trained again")
    assert len(second.fit()) == CONFIG.epochs
    assert _equal(_state(first), _state(second))


def test_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").write_bytes(b"garbage")
    with pytest.raises(RunError, match="is damaged"):
        _trainer(tmp_path, CONFIG).fit()


def test_gradients_are_clipped(tmp_path: Path) -> None:
    norms: list[float] = []
    trainer = _trainer(tmp_path, replace(CONFIG, clip_norm=1e-3, momentum=0, weight_decay=0, epochs=1))
    inner = trainer._step

    def spy(optimizer: torch.optim.Optimizer) -> None:
        inner(optimizer)
        grads = [p.grad for p in trainer.module.parameters() if p.grad is not None]
        norms.append(float(torch.cat([g.flatten() for g in grads]).norm()))

    Trainer._step, original = (lambda self, optimizer: spy(optimizer)), Trainer._step
    try:
        trainer.fit()
    finally:
        Trainer._step = original
    assert max(norms) <= 1.01e-3


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = TrainingConfig(epochs=10, learning_rate=0.4, warmup_epochs=2)
    rates = [learning_rate(config, e) for e in np.linspace(0, 10, 101)]
    assert rates[0] < 0.01 and max(rates) == pytest.approx(0.4) and rates[-1] == pytest.approx(0)
    assert np.argmax(rates) == 20 and all(a >= b for a, b in pairwise(rates[20:]))


def test_average_moves_only_what_was_trained() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    average = WeightAverage(module, decay=0.75)
    before = {name: a.clone() for name, a in average.averages.items()}
    with torch.no_grad():
        for p in module.parameters():
            p.add_(4.0)
    for p in module[0].parameters():
        p.grad = torch.zeros_like(p)
    average.update()
    for name, value in average.averages.items():
        torch.testing.assert_close(value, before[name] + (1.0 if name.startswith("0") else 0.0))
    average.apply()
    torch.testing.assert_close(module[0].weight.detach(), before["0.weight"] + 1.0)


def test_generators_depend_on_every_part_of_the_place() -> None:
    places = [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0)]
    assert len({numpy_rng(*p).integers(2**60) for p in places}) == 4
    assert len({torch_rng(*p).initial_seed() for p in places}) == 4
    assert numpy_rng(3, "x").integers(2**60) == numpy_rng(3, "x").integers(2**60)


def test_smoothed_cross_entropy_by_hand() -> None:
    logits, target = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_probs = torch.log_softmax(logits, dim=1)[0]
    expected = -(0.9 + 0.1 / 3) * log_probs[0] - 0.1 / 3 * (log_probs[1] + log_probs[2])
    torch.testing.assert_close(SmoothedCrossEntropy(label_smoothing=0.1)(logits, target), expected)
