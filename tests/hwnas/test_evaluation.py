"""Scores of subnets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwnas.agents import ClassificationAgent
from hwnas.evaluators import supernet
from hwnas.evaluators.supernet import SupernetEvaluator, recalibrate
from search_spaces import SearchSpace


def _evaluator(space: SearchSpace) -> SupernetEvaluator:
    torch.manual_seed(0)
    spec = space.spec
    shape = (16, spec.in_channels, spec.input_size, spec.input_size)
    validation = [(torch.randn(shape), torch.randint(0, spec.num_classes, (16,))) for _ in range(3)]
    calibration = [torch.randn(shape) for _ in range(2)]
    return SupernetEvaluator(space.supernet(), ClassificationAgent(), calibration=calibration, validation=validation)


def test_score_does_not_depend_on_what_was_evaluated_before(space: SearchSpace) -> None:
    evaluator = _evaluator(space)
    rng = np.random.default_rng(0)
    one, other = space.sample(rng), space.sample(rng)
    first = evaluator.score(one)
    evaluator.score(other)
    assert evaluator.score(one) == first
    assert 0 <= first <= 1


def test_recalibration_gives_the_statistics_of_the_batches() -> None:
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(99.0)
    batches = [torch.randn(50, 3, 4, 4) * 2 + 5 for _ in range(4)]
    recalibrate(nn.Sequential(norm), batches)
    together = torch.cat(batches)
    torch.testing.assert_close(norm.running_mean, together.mean(dim=(0, 2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.running_var, together.var(dim=(0, 2, 3)), atol=0.02, rtol=0)
    assert norm.momentum == 0.1 and not norm.training


def test_subnets_are_ranked_by_the_search_metric(space: SearchSpace) -> None:
    evaluator = _evaluator(space)
    architecture = space.sample(np.random.default_rng(0))
    metrics = evaluator.metrics(architecture)
    assert evaluator.score(architecture) == metrics["likelihood"] != metrics["accuracy"]
    evaluator._agent = _OneMetricAgent()
    assert evaluator.score(architecture) == 0.25


def test_outputs_that_do_not_fit_in_memory_are_not_kept(space: SearchSpace, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = _evaluator(space)
    architecture = space.sample(np.random.default_rng(0))
    kept = evaluator.evaluate(architecture, None)
    monkeypatch.setattr(supernet, "MOST_OUTPUT_BYTES", 3 * 16 * space.spec.num_classes * 4)
    assert evaluator.evaluate(architecture, None) == kept and len(kept.chunks) == 3
    monkeypatch.setattr(supernet, "MOST_OUTPUT_BYTES", 3 * 16 * space.spec.num_classes * 4 - 1)
    alone = evaluator.evaluate(architecture, kept)
    assert alone.value == pytest.approx(kept.value, rel=1e-6) and not alone.chunks


class _OneMetricAgent(ClassificationAgent):
    search_metric = "other"

    def metrics(self, forward: object, batches: object) -> dict[str, float]:
        return {"score": 0.5, "other": 0.25}


def test_metrics_by_hand() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    batches = [(logits[:3], torch.tensor([0, 1, 1])), (logits[3:], torch.tensor([1]))]
    right, wrong = np.e / (1 + np.e), 1 / (1 + np.e)
    expected = (right * right * wrong * right) ** 0.25
    assert ClassificationAgent().metrics(lambda x: x, batches) == {
        "accuracy": 0.75,
        "likelihood": pytest.approx(expected),
    }
