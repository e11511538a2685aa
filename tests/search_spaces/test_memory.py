"""Memory of graphs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from kept_files import DAMAGES, forge
from onnx import TensorProto, helper
from samples import small_spec

from search_spaces import SearchSpace, SpaceError, make_space
from search_spaces.memory import GraphMemory, MemoryModel, graph_memory
from search_spaces.onnx_export import export_network
from search_spaces.wiring import Wiring


def _graph(
    nodes: list, shapes: dict[str, list[int]], *, weights: dict[str, list[int]] | None = None
) -> onnx.ModelProto:
    """Nodes from `x` to `y`."""
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    initializers = [
        helper.make_tensor(n, TensorProto.FLOAT, s, np.zeros(s, dtype=np.float32).tobytes(), raw=True)
        for n, s in (weights or {}).items()
    ]
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["y"]], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def test_residual_keeps_its_input_alive() -> None:
    """x (40 floats) stays while the first convolution's 80 floats become the second's 40."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"]),
        helper.make_node("Add", ["c", "x"], ["y"]),
    ]
    shapes = {"x": [1, 4, 10, 1], "y": [1, 4, 10, 1]}
    model = _graph(nodes, shapes, weights={"w1": [8, 4, 1, 1], "w2": [4, 8, 1, 1]})
    assert graph_memory(model) == GraphMemory(weight_bytes=4 * 64, activation_bytes=4 * (40 + 80 + 40))


def test_activations_write_over_their_input_unless_it_is_needed_again() -> None:
    alone = [helper.make_node("Relu", ["x"], ["y"])]
    needed = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Add", ["a", "x"], ["y"])]
    shapes = {"x": [1, 4, 10, 1], "y": [1, 4, 10, 1]}
    assert graph_memory(_graph(alone, shapes)).activation_bytes == 4 * 40
    assert graph_memory(_graph(needed, shapes)).activation_bytes == 4 * 80


def test_unknown_shapes_are_refused() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["a"]), helper.make_node("Identity", ["a"], ["y"])]
    model = _graph(nodes, {"x": [1, 4], "y": [1, 4]})
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    model.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(ValueError, match="the shape of 'x' is not known"):
        graph_memory(model)


MOST_BLOCKS = 300
"""Memory is found by exporting every block: more take minutes."""

NUM_NETWORKS = 2
"""Networks of each space that are exported whole."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of exported blocks for all spaces, many of which are in several."""
    return tmp_path_factory.mktemp("exported")


def test_memory_is_that_of_the_graphs_and_found_once_per_block(
    space: SearchSpace, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if len(space.candidates) > MOST_BLOCKS:
        pytest.skip("it has too many blocks")
    if not space.is_chain and space.wiring is None:
        with pytest.raises(SpaceError, match="is not known"):
            MemoryModel(space, exported)
        return
    rows = space.sample_many(5, np.random.default_rng(0))
    model = MemoryModel(space, exported)
    found = model.peak_bytes(rows)
    for row, peak in zip(rows[:NUM_NETWORKS].tolist(), found, strict=False):
        whole = graph_memory(onnx.load(export_network(space, tuple(row), exported)))
        assert peak == whole.weight_bytes + whole.activation_bytes
    monkeypatch.delattr("search_spaces.memory.export_block")
    np.testing.assert_array_equal(MemoryModel(space, exported).peak_bytes(rows), found)


def test_feature_maps_count_while_other_blocks_run(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = make_space(small_spec("nasbench-macro", head="detection"))
    rows = space.sample_many(100, np.random.default_rng(0))
    found = MemoryModel(space, exported).peak_bytes(rows)
    monkeypatch.setattr(Wiring, "held", lambda *_: [])
    number = np.flatnonzero(found != MemoryModel(space, exported).peak_bytes(rows))[0]
    whole = graph_memory(onnx.load(export_network(space, tuple(rows[number].tolist()), exported)))
    assert found[number] == whole.weight_bytes + whole.activation_bytes


def _changed(known: dict[str, dict], changes: dict[str, object]) -> str:
    return json.dumps({key: {**fields, **changes} for key, fields in known.items()})


DAMAGED_MEMORIES = {
    "no JSON": lambda _: "{",
    "a list": lambda _: "[]",
    "lists in lists": lambda _: "[" * 100_000,
    "negative bytes": lambda known: _changed(known, {"weight_bytes": -1}),
    "bytes as text": lambda known: _changed(known, {"weight_bytes": "12"}),
    "bytes that are no number": lambda known: _changed(known, {"weight_bytes": float("nan")}),
    "true": lambda known: _changed(known, {"weight_bytes": True}),
    "mappings in mappings": lambda known: json.dumps({k: {"weight_bytes": v} for k, v in known.items()}),
    "a field too many": lambda known: _changed(known, {"more": 1}),
    "5,000 digits": lambda known: json.dumps(known)[:-2] + "9" * 5000 + "}}",
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with exported blocks and their memory."""
    folder = tmp_path_factory.mktemp("kept")
    _peaks(folder)
    return folder


def _peaks(folder: Path) -> list[float]:
    space = make_space(small_spec("nasbench-macro"))
    rows = space.sample_many(5, np.random.default_rng(0))
    return MemoryModel(space, folder).peak_bytes(rows).tolist()


@pytest.mark.parametrize("damaged", DAMAGED_MEMORIES.values(), ids=DAMAGED_MEMORIES)
def test_damaged_figures_are_found_again(damaged: Callable[[dict], str], kept: Path, tmp_path: Path) -> None:
    """Even where the file's note says that it is as it was written."""
    path = shutil.copytree(kept, tmp_path / "kept") / "memory-1.json"
    content = path.read_bytes()
    forge(path, damaged(json.loads(content)).encode())
    assert _peaks(path.parent) == _peaks(kept)
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_figures_that_were_changed_are_found_again(
    damage: Callable[[Path], object], kept: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(kept, tmp_path / "kept") / "memory-1.json"
    damage(path)
    assert _peaks(path.parent) == _peaks(kept)


def test_what_branches_is_not_known() -> None:
    branch = _graph([helper.make_node("Identity", ["x"], ["y"])], {"x": [4], "y": [4]}).graph
    del branch.input[:]
    chosen = helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    with pytest.raises(ValueError, match="what If runs"):
        graph_memory(_graph([chosen], {"x": [1], "y": [4]}))


def test_outputs_that_nothing_reads_take_nothing() -> None:
    nodes = [helper.make_node("Dropout", ["x"], ["y", "mask"])]
    assert graph_memory(_graph(nodes, {"x": [1, 4], "y": [1, 4]})).activation_bytes == 4 * 8


@pytest.mark.parametrize("head", ["classifier", "detection", "segmentation"])
def test_no_network_takes_less_than_the_least(head: str, tmp_path: Path) -> None:
    space = make_space(small_spec("nasbench-macro", head=head))
    model = MemoryModel(space, tmp_path)
    drawn = model.peak_bytes(space.sample_many(2000, np.random.default_rng(0)))
    assert model.least_bytes() <= drawn.min()


def test_the_least_is_found_where_activations_outweigh_weights(tmp_path: Path) -> None:
    space = make_space(small_spec("nasbench-macro"))
    model = MemoryModel(space, tmp_path)
    drawn = np.random.default_rng(0).permutation(len(space.candidates)) * 1e5
    model._activations = np.broadcast_to(drawn, model._activations.shape)
    every = np.indices([len(d.choices) for d in space.decisions]).reshape(len(space.decisions), -1).T
    assert model.least_bytes() == model.peak_bytes(every).min()
