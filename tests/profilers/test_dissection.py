"""Models taken apart by ONNX Runtime: nodes as they ran, and graphs that can be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from small_models import save_graph, value

from lut.dissected import fused_graph
from onnx_models.errors import ModelError
from onnx_models.fused_graph import FusedGraph, RanNode
from onnx_models.kernels import kernel_of, kernels_of
from profilers import Device, MeasurementError, Model, Profiler
from profilers.dissection import Dissection, aligned, dissect, graphs_of, own_share, typical_times
from profilers.events import RunNode, RunTimes

DEVICE = Device(name="test", runtime="onnxruntime")
VISITS = 3


def save_network(path: Path) -> Path:
    """A convolution with an activation, pooling, and a linear layer of 4 classes, of images of 1x8x8.

    Its weights are small enough to be told with the graph, so that parts of it compute what the whole does.
    """
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v", "b"], ["y"]),
    ]
    weights = {"w": rng.standard_normal((16, 1, 3, 3)), "v": rng.standard_normal((16, 4)), "b": np.zeros(4)}
    floats = {name: array.astype(np.float32) for name, array in weights.items()}
    return save_graph(path, nodes, [value("x", (1, 1, 8, 8))], [value("y", (1, 4))], **floats)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_network(tmp_path_factory.mktemp("network") / "m.onnx")


@pytest.fixture(scope="module")
def found(network: Path) -> Dissection:
    return dissect(Profiler(device=DEVICE, rounds=VISITS), [Model(key="m", path=network)]).found["m"]


@pytest.fixture(scope="module")
def graph(found: Dissection) -> FusedGraph:
    made = fused_graph(found)
    assert made is not None
    return made


def _output(model: onnx.ModelProto | Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def test_every_node_has_a_time_for_each_visit(found: Dissection) -> None:
    assert {len(node.us) for node in found.nodes} == {VISITS} == {len(found.plain.wall_ns)}
    assert next(n.operation for n in found.nodes if "Reorder" not in n.operation) in ("Conv", "FusedConv")
    assert found.whole_ms() > 0 and len(found.node_ms()) == len(found.nodes)


def test_parts_compute_together_what_the_whole_computes(graph: FusedGraph, network: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, 1, 8, 8)).astype(np.float32)
    half = len(graph.nodes) // 2
    first = _output(graph.cut(0, half), {"x": x})
    second = _output(graph.cut(half, len(graph.nodes)), first)
    assert second["y"] == pytest.approx(_output(network, {"x": x})["y"], rel=1e-4)


def test_each_operator_is_a_model_of_its_own(graph: FusedGraph) -> None:
    for place in range(len(graph.nodes)):
        onnxruntime.InferenceSession(graph.cut(place, place + 1).SerializeToString())


def test_kernels_say_what_their_time_depends_on(graph: FusedGraph) -> None:
    by_kind = {kernel.kind.rpartition(".")[2]: kernel for kernel in kernels_of(graph)}
    convolution = by_kind.get("Conv") or by_kind["FusedConv"]
    assert convolution.macs == 16 * 8 * 8 * 9 and convolution.activation == "Relu"
    assert convolution.weight_bytes >= 4 * 16 * 9 and convolution.output_bytes == 4 * 16 * 64
    assert by_kind["Gemm"].macs == 4 * 16 and (by_kind["Gemm"].in_channels, by_kind["Gemm"].out_channels) == (16, 4)
    assert len({kernel.key for kernel in kernels_of(graph)}) == len(graph.nodes)


def test_sizes_that_nobody_told_are_an_error(graph: FusedGraph) -> None:
    content = helper.make_model(
        helper.make_graph([helper.make_node("NonZero", ["x"], ["n"])], "g", [value("x", (4,))], [value("n", (1, None))])
    )
    told = FusedGraph(content.SerializeToString(), [RanNode(name="", operation="NonZero", inputs=(), outputs=())])
    with pytest.raises(ModelError, match="depend on what goes in"):
        kernel_of(told, told.nodes[0])
    with pytest.raises(ModelError, match="did not run"):
        FusedGraph(content.SerializeToString(), [])
    with pytest.raises(ModelError, match="found something else"):
        FusedGraph(b"no graph", [])


def test_what_cannot_be_opened_is_a_failure_and_the_rest_is_taken_apart(network: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    models = [Model(key="bad", path=tmp_path / "bad.onnx"), Model(key="good", path=network)]
    result = graphs_of(Profiler(device=DEVICE), models)
    assert result.found.keys() == {"good"} and result.failures.keys() == {"bad"}
    assert result.worker["onnxruntime"] == onnxruntime.__version__


def test_a_runtime_that_takes_nothing_apart_is_named() -> None:
    device = Device(name="board", runtime="tvm", target="llvm")
    with pytest.raises(MeasurementError, match="board runs tvm"):
        dissect(Profiler(device=device), [])


def test_sessions_that_order_and_call_nodes_otherwise_are_joined() -> None:
    def node(name: str, size: int, us: int) -> RunNode:
        return RunNode(name=name, operation="Conv", provider="", inputs=({"float": (size,)},), outputs=(), us=(us,))

    first = [node("a", 1, 1), node("token_1", 2, 2), node("token_2", 3, 3)]
    second = [node("token_7", 3, 30), node("a", 1, 10), node("token_1", 2, 20)]
    assert [other.us for other in aligned(first, second)] == [(10,), (20,), (30,)]
    for others in (second[:2], [*second[:2], node("b", 4, 1)], [*second, node("b", 4, 1)]):
        with pytest.raises(ValueError, match="each time"):
            aligned(first, others)


def test_nodes_sum_to_the_whole_though_another_one_is_disturbed_in_every_visit() -> None:
    times = np.full((5, 5), 10.0) + 5.0 * np.eye(5)
    assert typical_times(times).tolist() == pytest.approx([11.0] * 5)
    assert typical_times(np.zeros((2, 3))).tolist() == [0.0, 0.0]


def test_runs_that_lost_the_core_count_with_their_own_time() -> None:
    times = RunTimes(wall_ns=(10_000, 10_000, 40_000), cpu_ns=(10_000, 9_900, 10_000))
    assert own_share(times).tolist() == [1.0, 1.0, 0.25]
    threads = RunTimes(wall_ns=(10_000, 10_000), cpu_ns=(6_000, 5_000))
    assert own_share(threads).tolist() == [1.0, 1.0]
