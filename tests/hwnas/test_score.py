"""Giving up what is certain to be worse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samples import SumConstraint, ToySpace, history_of

from hwnas.agents import ClassificationAgent
from hwnas.evaluators.score import MIN_CHUNKS, Baselines, Score, stopped_early
from hwnas.evaluators.supernet import SupernetEvaluator
from hwnas.search import AGENTS, SearchResult
from hwnas.search.loop import run_search
from hwnas.stages.search import _Remembering
from search_spaces import Architecture, SpaceSpec, make_space

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


@given(SCORES, st.integers(0, 20), st.floats(0, 0.2))
def test_one_as_good_on_every_part_is_never_stopped_early(baseline: list[float], num: int, better_by: float) -> None:
    chunks = tuple(s + better_by for s in baseline[:num])
    assert stopped_early(chunks, Score(value=0.5, chunks=tuple(baseline))) is None


@given(SCORES, SCORES)
def test_an_estimate_is_below_the_baseline_and_never_of_all_chunks(chunks: list[float], baseline: list[float]) -> None:
    score = stopped_early(tuple(chunks), Score(value=0.5, chunks=tuple(baseline)))
    if score:
        assert score.value < 0.5 and not score.is_complete
        assert MIN_CHUNKS <= len(score.chunks) < len(baseline)


def test_easy_first_images_count_for_nothing() -> None:
    """Its chunks look better than the baseline's score, and are worse than the baseline was there."""
    baseline = Score(value=0.5, chunks=(0.9, 0.8, 0.9, 0.8, *[0.3] * 8))
    score = stopped_early((0.7, 0.61, 0.7, 0.6), baseline)
    assert score is not None
    assert score.value == pytest.approx(0.5 - 0.1975)


def test_seldom_is_one_stopped_early_that_would_have_been_better() -> None:
    """Equal networks, looked at chunk by chunk: the level of each look is one in a thousand."""
    rng = np.random.default_rng(0)
    mistakes = 0
    for _ in range(400):
        baseline, other = rng.normal(0.5, 0.05, size=(2, 30))
        evaluated = Score(value=float(baseline.mean()), chunks=tuple(baseline))
        is_stopped = any(stopped_early(tuple(other[:n]), evaluated) for n in range(1, 31))
        mistakes += is_stopped and other.mean() >= baseline.mean()
    assert mistakes <= 4


def test_baselines_are_no_slower_and_complete() -> None:
    baselines = Baselines(num=2)
    for latency_ms, score in ((1.0, 0.5), (2.0, 0.7), (3.0, 0.9)):
        baselines.add({"latency_ms": latency_ms}, Score(value=score, chunks=(score, score)))
    baselines.add({"latency_ms": 1.0}, Score(value=0.99, chunks=(0.99,), is_complete=False))
    baselines.add({"latency_ms": 1.0}, Score(value=0.99))
    found = [baselines.of({"latency_ms": ms}) for ms in (1.5, 2.0, 9.0)]
    assert [r.value if r else None for r in found] == [None, 0.5, 0.7]
    assert Baselines(num=None).of({"latency_ms": 1.0}) is None


def _chunkwise_search(path: Path, *, stop_below: int | None, looked_at: list[int]) -> SearchResult:
    """A toy whose score is a mean over chunks that all architectures find easy or hard together."""
    difficulty = np.random.default_rng(7).normal(0, 0.3, size=30)

    def evaluate(asked: Sequence[Architecture], baselines: Sequence[Score | None]) -> Iterator[Score]:
        for architecture, baseline in zip(asked, baselines, strict=True):
            own = np.random.default_rng(architecture).normal(0, 0.02, size=30)
            scores = tuple((sum(architecture) / 10 + difficulty + own).tolist())
            score = Score(value=float(np.mean(scores)), chunks=scores)
            for num in range(1, 31):
                if baseline and (early := stopped_early(scores[:num], baseline)):
                    score = early
                    break
            looked_at.append(num if baseline else 30)
            yield score

    return run_search(
        AGENTS["random"](ToySpace(), SumConstraint(12), np.random.default_rng(0)),
        evaluate,
        lambda a: {"latency_ms": float(max(a))},
        history_path=path,
        num_evaluations=60,
        generation_size=10,
        stop_below=stop_below,
    )


def test_a_search_that_gives_up_finds_the_same_with_less(tmp_path: Path) -> None:
    """Random search proposes the same whatever it is told, so that the best must be the same to the last digit."""
    all_parts, fewer_parts = [], []
    whole = _chunkwise_search(tmp_path / "whole", stop_below=None, looked_at=all_parts)
    short = _chunkwise_search(tmp_path / "short", stop_below=3, looked_at=fewer_parts)
    assert sum(all_parts) == 60 * 30 and sum(fewer_parts) < 0.8 * sum(all_parts)
    assert short.ranked[:3] == whole.ranked[:3]
    records = [json.loads(line) for line in (tmp_path / "short").read_text().splitlines()]
    assert {r.get("complete", True) for r in records} == {True, False}
    best = sorted(records, key=lambda r: -r["score"])[:3]
    assert all(r.get("complete", True) for r in best)


def test_an_interrupted_search_compares_with_the_same_baselines(tmp_path: Path) -> None:
    whole = _chunkwise_search(tmp_path / "whole", stop_below=3, looked_at=[])
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    (tmp_path / "parts").write_bytes(b"".join(lines[:34]))
    assert _chunkwise_search(tmp_path / "parts", stop_below=3, looked_at=[]) == whole
    assert history_of(tmp_path / "parts") == history_of(tmp_path / "whole")


def test_what_was_evaluated_to_the_end_is_remembered_and_the_rest_is_not() -> None:
    asked_for: list[Architecture] = []

    def evaluate(asked: Sequence[Architecture], baselines: Sequence[Score | None]) -> Iterator[Score]:
        for architecture, baseline in zip(asked, baselines, strict=True):
            asked_for.append(architecture)
            yield Score(value=float(sum(architecture)), is_complete=baseline is None)

    remembering = _Remembering(evaluate)
    assert [j.is_complete for j in remembering([(1,), (2,)], [None, Score(value=9.0)])] == [True, False]
    assert remembering.scores([(1,), (2,), (3,), (3,), (4,)]) == [1.0, 2.0, 3.0, 3.0, 4.0]
    assert asked_for == [(1,), (2,), (2,), (3,), (4,)]


class _OfIdentities(ClassificationAgent):
    scores_images_alone = False


def test_a_subnet_is_stopped_early_on_images_of_a_better_one() -> None:
    """The other's targets are what the better one says, so that it cannot reach it."""
    space = make_space(SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25))
    torch.manual_seed(0)
    supernet = space.supernet()
    better, worse = (2,) * 8, (0,) * 8
    calibration = [torch.randn(16, 1, 8, 8) for _ in range(2)]
    made = {"supernet": supernet, "agent": ClassificationAgent(), "calibration": calibration}
    images = [torch.randn(16, 1, 8, 8) for _ in range(12)]
    teacher = SupernetEvaluator(**made, validation=[])._recalibrated(better)
    with torch.inference_mode():
        validation = [(x_NCHW, teacher(x_NCHW).argmax(dim=1)) for x_NCHW in images]
    evaluator = SupernetEvaluator(**made, validation=validation)
    complete = evaluator.evaluate(better, None)
    assert complete.value == evaluator.score(better) and len(complete.chunks) == 12
    assert evaluator.evaluate(worse, None).value == evaluator.score(worse)
    early = evaluator.evaluate(worse, complete)
    assert not early.is_complete and len(early.chunks) < 12
    assert early.value < complete.value
    assert evaluator.evaluate(better, evaluator.evaluate(worse, None)).is_complete
    other = SupernetEvaluator(**{**made, "agent": _OfIdentities()}, validation=validation)
    assert other.evaluate(worse, complete) == Score(value=other.score(worse))
