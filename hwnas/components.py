"""The replaceable components: built-ins by name, and one's own by where they are."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from hwnas.errors import RequestError
from search_spaces.importing import ComponentKind, ImportReferenceError, find_component
from search_spaces.registry import SPACE
from search_spaces.yaml_space import BLOCK

KINDS: Mapping[str, tuple[str, str]] = {
    "space": ("search_spaces", "SPACES"),
    "block": ("search_spaces.yaml_space", "FAMILIES"),
    "task": ("hwnas.agents", "TASKS"),
    "criterion": ("hwnas.criteria", "CRITERIA"),
    "dataflow": ("hwnas.dataflow", "DATAFLOWS"),
    "training-strategy": ("hwnas.training", "STRATEGIES"),
    "search-agent": ("hwnas.search", "AGENTS"),
    "evaluator": ("hwnas.evaluators", "EVALUATORS"),
    "tracker": ("hwnas.trackers", "TRACKERS"),
    "profiler-worker": ("profilers.runtime", "WORKERS"),
}
"""The module and the variable that hold the built-ins of each kind of component."""

CONTRACTS: Mapping[str, ComponentKind] = {
    "space": SPACE,
    "block": BLOCK,
    "task": ComponentKind(
        name="task",
        expected="a TrainingAgent's class, made as Agent(criterion=...)",
        inherits="hwnas.agents:TrainingAgent",
        members=(
            *("default_criterion", "head", "target_kind", "criteria", "holds_out_classes", "search_metric"),
            *(
                "scores_images_alone",
                "distillation",
                "num_outputs",
                "loss",
                "step",
                "metrics",
                "search_score",
                "predictions",
            ),
            *("for_space", "for_pairs"),
        ),
        keywords=("criterion",),
        by_function=False,
    ),
    "criterion": ComponentKind(
        name="criterion",
        expected="a class or function that makes a loss of outputs and targets from a CriterionSpec: Criterion(spec)",
        members=("__call__",),
        arguments=("spec",),
        called_with=("outputs", "targets_N"),
    ),
    "dataflow": ComponentKind(
        name="data set",
        expected="a function load(root, input_size) that returns a Dataset",
        members=("train", "test", "classes", "augmentation", "resized"),
        arguments=("root", "input_size"),
    ),
    "training-strategy": ComponentKind(
        name="training strategy",
        expected="a TrainingStrategy, made as Strategy(space, constraint)",
        inherits="hwnas.training:TrainingStrategy",
        members=("prepare", "accumulate"),
        arguments=("space", "constraint"),
    ),
    "search-agent": ComponentKind(
        name="search agent",
        expected="a SearchAgent, made as Agent(space, constraint, rng)",
        inherits="hwnas.search:SearchAgent",
        members=("ask", "tell", "reads_supernet", "reads_features", "objectives", "reasons"),
        arguments=("space", "constraint", "rng"),
    ),
    "evaluator": ComponentKind(
        name="evaluator",
        expected="an Evaluator, made as Evaluator(inputs)",
        members=("score",),
        arguments=("inputs",),
    ),
    "tracker": ComponentKind(
        name="tracker",
        expected="a Tracker, made as Tracker(inputs)",
        members=("log_metrics", "log_files", "close"),
        arguments=("inputs",),
    ),
}
"""The requirements on a component of one's own, by kind; workers are programs, not components that are imported."""


def built_ins(kind: str) -> Mapping[str, Any]:
    """Return the built-ins of a kind by name.

    Raises:
        RequestError: there is no such kind.
    """
    if kind not in KINDS:
        raise RequestError(f"unknown kind of component {kind!r}; there are: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: Mapping[str, Any] = getattr(import_module(module), name)
    return found


def find(kind: str, name: str) -> Any:
    """Return the component of that kind: a built-in's name, `./file.py:Name` or `package.module:Name`.

    Raises:
        RequestError: there is none, or it is no component of that kind, or nobody asked for its code.
    """
    known = built_ins(kind)
    if kind not in CONTRACTS:
        raise RequestError(f"a {kind} is a program, not a component that is imported: name its file in a devices file")
    try:
        return find_component(CONTRACTS[kind], name, known)
    except ImportReferenceError as error:
        raise RequestError(str(error)) from error


def summary_line(component: object) -> str:
    """Return the first line of a component's documentation."""
    if isinstance(component, Path):
        text = ast.get_docstring(ast.parse(component.read_text(encoding="utf-8"))) or ""
    else:
        text = inspect.getdoc(component) or ""
    return text.partition("\n")[0]
