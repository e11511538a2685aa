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
from samples import SumConstraint, ToySpace, history_without_times

from hwnas.agents import ClassificationAgent
from hwnas.evaluators.judgement import MIN_PARTS, Judgement, Rivals, given_up
from hwnas.evaluators.supernet import SupernetEvaluator
from hwnas.search import AGENTS, SearchResult
from hwnas.search.loop import run_search
from hwnas.stages.search import _Remembering
from search_spaces import Architecture, SpaceSpec, make_space

SCORES = st.lists(st.floats(0, 1), min_size=2, max_size=20)


@given(SCORES, st.integers(0, 20), st.floats(0, 0.2))
def test_one_as_good_on_every_part_is_never_given_up(rival: list[float], num: int, better_by: float) -> None:
    parts = tuple(s + better_by for s in rival[:num])
    assert given_up(parts, Judgement(score=0.5, parts=tuple(rival))) is None


@given(SCORES, SCORES)
def test_an_estimate_is_below_the_rival_and_never_of_all_parts(parts: list[float], rival: list[float]) -> None:
    judgement = given_up(tuple(parts), Judgement(score=0.5, parts=tuple(rival)))
    if judgement:
        assert judgement.score < 0.5 and not judgement.is_complete
        assert MIN_PARTS <= len(judgement.parts) < len(rival)


def test_easy_first_images_count_for_nothing() -> None:
    """Its parts look better than the rival's score, and are worse than the rival was there."""
    rival = Judgement(score=0.5, parts=(0.9, 0.8, 0.9, 0.8, *[0.3] * 8))
    judgement = given_up((0.7, 0.61, 0.7, 0.6), rival)
    assert judgement is not None
    assert judgement.score == pytest.approx(0.5 - 0.1975)


def test_seldom_is_one_given_up_that_would_have_been_better() -> None:
    """Equal networks, looked at part by part: the level of each look is one in a thousand."""
    rng = np.random.default_rng(0)
    mistakes = 0
    for _ in range(400):
        rival, other = rng.normal(0.5, 0.05, size=(2, 30))
        judged = Judgement(score=float(rival.mean()), parts=tuple(rival))
        is_stopped = any(given_up(tuple(other[:n]), judged) for n in range(1, 31))
        mistakes += is_stopped and other.mean() >= rival.mean()
    assert mistakes <= 4


def test_rivals_are_no_slower_and_complete() -> None:
    rivals = Rivals(num=2)
    for latency_ms, score in ((1.0, 0.5), (2.0, 0.7), (3.0, 0.9)):
        rivals.add({"latency_ms": latency_ms}, Judgement(score=score, parts=(score, score)))
    rivals.add({"latency_ms": 1.0}, Judgement(score=0.99, parts=(0.99,), is_complete=False))
    rivals.add({"latency_ms": 1.0}, Judgement(score=0.99))
    found = [rivals.of({"latency_ms": ms}) for ms in (1.5, 2.0, 9.0)]
    assert [r.score if r else None for r in found] == [None, 0.5, 0.7]
    assert Rivals(num=None).of({"latency_ms": 1.0}) is None


def _partwise_search(path: Path, *, give_up_below: int | None, looked_at: list[int]) -> SearchResult:
    """A toy whose score is a mean over parts that all architectures find easy or hard together."""
    difficulty = np.random.default_rng(7).normal(0, 0.3, size=30)

    def judge(asked: Sequence[Architecture], rivals: Sequence[Judgement | None]) -> Iterator[Judgement]:
        for architecture, rival in zip(asked, rivals, strict=True):
            own = np.random.default_rng(architecture).normal(0, 0.02, size=30)
            scores = tuple((sum(architecture) / 10 + difficulty + own).tolist())
            judgement = Judgement(score=float(np.mean(scores)), parts=scores)
            for num in range(1, 31):
                if rival and (early := given_up(scores[:num], rival)):
                    judgement = early
                    break
            looked_at.append(num if rival else 30)
            yield judgement

    return run_search(
        AGENTS["random"](ToySpace(), SumConstraint(12), np.random.default_rng(0)),
        judge,
        lambda a: {"latency_ms": float(max(a))},
        history_path=path,
        num_evaluations=60,
        generation_size=10,
        give_up_below=give_up_below,
    )


def test_a_search_that_gives_up_finds_the_same_with_less(tmp_path: Path) -> None:
    """Random search proposes the same whatever it is told, so that the best must be the same to the last digit."""
    all_parts, fewer_parts = [], []
    whole = _partwise_search(tmp_path / "whole", give_up_below=None, looked_at=all_parts)
    short = _partwise_search(tmp_path / "short", give_up_below=3, looked_at=fewer_parts)
    assert sum(all_parts) == 60 * 30 and sum(fewer_parts) < 0.8 * sum(all_parts)
    assert short.ranked[:3] == whole.ranked[:3]
    records = [json.loads(line) for line in (tmp_path / "short").read_text().splitlines()]
    assert {r.get("complete", True) for r in records} == {True, False}
    best = sorted(records, key=lambda r: -r["score"])[:3]
    assert all(r.get("complete", True) for r in best)


def test_an_interrupted_search_compares_with_the_same_rivals(tmp_path: Path) -> None:
    whole = _partwise_search(tmp_path / "whole", give_up_below=3, looked_at=[])
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    (tmp_path / "parts").write_bytes(b"".join(lines[:34]))
    assert _partwise_search(tmp_path / "parts", give_up_below=3, looked_at=[]) == whole
    assert history_without_times(tmp_path / "parts") == history_without_times(tmp_path / "whole")


def test_what_was_judged_to_the_end_is_remembered_and_the_rest_is_not() -> None:
    asked_for: list[Architecture] = []

    def judge(asked: Sequence[Architecture], rivals: Sequence[Judgement | None]) -> Iterator[Judgement]:
        for architecture, rival in zip(asked, rivals, strict=True):
            asked_for.append(architecture)
            yield Judgement(score=float(sum(architecture)), is_complete=rival is None)

    remembering = _Remembering(judge)
    assert [j.is_complete for j in remembering([(1,), (2,)], [None, Judgement(score=9.0)])] == [True, False]
    assert remembering.scores([(1,), (2,), (3,), (3,), (4,)]) == [1.0, 2.0, 3.0, 3.0, 4.0]
    assert asked_for == [(1,), (2,), (2,), (3,), (4,)]


class _OfIdentities(ClassificationAgent):
    judges_images_alone = False


def test_a_subnet_is_given_up_on_images_of_a_better_one() -> None:
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
    complete = evaluator.judge(better, None)
    assert complete.score == evaluator.score(better) and len(complete.parts) == 12
    assert evaluator.judge(worse, None).score == evaluator.score(worse)
    early = evaluator.judge(worse, complete)
    assert not early.is_complete and len(early.parts) < 12
    assert early.score < complete.score
    assert evaluator.judge(better, evaluator.judge(worse, None)).is_complete
    other = SupernetEvaluator(**{**made, "agent": _OfIdentities()}, validation=validation)
    assert other.judge(worse, complete) == Judgement(score=other.score(worse))
