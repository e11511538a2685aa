"""Cheap evaluators of a sample of the space, whose values a predictor learns from."""

from __future__ import annotations

from collections.abc import Mapping

from hwnas.artifacts import ProxyValues
from hwnas.constraint import HardLimits
from hwnas.evaluators import Evaluator
from hwnas.search import RandomAgent
from hwnas.search.proxy_features import NUM_SAMPLES
from hwnas.stages.setup import Setup


def compute_proxies(setup: Setup, constraint: HardLimits, evaluators: Mapping[str, Evaluator]) -> ProxyValues:
    """Return what evaluators say of a random sample of the networks that keep the constraint."""
    sampled = RandomAgent(setup.space, constraint, setup.rng("proxies")).ask(NUM_SAMPLES)
    values: dict[str, list[float]] = {name: [] for name in evaluators}
    with setup.reporter.task("proxies", len(sampled)) as task:
        for done, architecture in enumerate(sampled, start=1):
            for name, evaluator in evaluators.items():
                values[name].append(evaluator.score(architecture))
            task.update(done)
    return ProxyValues(architectures=tuple(sampled), values={name: tuple(own) for name, own in values.items()})
