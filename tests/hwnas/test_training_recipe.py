"""The parts of a training's recipe: each does what it says, and a killed training goes on with all of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import small_spec
from torch import nn
from toy_data import two_brightnesses
from toy_spaces import chain, slices
from traced_checks import space_of

from hwnas.agents import ClassificationAgent, VerificationAgent
from hwnas.config import RetrainConfig, SupernetConfig, TrainingConfig
from hwnas.config_file import load_config
from hwnas.criteria import AdditiveAngularMargin, BatchHardTriplet, Focal, SmoothedCrossEntropy
from hwnas.dataflow import Augmentation, Batches, Dataset, Split
from hwnas.errors import RequestError
from hwnas.progress import Reporter
from hwnas.training import STRATEGIES, Trainer, precision
from hwnas.training.checkpoint import load_checkpoint, load_record
from hwnas.training.compiling import compiled
from hwnas.training.depth import layers_of, places_of, set_stochastic_depth
from hwnas.training.mixing import MixedTargets, mixed, require_mixable
from hwnas.training.optimizer import make_optimizer, set_learning_rate
from hwnas.training.schedule import SCHEDULES, learning_rate
from hwnas.training.strategy import TaskLoss, steps_of
from hwnas.training.trainer import with_criterion
from search_spaces import SpaceSpec, make_space
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.dense import DenseSupernet

PLAIN = TrainingConfig(epochs=4, batch_size=16, learning_rate=0.02, warmup_epochs=1)


def _dataset() -> Dataset:
    return two_brightnesses(Augmentation(shift=1, random_erasing=0.5))


def _trainer(folder: Path, config: TrainingConfig, strategy: str = "uniform") -> Trainer:
    space, dataset = chain() if strategy == "uniform" else slices(), _dataset()
    torch.manual_seed(1)
    supernet = space.supernet()
    made = STRATEGIES[strategy](space, None)  # type: ignore[arg-type]
    return Trainer(
        module=supernet,
        config=config,
        batches=Batches.of(dataset, dataset.train, config.batch_size),
        accumulate=steps_of(made, supernet, TaskLoss(agent=ClassificationAgent())),
        checkpoint=folder / "c.safetensors",
        name="toy",
        seed=0,
        reporter=Reporter(is_quiet=True),
    )


class _KilledError(Exception):
    """Stands for a kill in the middle of an epoch."""


CHANGES: dict[str, dict[str, object]] = {
    "one cycle": {"schedule": "one-cycle"},
    "constant": {"schedule": "constant"},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "stochastic depth": {"stochastic_depth": 0.3},
    "layers": {"layer_decay": 0.8},
    "measured": {"mixed_precision": "auto"},
    "all": {
        **{"optimizer": "adamw", "learning_rate": 0.002, "schedule": "one-cycle", "mixup": 0.2, "cutmix": 1.0},
        **{"stochastic_depth": 0.3, "layer_decay": 0.8, "mixed_precision": "auto", "ema_decay": 0.9},
        "gradient_accumulation": 2,
    },
}


@pytest.fixture
def _bfloat16_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time nothing: a step in bfloat16 takes half as long."""
    monkeypatch.setattr("hwnas.training.precision._timed_s", _timed({False: 2.0, True: 1.0}))


def _timed(seconds: dict[bool, float]) -> Callable[..., float]:
    def timed(step: Callable[[bool], object], is_mixed: bool, device: torch.device) -> float:
        step(is_mixed)
        return seconds[is_mixed]

    return timed


@pytest.mark.usefixtures("_bfloat16_is_faster")
@pytest.mark.parametrize(("strategy", "name"), [*(("uniform", name) for name in CHANGES), ("sandwich", "all")])
def test_interrupted_training_ends_as_uninterrupted(
    strategy: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(PLAIN, epochs=2, **CHANGES[name])
    if strategy == "sandwich":  # its many networks take twice as long in bfloat16, and one strategy tries that
        config = replace(config, mixed_precision=False)
    (tmp_path / "whole").mkdir()
    whole = _trainer(tmp_path / "whole", config, strategy)
    losses = [r.loss for r in whole.fit()]
    interrupted = _trainer(tmp_path, config, strategy)
    save, saved = Trainer._save, 0

    def save_until_killed(self: Trainer, *arguments: object) -> None:
        nonlocal saved
        save(self, *arguments)  # type: ignore[arg-type]
        saved += 1
        if saved == 1:
            raise _KilledError

    monkeypatch.setattr(Trainer, "_save", save_until_killed)
    with pytest.raises(_KilledError):
        interrupted.fit()
    monkeypatch.setattr(Trainer, "_save", save)
    # A machine that has become slower in bfloat16 goes on as it began.
    monkeypatch.setattr("hwnas.training.precision._timed_s", _timed({False: 1.0, True: 2.0}))
    continued = _trainer(tmp_path, config, strategy)
    assert [r.loss for r in continued.fit()] == losses
    (one, _), (other, _) = load_checkpoint(continued.checkpoint), load_checkpoint(whole.checkpoint)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("_bfloat16_is_faster")
def test_every_part_changes_what_is_learnt(tmp_path: Path) -> None:
    found = {}
    for name, changes in {"plain": {}, **CHANGES}.items():
        (tmp_path / name).mkdir()
        found[name] = [r.loss for r in _trainer(tmp_path / name, replace(PLAIN, epochs=2, **changes)).fit()]
    assert all(np.isfinite(losses).all() for losses in found.values())
    assert len({tuple(losses) for losses in found.values()}) == len(found)


def test_schedules_by_hand() -> None:
    config = replace(PLAIN, epochs=10, learning_rate=0.4, warmup_epochs=2.0)
    constant = replace(config, schedule="constant")
    assert learning_rate(constant, 2.0) == learning_rate(constant, 9.9) == 0.4
    assert learning_rate(constant, 0.0) == learning_rate(config, 0.0) < 0.01
    one_cycle = replace(config, schedule="one-cycle")
    torch_rates = _rates_of_torch(epochs=10, steps=10, highest=0.4)
    ours = [learning_rate(one_cycle, step / 10) for step in range(100)]
    # Torch rises to the step before the peak and falls to the last one; ours are a function of time.
    assert ours == pytest.approx(torch_rates, abs=0.02)
    assert learning_rate(one_cycle, 0.0) == pytest.approx(0.4 / 25) and max(ours) == pytest.approx(0.4)
    assert learning_rate(one_cycle, 10.0) == pytest.approx(0.4 / 250_000)


def _rates_of_torch(*, epochs: int, steps: int, highest: float) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, epochs=epochs, steps_per_epoch=steps)
    rates = []
    for _ in range(epochs * steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    epochs=st.integers(1, 50),
    warmup=st.floats(0, 60),
    part=st.floats(0, 1),
)
def test_rates_are_never_above_the_rate_nor_below_zero(name: str, epochs: int, warmup: float, part: float) -> None:
    config = replace(PLAIN, epochs=epochs, warmup_epochs=warmup, schedule=name)
    assert 0 <= learning_rate(config, part * epochs) <= config.learning_rate * (1 + 1e-12)


def test_two_images_are_mixed_by_their_shares() -> None:
    x_NCHW, targets_N = torch.stack([torch.zeros(1, 4, 4), torch.ones(1, 4, 4)]), torch.tensor([0, 1])
    rng = np.random.default_rng(3)
    drawn = np.random.default_rng(3)
    share, order = drawn.beta(0.4, 0.4), drawn.permutation(2)
    images, targets = mixed((x_NCHW, targets_N), replace(PLAIN, mixup=0.4), rng)
    assert isinstance(targets, MixedTargets) and targets.share == share
    for position, other in enumerate(order):
        expected = share * x_NCHW[position] + (1 - share) * x_NCHW[other]
        torch.testing.assert_close(images[position], expected)
    assert targets.targets_N.tolist() == [0, 1] and targets.others_N.tolist() == order.tolist()


@pytest.mark.parametrize("criterion", [SmoothedCrossEntropy(label_smoothing=0.1), SmoothedCrossEntropy()])
def test_the_loss_of_mixed_images_is_that_of_mixed_targets(criterion: SmoothedCrossEntropy) -> None:
    logits, one, other = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([2, 2, 1, 0, 0, 1])
    loss = TaskLoss(agent=ClassificationAgent(criterion=criterion))
    found = loss(logits, MixedTargets(targets_N=one, others_N=other, share=0.3))
    soft = 0.3 * nn.functional.one_hot(one, 3) + 0.7 * nn.functional.one_hot(other, 3)
    expected = nn.functional.cross_entropy(logits, soft, label_smoothing=criterion.label_smoothing)
    torch.testing.assert_close(found, expected)


@given(size=st.integers(1, 9), width=st.integers(1, 9), strength=st.floats(0.1, 5), seed=st.integers(0, 999))
def test_cutmix_pastes_one_box_and_tells_how_much_is_left(size: int, width: int, strength: float, seed: int) -> None:
    """Each image is one number all over, so that what came from where can be seen."""
    num = 5
    x_NCHW = torch.arange(num, dtype=torch.float32)[:, None, None, None].expand(num, 2, size, width)
    batch = (x_NCHW.clone(), torch.arange(num))
    images, targets = mixed(batch, replace(PLAIN, cutmix=strength), np.random.default_rng(seed))
    assert isinstance(targets, MixedTargets)
    for image, own, other in zip(images, targets.targets_N.tolist(), targets.others_N.tolist(), strict=True):
        assert set(image.unique().tolist()) <= {float(own), float(other)}
        if own != other:
            is_pasted = image == other
            assert float((~is_pasted).float().mean()) == pytest.approx(targets.share)
            rows, columns = torch.nonzero(is_pasted[0]).T if is_pasted.any() else (torch.zeros(0), torch.zeros(0))
            assert is_pasted.sum() == 2 * len(rows.unique()) * len(columns.unique()), "a rectangle, of all channels"


def test_a_part_of_a_mixed_batch_has_its_part_of_the_targets() -> None:
    targets = MixedTargets(targets_N=torch.arange(5), others_N=torch.arange(5, 10), share=0.25)
    parts = targets.tensor_split(2)
    assert [p.targets_N.tolist() for p in parts] == [[0, 1, 2], [3, 4]]
    assert [p.others_N.tolist() for p in parts] == [[5, 6, 7], [8, 9]] and {p.share for p in parts} == {0.25}


class _Boxes(ClassificationAgent):
    target_kind = "boxes"


@pytest.mark.parametrize(
    ("changes", "agent", "criterion", "words"),
    [
        ({}, VerificationAgent, AdditiveAngularMargin(8, 4), "a task whose targets are no classes"),
        ({}, _Boxes, SmoothedCrossEntropy(), "a task whose targets are no classes"),
        ({}, ClassificationAgent, BatchHardTriplet(), "a loss that compares the images of a batch"),
        ({"images_per_class": 4}, ClassificationAgent, Focal(), "batches of 4 images of a class"),
    ],
)
def test_images_are_mixed_only_where_their_classes_can_be(
    changes: dict[str, object], agent: type, criterion: object, words: str
) -> None:
    for mixing in ({"mixup": 0.2}, {"cutmix": 1.0}):
        with pytest.raises(RequestError, match=f"{next(iter(mixing))}: images are mixed .*found {words}.*to 0"):
            require_mixable(replace(PLAIN, **mixing, **changes), agent, criterion)
    require_mixable(replace(PLAIN, **changes), agent, criterion)
    require_mixable(replace(PLAIN, mixup=0.2), ClassificationAgent, Focal())


def test_erased_rectangles_are_within_the_image_and_as_large_as_they_should_be() -> None:
    images = torch.zeros(600, 3, 20, 30, dtype=torch.uint8)
    batches = Batches(
        split=Split(images_NCHW=images, targets_N=torch.arange(600) % 2),
        batch_size=600,
        mean=torch.zeros(3),
        std=torch.full((3,), 1 / 255),
        augmentation=Augmentation(random_erasing=0.5),
    )
    found, _ = next(batches.shuffled(torch.Generator().manual_seed(0)))
    # A pixel of noise is black in all three channels once in 16 million times.
    is_erased_NHW = (found > 0).any(dim=1)
    shares = is_erased_NHW.float().mean(dim=(1, 2))
    erased = shares[shares > 0]
    assert 0.4 < len(erased) / len(images) < 0.6
    assert float(erased.min()) > 0.015 and float(erased.max()) < 0.35
    assert float(erased.mean()) == pytest.approx(0.17, abs=0.02)
    for mask in is_erased_NHW[shares > 0][:50]:
        rows, columns = torch.nonzero(mask).T
        assert mask.sum() == len(rows.unique()) * len(columns.unique())
    assert torch.equal(images, torch.zeros_like(images)), "the images themselves stay"
    with pytest.raises(ValueError, match="random_erasing is a probability"):
        Augmentation(random_erasing=1.5)


def test_a_branch_is_left_out_as_often_as_its_probability_says() -> None:
    torch.manual_seed(0)
    module, branch = StochasticDepth(), torch.randn(2000, 3, 2, 2)
    assert module(branch) is branch, "with probability 0"
    module.probability = 0.4
    out = module(branch)
    is_kept = out.abs().sum(dim=(1, 2, 3)) > 0
    assert float(is_kept.float().mean()) == pytest.approx(0.6, abs=0.04)
    torch.testing.assert_close(out[is_kept], branch[is_kept] / 0.6)
    assert float(module(torch.ones(20_000, 1)).mean()) == pytest.approx(1.0, abs=0.03), "the expectation stays"
    assert module.eval()(branch) is branch
    assert not module.state_dict()


@pytest.mark.parametrize(
    "name", ["nasbench-macro", "ofa-mobilenetv3", "sgnas", "mobilefacenet", "autoformer", "mobilevit"]
)
def test_probabilities_rise_with_the_place_in_networks_and_supernets_alike(name: str) -> None:
    space = make_space(small_spec(name))
    supernet = space.supernet()
    assert set_stochastic_depth(supernet, 0.5)
    by_place = []
    for place in places_of(supernet):
        found = {part.probability for part in place.modules() if isinstance(part, StochasticDepth)}
        assert len(found) <= 1, "candidates of one place have one probability"
        by_place.extend(found)
    assert len(by_place) > 2 and by_place[-1] == 0.5
    assert [after - before for before, after in pairwise(by_place)] == pytest.approx(
        [0.5 / len(by_place)] * (len(by_place) - 1)
    )
    network = space.build(space.sample(np.random.default_rng(0)))
    set_stochastic_depth(network, 0.5)
    found = [part.probability for part in network.modules() if isinstance(part, StochasticDepth)]
    assert found == sorted(found) and (not found or found[-1] == 0.5)


def test_stochastic_depth_is_over_when_the_training_is(tmp_path: Path) -> None:
    trainer = _trainer(tmp_path, replace(PLAIN, epochs=1, stochastic_depth=0.5), "sandwich")
    trainer.fit()
    parts = [part for part in trainer.module.modules() if isinstance(part, StochasticDepth)]
    assert parts and {part.probability for part in parts} == {0.0}


def test_each_layer_learns_slower_than_the_next() -> None:
    network = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)), nn.Linear(4, 2))
    criterion = AdditiveAngularMargin(2, 3)
    module = with_criterion(network, criterion)
    optimizer = make_optimizer(module, replace(PLAIN, layer_decay=0.5))
    set_learning_rate(optimizer, 0.8)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [rates[id(place[0].weight)] for place in network[:3]] == [0.1, 0.2, 0.4]
    assert rates[id(network[3].weight)] == rates[id(network[3].bias)] == rates[id(criterion.centres)] == 0.8
    plain = make_optimizer(module, PLAIN)
    set_learning_rate(plain, 0.8)
    assert [g["lr"] for g in plain.param_groups] == [0.8, 0.8]


@pytest.mark.parametrize("name", ["nasbench-macro", "ofa-mobilenetv3", "nasbench201", "autoformer", "mobilevit"])
def test_every_parameter_is_of_one_layer(name: str) -> None:
    space = make_space(small_spec(name))
    for module in (space.supernet(), space.build(space.sample(np.random.default_rng(0)))):
        layers = layers_of(module)
        assert len(layers) > 3
        assert sorted(id(p) for layer in layers for p in layer) == sorted(id(p) for p in module.parameters())


def test_widths_of_a_head_learn_alike() -> None:
    spec = SpaceSpec(name="nasbench-macro", input_size=32, num_classes=3, width=0.25, head="detection")
    supernet = make_space(spec).supernet()
    assert isinstance(supernet, DenseSupernet)
    layer_of = {id(p): number for number, layer in enumerate(layers_of(supernet)) for p in layer}
    assert layer_of.keys() == {id(p) for p in supernet.parameters()}
    of_place = [
        {layer_of[id(p)] for block in place for p in block.parameters()} for place in supernet.blocks_by_place()
    ]
    assert all(len(numbers) == 1 for numbers in of_place if numbers)
    assert len(set().union(*of_place)) == len([numbers for numbers in of_place if numbers]) > 3


def test_layers_of_a_network_of_ones_own_are_in_the_order_in_which_it_uses_them() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(8, 2)
            self.norm = nn.BatchNorm2d(8)
            self.first = nn.Conv2d(3, 8, 3)

        def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
            return self.last(torch.relu(self.norm(self.first(x_NCHW))).mean(dim=(2, 3)))

    space = space_of(Backwards().eval(), (3, 8, 8))
    for module in (space.supernet(), space.build((0,) * len(space.decisions))):
        assert [[tuple(p.shape) for p in layer] for layer in layers_of(module)] == [
            [(8, 3, 3, 3), (8,), (8,), (8,)],
            [(2, 8), (2,)],
        ]


def test_weights_that_two_layers_share_are_of_the_first() -> None:
    shared = nn.Linear(4, 4)
    network = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 2))
    assert [len(layer) for layer in layers_of(network)] == [2, 2]
    make_optimizer(network, replace(PLAIN, layer_decay=0.5))


def test_the_precision_is_that_which_steps_are_faster_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Reporter, "line", lambda self, text: lines.append(text))
    for name, seconds in {"faster": 0.5, "no faster": 0.97, "slower": 3.0}.items():
        monkeypatch.setattr("hwnas.training.precision._timed_s", _timed({False: 1.0, True: seconds}))
        (tmp_path / name).mkdir()
        trainer = _trainer(tmp_path / name, replace(PLAIN, epochs=1, mixed_precision="auto"))
        loss = trainer.fit()[-1].loss
        assert load_record(trainer.checkpoint)["mixed_precision"] is (name == "faster")
        alike = _trainer(tmp_path, replace(PLAIN, epochs=1, mixed_precision=name == "faster"))
        alike.checkpoint = tmp_path / f"{name}.safetensors"
        assert alike.fit()[-1].loss == loss, "what is timed leaves nothing behind"
    lines = [line for line in lines if "a step takes" in line]
    assert [line.rpartition(" ")[2] for line in lines] == ["bfloat16", "float32", "float32"]
    assert lines[0] == "toy: a step takes 1000.0 ms in float32, 500.0 ms in bfloat16: computing in bfloat16"


def test_steps_are_timed_in_turns_and_the_first_of_each_does_not_count() -> None:
    asked: list[bool] = []
    float_s, mixed_s = precision.step_times_s(asked.append, torch.device("cpu"))
    assert asked == [False, True] * 4 and float_s >= 0 and mixed_s >= 0
    assert precision.pays(1.0, 0.9) and not precision.pays(1.0, 0.96) and not precision.pays(1.0, 1.1)


def test_old_values_of_mixed_precision_stay_valid() -> None:
    for value in (True, False, "auto"):
        config = load_config(None, {"max_latency": "5ms", "retrain.mixed_precision": value})
        assert config.retrain.mixed_precision == value
    with pytest.raises(RequestError, match=r"retrain\.mixed_precision"):
        load_config(None, {"max_latency": "5ms", "retrain.mixed_precision": "sometimes"})


def test_supernets_are_not_compiled() -> None:
    with pytest.raises(ValueError, match="another path in every step"):
        SupernetConfig(compile=True)
    with pytest.raises(RequestError, match=r"supernet: compile is for single networks"):
        load_config(None, {"max_latency": "5ms", "supernet.compile": True})
    assert load_config(None, {"max_latency": "5ms", "retrain.compile": True}).retrain.compile


def test_a_network_is_compiled_where_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Linear(3, 2)
    assert compiled(network, RetrainConfig()) is network
    monkeypatch.setattr(torch, "compile", lambda module: lambda x: module(x) + 1)
    x = torch.randn(4, 3)
    torch.testing.assert_close(compiled(network, RetrainConfig(compile=True))(x), network(x) + 1)

    class CompilerError(Exception):
        pass

    CompilerError.__module__ = "torch._inductor.exc"

    def fail(error: Exception) -> Callable[[nn.Module], Callable[[torch.Tensor], torch.Tensor]]:
        def program(_x: torch.Tensor) -> torch.Tensor:
            raise error

        return lambda _module: program

    monkeypatch.setattr(torch, "compile", fail(CompilerError("no compiler found\nlong story")))
    with pytest.raises(RequestError, match=r"cannot compile .*CompilerError: no compiler found; install a C\+\+"):
        compiled(network, RetrainConfig(compile=True))(x)
    monkeypatch.setattr(torch, "compile", fail(ValueError("the network's own")))
    with pytest.raises(ValueError, match="the network's own"):
        compiled(network, RetrainConfig(compile=True))(x)


COMPILED = """
import torch
from torch import nn
from torch._dynamo.utils import counters
from hwnas.config import RetrainConfig
from hwnas.training.compiling import compiled

for is_compiled in (False, True):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))
    forward = compiled(network, RetrainConfig(compile=is_compiled))
    x_NCHW, targets_N = torch.randn(8, 3, 8, 8), torch.arange(8) % 2
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(forward(x_NCHW), targets_N)
        loss.backward()
        optimizer.step()
    print(loss.item())
print(counters["frames"]["ok"] > 0)
"""


@pytest.mark.slow
def test_a_compiled_network_trains_as_it_does_uncompiled() -> None:
    """In a process of its own: torch's compiler needs setuptools, which does not come after other distutils."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=True)
    plain, compiled_loss, was_compiled = done.stdout.split()
    assert float(compiled_loss) == pytest.approx(float(plain), rel=1e-4) and was_compiled == "True"
