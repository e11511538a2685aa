"""Nothing that reads a supernet leaves a trace in it: evaluators, inheritance, teachers, and whole stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.agents import ClassificationAgent
from hwnas.artifacts import FoundNetwork, TrainedSupernet
from hwnas.config_file import load_config
from hwnas.evaluators import EVALUATORS
from hwnas.evaluators.supernet import SupernetEvaluator
from hwnas.pipeline.networks import retrained_networks, supernet_of
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.search import AGENTS, HardLimits
from hwnas.stages.retrain import teacher_of
from hwnas.training import STRATEGIES
from search_spaces import SearchSpace
from search_spaces.supernet import Supernet


def _state(supernet: Supernet) -> dict[str, object]:
    """All that could outlive a use: tensors, gradients, modes, momenta."""
    state: dict[str, object] = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}
    state |= {f"{n}.grad": None if p.grad is None else p.grad.clone() for n, p in supernet.named_parameters()}
    for name, module in supernet.named_modules():
        state[f"{name}.training"] = module.training
        if isinstance(module, nn.BatchNorm2d):
            state[f"{name}.momentum"] = module.momentum
    return state


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    assert before.keys() == after.keys()
    pairs = ((name, before[name], after[name]) for name in before)
    return [n for n, a, b in pairs if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)]


def _trained(space: SearchSpace) -> Supernet:
    """A supernet after a step, with gradients and statistics that are not those of its making."""
    torch.manual_seed(0)
    supernet = space.supernet()
    shape = (4, space.spec.in_channels, space.spec.input_size, space.spec.input_size)
    supernet(torch.randn(shape), space.sample(np.random.default_rng(1))).sum().backward()
    return supernet


def test_evaluating_a_subnet_leaves_the_supernet_of_any_space_as_it_was(space: SearchSpace) -> None:
    supernet = _trained(space)
    before = _state(supernet)
    shape = (8, space.spec.in_channels, space.spec.input_size, space.spec.input_size)
    evaluator = SupernetEvaluator(
        supernet,
        ClassificationAgent(),
        calibration=[torch.randn(shape)],
        validation=[(torch.randn(shape), torch.randint(0, space.spec.num_classes, (8,)))],
    )
    architecture = space.sample(np.random.default_rng(0))
    evaluator.score(architecture)
    evaluator.evaluate(architecture, None)
    assert _changed(before, _state(supernet)) == []


def test_a_subnet_shares_nothing_with_its_supernet(space: SearchSpace) -> None:
    supernet = _trained(space)
    before = _state(supernet)
    subnet = supernet.subnet(space.sample(np.random.default_rng(0)))
    with torch.no_grad():
        for tensor in [*subnet.parameters(), *subnet.buffers()]:
            tensor.fill_(7)
    subnet.eval().double()
    assert _changed(before, _state(supernet)) == []


def _run(folder: Path, **overrides: object) -> Run:
    settings = {
        "max_latency": "80%",
        "space.width": 0.25,
        "supernet.epochs": 1,
        "retrain.epochs": 1,
        "search.short_epochs": 1,
        "data.train_images": 96,
        "out": folder,
        **{name.replace("__", "."): value for name, value in overrides.items()},
    }
    return Run(load_config(None, settings), Reporter(is_quiet=True))


@pytest.fixture
def trained_run(tmp_path: Path) -> tuple[Run, Supernet]:
    run = _run(tmp_path, retrain__inherit=True, retrain__distillation=0.5)
    return run, supernet_of(run, HardLimits(limits=())).module


@pytest.mark.parametrize("name", sorted(EVALUATORS))
def test_no_evaluator_changes_the_supernet(name: str, trained_run: tuple[Run, Supernet]) -> None:
    run, supernet = trained_run
    before = _state(supernet)
    score = EVALUATORS[name](run.evaluator_inputs(supernet)).score(run.space.sample(np.random.default_rng(0)))
    assert np.isfinite(score)
    assert _changed(before, _state(supernet)) == []


def test_no_agent_that_reads_the_supernet_changes_it(trained_run: tuple[Run, Supernet]) -> None:
    run, supernet = trained_run
    no_limits = HardLimits(limits=())
    STRATEGIES["softmax"](run.space, no_limits).prepare(supernet)
    reading = [agent for agent in AGENTS.values() if agent.reads_supernet]
    assert reading
    for agent in reading:
        before = _state(supernet)
        agent(run.space, no_limits, np.random.default_rng(0), supernet=supernet).ask(5)  # type: ignore[call-arg]
        assert _changed(before, _state(supernet)) == []


def test_retraining_with_a_teacher_leaves_the_supernet_as_it_was(trained_run: tuple[Run, Supernet]) -> None:
    run, supernet = trained_run
    before = _state(supernet)
    found = {
        name: FoundNetwork(architecture=(choice,) * 8, params=1, macs=1, supernet_score=0.5, predicted_ms=1, max_ms=1)
        for name, choice in (("winner", 1), ("largest", 2))
    }
    retrained_networks(run, found, TrainedSupernet(module=supernet))
    assert _changed(before, _state(supernet)) == []


def test_what_is_inherited_and_taught_is_the_checkpoints(
    trained_run: tuple[Run, Supernet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many subnets were evaluated before, as after the same was read from the checkpoint."""
    run, supernet = trained_run
    evaluator = EVALUATORS["supernet"](run.evaluator_inputs(supernet))
    for architecture in run.space.sample_many(5, np.random.default_rng(0)):
        evaluator.score(tuple(architecture))
    read = supernet_of(Run(replace(run.config), Reporter(is_quiet=True)), HardLimits(limits=())).module
    assert _changed(dict(read.state_dict()), dict(supernet.state_dict())) == []
    teachers = [
        teacher_of(
            run.setup,
            TrainedSupernet(module=each),
            run.learning,
            run.splits.train,
            batch_size=run.config.supernet.batch_size,
            num_batches=run.config.search.recalibration_batches,
        ).state_dict()
        for each in (supernet, read)
    ]
    assert _changed(*teachers) == []
