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
from toy_data import two_brightnesses
from toy_spaces import chain, slices

from hwnas.agents import ClassificationAgent, VerificationAgent
from hwnas.config import TrainingConfig
from hwnas.criteria import BatchHardTriplet, SmoothedCrossEntropy
from hwnas.dataflow import Augmentation, Batches, Dataset
from hwnas.errors import RequestError, RunError
from hwnas.progress import Reporter
from hwnas.search import DifferentiableAgent, HardLimits, Limit
from hwnas.training import STRATEGIES, ProgressiveShrinking, SandwichRule, StrictFairness, Trainer
from hwnas.training.checkpoint import load_checkpoint
from hwnas.training.randomness import numpy_rng, torch_rng
from hwnas.training.schedule import learning_rate
from hwnas.training.strategy import Moment, TaskLoss, distillation_of, steps_of
from hwnas.training.trainer import Scorer, best_epoch, epoch_records, epochs_of
from hwnas.training.weight_average import WeightAverage
from search_spaces import SearchSpace, make_space
from search_spaces.cost import GraphCosts

NO_LIMITS = HardLimits(limits=())

CONFIG = TrainingConfig(epochs=4, batch_size=16, learning_rate=0.1, warmup_epochs=1)


def _dataset() -> Dataset:
    return two_brightnesses(Augmentation(shift=1))


def _space() -> SearchSpace:
    return make_space(small_spec("nasbench-macro", input_size=8, num_classes=2))


def _trainer(folder: Path, config: TrainingConfig, *, strategy: str = "uniform", seed: int = 0) -> Trainer:
    space, dataset = slices() if strategy == "progressive" else chain(), _dataset()
    torch.manual_seed(1)
    supernet = space.supernet()
    made = STRATEGIES[strategy](space, NO_LIMITS)
    made.prepare(supernet)
    return Trainer(
        module=supernet,
        config=config,
        batches=Batches.of(dataset, dataset.train, config.batch_size),
        accumulate=steps_of(made, supernet, SmoothedCrossEntropy()),
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


AVERAGED = replace(CONFIG, ema_decay=0.9)


@pytest.mark.parametrize(
    ("strategy", "config"),
    [*((strategy, AVERAGED) for strategy in sorted(STRATEGIES)), ("uniform", CONFIG)],
    ids=[*sorted(STRATEGIES), "without averages"],
)
def test_training_learns_the_same_however_often_it_is_interrupted(
    strategy: str, config: TrainingConfig, tmp_path: Path
) -> None:
    for name in ("whole", "other"):
        (tmp_path / name).mkdir()
    whole = _trainer(tmp_path / "whole", config, strategy=strategy)
    records = whole.fit()
    assert [r.epoch for r in records] == [0, 1, 2, 3]
    assert records[-1].loss < 0.7 * records[0].loss
    interrupted = _trainer(tmp_path, config, strategy=strategy)
    accumulate, calls = interrupted.accumulate, 0

    def kill_in_third_epoch(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 10:
            raise _KilledError
        return accumulate(*arguments)

    interrupted.accumulate = kill_in_third_epoch
    with pytest.raises(_KilledError):
        interrupted.fit()
    continued = _trainer(tmp_path, config, strategy=strategy)
    again = continued.fit()
    assert [r.loss for r in again] == [r.loss for r in records]
    assert _equal(_state(continued), _state(whole))
    other = _trainer(tmp_path / "other", config, strategy=strategy, seed=1)
    assert [r.loss for r in other.fit()] != [r.loss for r in records]
    assert not _equal(_state(other), _state(whole))


SCORES = [0.5, 0.9, 0.9, 0.7]
"""By epoch; the second is kept."""


def _scored(trainer: Trainer) -> list[dict[str, torch.Tensor]]:
    """Have the trainer scored by SCORES; gives the weights that were scored, as they come."""
    seen: list[dict[str, torch.Tensor]] = []
    first = len(epochs_of(trainer.checkpoint)) if trainer.checkpoint.exists() else 0

    def scorer() -> float:
        assert not trainer.module.training
        seen.append(_state(trainer))
        return SCORES[first + len(seen) - 1]

    trainer.scorer = scorer
    return seen


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_the_best_epoch_is_kept_beside_the_last(ema_decay: float | None, tmp_path: Path) -> None:
    config = replace(CONFIG, ema_decay=ema_decay)
    (tmp_path / "plain").mkdir()
    plain = _trainer(tmp_path / "plain", config)
    losses = [r.loss for r in plain.fit()]
    scored = _trainer(tmp_path, config)
    seen = _scored(scored)
    records = scored.fit()
    assert [r.score for r in records] == SCORES and best_epoch(records) is records[1]
    assert [r.loss for r in records] == losses, "being scored must not change the training"
    assert _equal(_state(scored), seen[1]) and not _equal(seen[1], seen[3])
    assert _equal(seen[3], _state(plain)), "averages are scored where there are any"
    tensors, record = load_checkpoint(scored.checkpoint)
    last, _ = load_checkpoint(plain.checkpoint)
    assert epoch_records(record, scored.checkpoint) == records
    assert all(torch.equal(tensors[name], tensor) for name, tensor in last.items())
    read = _trainer(tmp_path, config)
    read.scorer = lambda: pytest.fail("scored again")
    read.fit()
    assert _equal(_state(read), seen[1])


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_an_interrupted_training_keeps_the_same_best_epoch(ema_decay: float | None, tmp_path: Path) -> None:
    config = replace(CONFIG, ema_decay=ema_decay)
    (tmp_path / "whole").mkdir()
    whole = _trainer(tmp_path / "whole", config)
    _scored(whole)
    records = whole.fit()
    for score_at_kill in (1, 2, 3):
        interrupted = _trainer(tmp_path, config)
        _scored(interrupted)
        scorer, asked = interrupted.scorer, 0

        def kill_when_asked(scorer: Scorer | None = scorer, at: int = score_at_kill) -> float:
            nonlocal asked
            asked += 1
            if asked == at:
                raise _KilledError
            assert scorer is not None
            return scorer()

        interrupted.scorer = kill_when_asked
        with pytest.raises(_KilledError):
            interrupted.fit()
        continued = _trainer(tmp_path, config)
        _scored(continued)
        assert [(r.loss, r.score) for r in continued.fit()] == [(r.loss, r.score) for r in records]
        assert _equal(_state(continued), _state(whole))
        continued.checkpoint.unlink()


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
    weight = module[0].weight.detach()
    with average.applied():
        torch.testing.assert_close(weight, before["0.weight"] + 1.0)
    torch.testing.assert_close(weight, before["0.weight"] + 4.0)
    average.apply()
    torch.testing.assert_close(weight, before["0.weight"] + 1.0)


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


def test_fairness_trains_every_choice_once_per_step() -> None:
    space = make_space(small_spec("proxylessnas"))  # layers of 6 and of 7 choices
    paths = StrictFairness(space, NO_LIMITS)._paths(np.random.default_rng(0))
    assert len(paths) == 7
    for column, decision in zip(zip(*paths, strict=True), space.decisions, strict=True):
        counts = [column.count(c) for c in range(len(decision.choices))]
        assert set(counts) <= ({1} if len(decision.choices) == 7 else {1, 2})


def test_sandwich_trains_the_largest_and_the_smallest_every_step() -> None:
    space = make_space(small_spec("ofa-mobilenetv3"))
    supernet, seen = space.supernet(), []
    forward = supernet.forward

    def watched(x_NCHW: torch.Tensor, architecture: tuple[int, ...]) -> torch.Tensor:
        seen.append(architecture)
        return forward(x_NCHW, architecture)

    supernet.forward = watched  # type: ignore[method-assign]
    batch = (torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 2, 3]))
    take_step = steps_of(SandwichRule(space, NO_LIMITS), supernet, SmoothedCrossEntropy())
    take_step(batch, np.random.default_rng(0), Moment(step=0, num_steps=1))
    macs = GraphCosts(space).macs(np.array(seen))
    others = GraphCosts(space).macs(space.sample_many(500, np.random.default_rng(1)))
    assert len(seen) == 4
    assert macs[0] >= others.max() and macs[1] <= others.min()
    assert all(p.grad is not None for name, p in supernet.named_parameters() if "to_smaller" not in name)


def test_progressive_shrinking_frees_kernel_then_depth_then_expansion() -> None:
    space = make_space(small_spec("ofa-mobilenetv3"))
    strategy, rng = ProgressiveShrinking(space, NO_LIMITS), np.random.default_rng(0)

    def drawn(phase: int) -> tuple[set[str], set[str]]:
        rows = [space.describe(strategy._draw(phase, rng)) for _ in range(100)]
        layers = {c for row in rows for c in row if c.startswith("k")}
        return layers, {c for row in rows for c in row if not c.startswith("k")}

    assert drawn(0) == ({"k7_e6"}, {"4"})
    assert drawn(1) == ({"k3_e6", "k5_e6", "k7_e6"}, {"4"})
    assert drawn(2) == ({"k3_e6", "k5_e6", "k7_e6"}, {"2", "3", "4"})
    assert len(drawn(3)[0]) == 9
    assert [strategy._phase(step, 8) for step in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_channels_are_sorted_once_when_expansion_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_space(small_spec("ofa-mobilenetv3"))
    supernet, calls = space.supernet(), []
    monkeypatch.setattr(type(supernet), "sort_channels", lambda self: calls.append(step))
    strategy = ProgressiveShrinking(space, NO_LIMITS)
    batch = (torch.randn(2, 1, 16, 16), torch.tensor([0, 1]))
    take_step = steps_of(strategy, supernet, SmoothedCrossEntropy())
    for step in range(8):
        take_step(batch, np.random.default_rng(step), Moment(step=step, num_steps=8))
    assert calls == [6]


def test_progressive_shrinking_needs_networks_that_are_slices() -> None:
    with pytest.raises(RequestError, match="nasbench-macro has weights of its own for every choice"):
        ProgressiveShrinking(_space(), NO_LIMITS)


@pytest.mark.parametrize("name", ["softmax", "gumbel", "binarised"])
def test_differentiable_training_ends_under_the_budget(name: str) -> None:
    """The largest choices learn best on these data, and cost too much: the expectation settles below the budget."""
    space = chain()
    costs = GraphCosts(space)
    maximum = float(np.quantile(costs.macs(space.sample_many(2000, np.random.default_rng(0))), 0.2))
    limits = HardLimits(limits=(Limit(name="macs", cost=costs.macs, maximum=maximum),))
    strategy, supernet = STRATEGIES[name](space, limits), space.supernet()
    strategy.prepare(supernet)
    supernet.to(memory_format=torch.channels_last)
    batch = (torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]))
    optimizer = torch.optim.SGD(supernet.decision_logits.parameters(), lr=0.05)
    take_step = steps_of(strategy, supernet, SmoothedCrossEntropy())
    for step in range(150):
        optimizer.zero_grad()
        take_step(batch, np.random.default_rng(step), Moment(step=step, num_steps=150))
        optimizer.step()
    probabilities = [torch.softmax(logits, dim=0) for logits in supernet.choice_logits()]
    assert strategy._costs.expected_shares(probabilities).item() < 1.1
    assert any(p.grad is not None for p in supernet.layers.parameters())
    for seed in range(3):
        first = DifferentiableAgent(space, limits, np.random.default_rng(seed), supernet=supernet).ask(5)
        assert (costs.macs(np.array(first)) <= maximum).all()


def test_mixture_of_one_candidate_is_the_path() -> None:
    space = _space()
    supernet = space.supernet().eval()
    architecture = space.sample(np.random.default_rng(0))
    x_NCHW = torch.randn(2, 1, 8, 8)
    weights = [{choice: torch.ones(())} for choice in architecture]
    torch.testing.assert_close(supernet.forward_mixed(x_NCHW, weights), supernet(x_NCHW, architecture))


def test_differentiable_agent_takes_the_likeliest_that_is_feasible() -> None:
    space = _space()
    supernet = space.supernet()
    with pytest.raises(RequestError, match="train with --strategy softmax"):
        DifferentiableAgent(space, NO_LIMITS, np.random.default_rng(0), supernet=supernet)
    STRATEGIES["softmax"](space, NO_LIMITS).prepare(supernet)
    with torch.no_grad():
        for logits in supernet.decision_logits:
            logits.copy_(torch.tensor([0.0, 1.0, 5.0]))
        supernet.decision_logits[3][1] = 4.9
    num_twos = HardLimits(limits=(Limit(name="twos", cost=lambda a: 1.0 * (a == 2).sum(axis=1), maximum=7.0),))
    for limits, expected in ((NO_LIMITS, (2,) * 8), (num_twos, (2, 2, 2, 1, 2, 2, 2, 2))):
        assert DifferentiableAgent(space, limits, np.random.default_rng(0), supernet=supernet).ask(1) == [expected]


def test_differentiable_strategies_need_separate_candidates() -> None:
    space = make_space(small_spec("ofa-mobilenetv3"))
    with pytest.raises(RequestError, match="mix separate candidate blocks"):
        STRATEGIES["gumbel"](space, NO_LIMITS).prepare(space.supernet())


def test_accumulated_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    """Without BatchNorm, which sees the parts, training in parts is the same training."""
    trained = []
    for parts in (1, 4):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
        dataset, drawn = _dataset(), []

        def accumulate(batch, rng, _moment, network=network, drawn=drawn):  # type: ignore[no-untyped-def]
            drawn.append((rng.integers(1000), len(batch[1])))
            loss = SmoothedCrossEntropy()(network(batch[0]), batch[1])
            loss.backward()
            return loss.detach()

        config = replace(CONFIG, epochs=2, gradient_accumulation=parts)
        batches = Batches.of(dataset, dataset.train, config.batch_size)
        records = Trainer(
            module=network,
            config=config,
            batches=batches,
            accumulate=accumulate,
            checkpoint=tmp_path / f"{parts}.safetensors",
            name="toy",
            seed=0,
            reporter=Reporter(is_quiet=True),
        ).fit()
        trained.append((records[-1].loss, [p.detach().clone() for p in network.parameters()], drawn))
    (loss, whole, drawn), (loss_of_parts, parted, drawn_of_parts) = trained
    assert loss_of_parts == pytest.approx(loss, abs=1e-6)
    for one, other in zip(whole, parted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
    assert drawn_of_parts == [(number, size // 4) for number, size in drawn for _ in range(4)]


def test_networks_learn_from_each_other_as_the_task_says() -> None:
    embeddings, scaled = torch.randn(5, 8), torch.tensor([[2.0], [1], [3], [0.5], [9]])
    verification = TaskLoss(agent=VerificationAgent(criterion=BatchHardTriplet()))
    assert distillation_of(verification)(embeddings * scaled, embeddings).item() == pytest.approx(0.0, abs=1e-6)
    assert distillation_of(verification)(-embeddings, embeddings).item() == pytest.approx(2.0, abs=1e-6)
    for loss in (TaskLoss(agent=ClassificationAgent()), SmoothedCrossEntropy()):
        assert distillation_of(loss)(embeddings + scaled, embeddings).item() == pytest.approx(0.0, abs=1e-6)
        assert distillation_of(loss)(embeddings * scaled, embeddings).item() > 0.01


@pytest.mark.parametrize("strategy", ["uniform", "binarised"])
def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_whole(strategy: str, tmp_path: Path) -> None:
    losses = {}
    for is_mixed in (False, True):
        trainer = _trainer(tmp_path, replace(CONFIG, epochs=2, mixed_precision=is_mixed), strategy=strategy)
        trainer.checkpoint = tmp_path / f"{is_mixed}.safetensors"
        seen: set[torch.dtype] = set()
        for module in trainer.module.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _m, _x, y, seen=seen: seen.add(y.dtype))
        losses[is_mixed] = trainer.fit()[-1].loss
        assert seen == {torch.bfloat16 if is_mixed else torch.float32}
        assert all(p.dtype is torch.float32 for p in trainer.module.parameters())
    assert losses[True] == pytest.approx(losses[False], rel=0.2) and losses[True] != losses[False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_training_on_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no GPU"):
        _trainer(tmp_path, replace(CONFIG, accelerator="cuda")).fit()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_training_on_a_gpu(strategy: str, tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, replace(CONFIG, epochs=2, accelerator="cuda", mixed_precision=True), strategy=strategy)
    assert np.isfinite(trainer.fit()[-1].loss)
    assert all(p.device.type == "cpu" for p in trainer.module.parameters())
