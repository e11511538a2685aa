"""Evaluators on several nodes: what travels, what is copied; and `benchmarks/scaling.py`."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from hwnas.agents import ClassificationAgent
from hwnas.evaluators.executor import in_this_process, on_ray
from hwnas.evaluators.shared import ReadOnly
from hwnas.evaluators.supernet import SupernetEvaluator
from search_spaces import Architecture, SpaceSpec, make_space

ROOT = Path(__file__).parents[2]
SPEC = SpaceSpec(name="nasbench-macro", input_size=8, in_channels=1, num_classes=10, width=0.25)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling_benchmark", ROOT / "benchmarks" / "scaling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _evaluator(num_images: int = 64) -> SupernetEvaluator:
    generator = torch.Generator().manual_seed(0)
    x_NCHW = torch.randn(num_images, 1, 8, 8, generator=generator).to(memory_format=torch.channels_last)
    targets_N = torch.arange(num_images) % 10
    return SupernetEvaluator(
        make_space(SPEC).supernet(), ClassificationAgent(), calibration=[x_NCHW], validation=[(x_NCHW, targets_N)]
    )


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4, 5),
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.randn(4, 6)[1:3],
        torch.randn(4, 6)[:, ::2],
        torch.arange(6).view(2, 3).T,
        torch.tensor([True, False]),
        torch.randn(3, 1).expand(3, 4),
        torch.empty(0, 3),
        torch.tensor(1.5),
        torch.ones(3, dtype=torch.bfloat16),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tuple(tensor.shape)} by {tensor.stride()}",
)
def test_a_tensor_is_pickled_as_it_is(tensor: torch.Tensor) -> None:
    apart: list[pickle.PickleBuffer] = []
    for read in (
        pickle.loads(pickle.dumps(ReadOnly(tensor))),
        pickle.loads(pickle.dumps(ReadOnly(tensor), protocol=5, buffer_callback=apart.append), buffers=apart),
    ):
        assert read.dtype == tensor.dtype and torch.equal(read, tensor)
        assert read.stride() == tensor.stride() or not tensor.numel()


def test_images_are_kept_apart_and_only_the_part_of_them_that_is_there() -> None:
    apart: list[pickle.PickleBuffer] = []
    images = torch.randn(100, 1, 8, 8)
    pickled = pickle.dumps(ReadOnly(images[:10]), protocol=5, buffer_callback=apart.append)
    assert len(pickled) < 1000 and [b.raw().nbytes for b in apart] == [10 * 64 * 4]


def test_an_evaluator_that_travelled_scores_the_same() -> None:
    evaluator = _evaluator()
    architecture = (0,) * 8
    assert pickle.loads(pickle.dumps(evaluator)).score(architecture) == evaluator.score(architecture)


def test_hours_follow_from_images_a_second(benchmark: ModuleType) -> None:
    assert benchmark.hours(1000, 3600, 1000.0, 1) == pytest.approx(1.0)
    assert benchmark.hours(1000, 3600, 1000.0, 4) == pytest.approx(0.25)
    # Five at a time on four actors take as long as eight.
    assert benchmark.hours(1000, 3600, 1000.0, 4, generation=5) == pytest.approx(0.25 * 8 / 5)
    assert benchmark.hours(1000, 3600, 1000.0, 4, generation=8) == pytest.approx(0.25)


def test_bytes_are_those_of_weights_and_images(benchmark: ModuleType) -> None:
    pytest.importorskip("ray", reason="needs ray")
    sizes = {}
    for num_images in (64, 128):
        evaluator = _evaluator(num_images)
        supernet = evaluator._supernet
        score = evaluator.evaluate((0,) * 8, None)
        sizes[num_images] = benchmark.sizes_of(evaluator, supernet, (0,) * 8, score)
    num_parameters = sum(p.numel() for p in make_space(SPEC).supernet().parameters())
    assert 4 * num_parameters < sizes[64].weights == pytest.approx(sizes[128].weights, rel=0.01)
    # 64 more images of 64 floats, twice; and their targets.
    assert sizes[128].images - sizes[64].images == pytest.approx(64 * (2 * 64 * 4 + 8), abs=200)
    assert 0 < sizes[64].result < sizes[64].arguments < 1000


def test_numbers_that_are_none_are_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, value, words in (("--actors", "1,x", "with commas"), ("--actors", "0", "1 or more")):
        monkeypatch.setattr(sys, "argv", ["scaling.py", flag, value])
        with pytest.raises(SystemExit):
            benchmark.main()
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_benchmark_prints_speeds_and_bytes(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ray", reason="needs ray")
    small = ("--width", "0.25", "--architectures", "3", "--validation-images", "64", "--rounds", "1", "--actors", "2")
    monkeypatch.setattr(sys, "argv", ["scaling.py", *small, "--json", str(tmp_path / "found.json")])
    threads = torch.get_num_threads()
    try:
        benchmark.main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    assert "3 architectures, 576 images each" in printed and "scores: equal" in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert [speed["actors"] for speed in found["speeds"]] == [0, 2] and len(found["scores"]) == 3
    assert found["sizes"]["evaluator"] == found["sizes"]["weights"] + found["sizes"]["images"]


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of a head that computes nothing and two nodes, each with an object store of its own."""
    pytest.importorskip("ray", reason="needs ray")
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 100_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, **store)
        yield cluster
    finally:
        cluster.shutdown()


def _telling_where(evaluator: SupernetEvaluator) -> object:
    """A class of a function travels to actors by value."""

    class _TellingWhere:
        """Scores are 1 where an actor's images are in memory that it may only read; (1,) asks for the node."""

        def __init__(self, evaluator: SupernetEvaluator) -> None:
            self.evaluator = evaluator

        def score(self, architecture: Architecture) -> float:
            import ray

            if architecture == (1,):
                return float(int(ray.get_runtime_context().get_node_id()[:8], 16))
            address = self.evaluator._validation[0][0].data_ptr()
            for line in Path("/proc/self/maps").read_text().splitlines():
                bounds, rights, *_ = line.split()
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                if start <= address < end:
                    return float(rights[3] == "s")  # shared with other processes
            raise AssertionError("it is somewhere")

    return _TellingWhere(evaluator)


@pytest.mark.slow
def test_nodes_score_as_this_process_does_and_their_actors_share_the_images(two_nodes: Any) -> None:
    evaluator = _evaluator(num_images=8192)  # two megabytes, twice
    with on_ray(_telling_where(evaluator), 4, two_nodes.address) as evaluate:
        asked = [(1,)] * 4 + [(0,)] * 4
        values = [score.value for score in evaluate(asked, [None] * 8)]
    assert len(set(values[:4])) == 2, "actors on both nodes"
    assert values[4:] == [1.0] * 4, "the node's copy, not one of the actor's own"

    evaluator, space = _evaluator(), make_space(SPEC)
    architectures = [(0,) * 8, (1,) * 8, space.canonical((2,) * 8)]
    nothing = [None] * len(architectures)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as actors have
    try:
        expected = list(in_this_process(evaluator)(architectures, nothing))
    finally:
        torch.set_num_threads(threads)
    with on_ray(evaluator, 2, two_nodes.address) as evaluate:
        assert list(evaluate(architectures, nothing)) == expected
