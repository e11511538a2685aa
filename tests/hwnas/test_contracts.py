"""What the code reads from a component is in its protocol, with a default; built-in ones have nothing else to tell."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run_cli
from samples import SumConstraint, ToySpace, synthetic_table
from task_samples import dataset_for, forward_for, made_agent, targets_for

from hwnas.agents import TASKS, TrainingAgent
from hwnas.components import CONTRACTS, find
from hwnas.criteria import CRITERIA, CriterionSpec
from hwnas.dataflow import Split
from hwnas.errors import RequestError
from hwnas.search import AGENTS, SearchAgent
from hwnas.training import STRATEGIES, TrainingStrategy
from lut import save_table
from search_spaces import SpaceSpec, make_space

PROTOCOLS = {
    "task": (TrainingAgent, TASKS),
    "search-agent": (SearchAgent, AGENTS),
    "training-strategy": (TrainingStrategy, STRATEGIES),
}
"""Each kind's protocol and its built-ins."""

BEYOND = {"GeneratorAgent": {"emit"}, "BinarisedPaths": {"weights"}, "GumbelMixture": {"weights"}}
BEYOND |= {"SoftmaxMixture": {"weights"}}
"""What `hwnas emit` asks its one agent for; what differentiable strategies have a base class of their own for."""

PROBES = {"getattr", "hasattr"}


def _public(owner: type) -> set[str]:
    """The public names of a class that a protocol declares, or an implementation brings."""
    own = [c for c in owner.__mro__ if c.__module__.partition(".")[0] in ("hwnas", "strict")]
    names = {name for c in own for name in (*vars(c), *inspect.get_annotations(c))}
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_a_kinds_members_are_those_of_its_protocol(kind: str) -> None:
    protocol, _ = PROTOCOLS[kind]
    assert sorted(CONTRACTS[kind].members) == sorted(_public(protocol))
    methods = {name for name in _public(protocol) if callable(getattr(protocol, name, None))}
    assert all(f"{name}: " in (inspect.getdoc(protocol) or "") for name in _public(protocol) - methods)
    assert all(inspect.getdoc(getattr(protocol, name)) for name in methods)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (_, built_ins) in PROTOCOLS.items() for name in sorted(built_ins)]
)
def test_built_in_parts_tell_nothing_that_no_protocol_knows(kind: str, name: str) -> None:
    protocol, built_ins = PROTOCOLS[kind]
    component = built_ins[name]
    assert inspect.isclass(component) and protocol in component.__mro__
    settings = {*inspect.signature(component).parameters}
    assert _public(component) - _public(protocol) - settings - BEYOND.get(component.__name__, set()) == set()
    if kind == "search-agent":
        made = component(ToySpace(), SumConstraint(12), np.random.default_rng(0))
        assert {attribute for attribute in vars(made) if not attribute.startswith("_")} <= _public(protocol)


def _sources() -> Iterator[Path]:
    spec = find_spec("hwnas")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent.rglob("*.py")


def test_nothing_is_asked_for_that_may_not_be_there() -> None:
    """A name that is looked up with a default is one that no protocol declares; those of others' objects are few."""
    found = set()
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PROBES:
                name = node.args[1]
                if isinstance(name, ast.Constant):
                    found.add(name.value)
    # Of Pillow's pictures, the operating system, TVM's results, errors of the operating system, pydantic's annotations,
    # click's parameters and modules of others' networks; of data sets that somebody brings, their features, and of
    # criteria, which may be plain functions.
    of_others = {"tag_v2", "posix_fallocate", "sched_getaffinity", "numpy", "filename", "strerror", "metadata", "help"}
    of_others |= {"no_weight_decay"}
    of_data = {"names", "dtype", "classes", "__len__", "__getitem__"}
    of_loaders = {"generator", "dataset"}  # that programs bring, as torch has them
    assert found <= of_others | of_data | of_loaders | {"compares_images"}


STRICT = '''
"""Components that have what their protocols declare, and fail loudly when asked for more."""

import abc
from typing import ClassVar

import numpy as np
import torch
from hwnas.agents import TrainingAgent
from hwnas.search import SearchAgent
from hwnas.search.sampling import FeasibleSampler
from hwnas.training.strategy import TrainingStrategy


def _refuse(owner, name):
    if name.startswith("_"):
        raise AttributeError(name)
    raise AssertionError(f"{owner} was asked for {name!r}, which no protocol declares")


class Strict(type(SearchAgent)):
    def __getattr__(cls, name):
        _refuse(cls.__name__, name)


class Part(metaclass=Strict):
    def __getattr__(self, name):
        _refuse(type(self).__name__, name)


class Task(Part, TrainingAgent):
    default_criterion: ClassVar[str] = "cross-entropy"

    def __init__(self, *, criterion):
        self._criterion = criterion

    @staticmethod
    def num_outputs(dataset):
        return len(dataset.classes)

    def loss(self, outputs, targets_N):
        return self._criterion(outputs, targets_N)

    def metrics(self, forward, batches):
        with torch.inference_mode():
            found = [(forward(x).argmax(dim=1) == targets).float().mean() for x, targets in batches]
        return {"accuracy": float(np.mean(found))}


class Random(Part, SearchAgent):
    def __init__(self, space, constraint, rng):
        self._sampler = FeasibleSampler(space, constraint, rng)

    def ask(self, num):
        return self._sampler.fill(num, lambda _: None)

    def tell(self, evaluations):
        pass


class OnePath(Part, TrainingStrategy):
    def __init__(self, space, constraint):
        self._space = space

    def accumulate(self, step):
        value = step.loss_of(self._space.sample(step.rng))
        value.backward()
        return value.detach()


class Forgetful:
    """As Random, without the protocol's defaults."""

    def __init__(self, space, constraint, rng):
        pass

    def ask(self, num):
        return []

    def tell(self, evaluations):
        pass


class Half(SearchAgent):
    def ask(self, num):
        return []


def made(space, constraint, rng):
    return Random(space, constraint, rng)


def forgotten(space, constraint, rng):
    return Forgetful(space, constraint, rng)
'''


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where components are that refuse to be asked for what is not declared."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strict.py").write_text(STRICT)
    return "./strict.py"


@pytest.mark.usefixtures("very_short_runs")
def test_a_search_asks_parts_for_nothing_that_is_not_declared(strict: str, tmp_path: Path) -> None:
    spec = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    outcome = run_cli(
        *("search", "--width", 0.25, "--epochs", 1, "--evaluations", 4, "--retrain-epochs", 1, "--train-images", 128),
        *("--task", f"{strict}:Task", "--agent", f"{strict}:Random", "--strategy", f"{strict}:OnePath"),
        *("--set", "retrain.distillation=0.5", "--lut", "t.json", "--max-latency", "80%", "--out", "run"),
        *("--json", "--quiet", "--set", "retrain.references=false"),
    )
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["budget_kept"] is True


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("task", "Random", "class Random, which has no 'default_criterion'"),
        ("search-agent", "Forgetful", "has no 'reads_supernet': inherit from hwnas.search:SearchAgent, which has a"),
        ("search-agent", "Half", "which is abstract, as it has no 'tell' of its own"),
    ],
)
def test_a_class_without_what_the_protocol_declares_is_told_where_to_have_it_from(
    kind: str, name: str, message: str, strict: str
) -> None:
    with pytest.raises(RequestError, match=message):
        find(kind, f"{strict}:{name}")


def test_a_function_has_the_defaults_and_what_it_makes_is_checked(strict: str) -> None:
    assert find("search-agent", f"{strict}:made").reads_supernet is False
    with pytest.raises(Exception, match="it made a Forgetful, which has no 'reads_supernet': inherit from"):
        find("search-agent", f"{strict}:forgotten")(ToySpace(), SumConstraint(12), np.random.default_rng(0))


def _batches(split: Split) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(images.float(), targets) for images, targets in split.chunks(10)]


@pytest.fixture(params=sorted(TASKS))
def agent(request: pytest.FixtureRequest) -> TrainingAgent:
    """Every built-in training agent."""
    return made_agent(request.param)


def _outputs(agent: TrainingAgent, num: int) -> torch.Tensor:
    """Outputs of so many images as a network of the task gives them, whose gradient is kept."""
    images = torch.randint(0, 255, (num, 1, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    return forward_for(agent.target_kind)(images).requires_grad_()


def test_training_agents_have_a_loss_that_can_be_minimised_and_finite_metrics(agent: TrainingAgent) -> None:
    dataset = dataset_for(agent.target_kind)
    assert agent.default_criterion in CRITERIA and agent.num_outputs(dataset) >= 1
    outputs = _outputs(agent, 6)
    agent.loss(outputs, targets_for(agent.target_kind, 6)).backward()
    assert outputs.grad is not None and outputs.grad.abs().sum() > 0
    metrics = agent.metrics(forward_for(agent.target_kind), _batches(dataset.test))
    assert np.isfinite([*metrics.values()]).all()
    ranking = agent.search_metric or next(iter(metrics))
    score = agent.search_score(forward_for(agent.target_kind), _batches(dataset.test))
    assert score == pytest.approx(metrics[ranking], rel=1e-6)


@pytest.mark.parametrize("name", [name for name, task in sorted(TASKS.items()) if task.target_kind != "classes"])
def test_training_agents_learn_nothing_wrong_from_images_that_show_nothing(name: str) -> None:
    agent = made_agent(name)
    outputs, targets = _outputs(agent, 4), targets_for(agent.target_kind, 4, are_empty=True)
    loss = agent.loss(outputs, targets)
    loss.backward()
    assert torch.isfinite(loss) and outputs.grad is not None and torch.isfinite(outputs.grad).all()
    metrics = agent.metrics(lambda _: outputs.detach(), [(torch.zeros(4, 1, 8, 8), targets)])
    assert np.isfinite([*metrics.values()]).all() and next(iter(metrics.values())) == 0


@pytest.mark.parametrize(
    ("name", "criterion"),
    [(name, each) for name, task in sorted(TASKS.items()) for each in sorted(task.criteria or ())],
)
def test_every_criterion_that_a_task_names_trains_it(name: str, criterion: str) -> None:
    agent = made_agent(name, criterion)
    outputs = _outputs(agent, 6)
    loss = agent.loss(outputs, targets_for(agent.target_kind, 6))
    loss.backward()
    assert loss.ndim == 0 and outputs.grad is not None
    assert torch.isfinite(outputs.grad).all() and outputs.grad.abs().sum() > 0


def test_training_agents_that_score_images_alone_estimate_the_score_of_all_by_that_of_some(
    agent: TrainingAgent,
) -> None:
    if not agent.scores_images_alone:
        pytest.skip("its metrics compare images")
    forward, batches = forward_for(agent.target_kind, 4), _batches(dataset_for(agent.target_kind).test)
    of_parts = [agent.search_score(forward, [batch]) for batch in batches]
    whole = agent.search_score(forward, batches)
    assert min(of_parts) < whole < max(of_parts)
    assert agent.search_score(forward, [batches[0], batches[0]]) == pytest.approx(of_parts[0])


def test_training_agents_by_pairs_are_training_agents(agent: TrainingAgent) -> None:
    pairs_P2 = torch.tensor([[0, 4], [0, 1], [1, 5], [2, 3]])
    scoring, forward = agent.for_pairs(pairs_P2), forward_for(agent.target_kind)
    assert type(scoring) is type(agent)
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]] = _batches(dataset_for(agent.target_kind).test)
    assert scoring.metrics(forward, batches).keys() == agent.metrics(forward, batches).keys()


def test_predictions_of_training_agents_are_whole_numbers_for_each_image(agent: TrainingAgent) -> None:
    predictions = agent.predictions(_outputs(agent, 6))
    assert len(predictions) == 6 and not predictions.is_floating_point()


@pytest.mark.parametrize("name", [name for name, agent in sorted(TASKS.items()) if agent.distillation is not None])
def test_distillations_of_training_agents_are_least_for_the_teachers_outputs(name: str) -> None:
    agent = TASKS[name]
    assert agent.distillation is not None
    teacher = forward_for(agent.target_kind)(torch.rand(6, 1, 8, 8) * 255)
    assert float(agent.distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    assert float(agent.distillation(teacher.flip(0), teacher)) > 0


@pytest.mark.parametrize("name", sorted(CRITERIA))
def test_criteria_give_a_scalar_whose_gradient_reaches_the_outputs(name: str) -> None:
    criterion = CRITERIA[name](CriterionSpec(num_outputs=8, num_classes=8, label_smoothing=0.1))
    outputs = torch.randn(12, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = criterion(outputs, torch.arange(12) % 4)
    loss.backward()
    assert loss.ndim == 0 and torch.isfinite(loss)
    assert outputs.grad is not None and outputs.grad.abs().sum() > 0
