"""Spaces of networks that somebody brings, as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from safetensors.torch import save_file
from torch import nn
from traced_checks import drawn, images_of, lively, space_of
from traced_zoo import ZOO

from search_spaces import SpaceError, SpaceSpec, make_space
from search_spaces.traced.file import FORMAT, save_space
from search_spaces.traced.follow import RULES
from search_spaces.traced.ladder import Pins
from search_spaces.traced.operator_kinds import IN_FILES, SIMPLIFIED
from search_spaces.traced.space import TracedSpace


@pytest.mark.parametrize("name", ["inverted residual", "swin", "shared layer", "in place"])
def test_a_file_gives_the_same_space(name: str, tmp_path: Path) -> None:
    specimen, path = ZOO[name], tmp_path / "own.safetensors"
    space = space_of(lively(specimen.make(), specimen.input_shape), specimen.input_shape, Pins(shares=(0.5,)))
    save_space(space, path)
    found = make_space(replace(space.spec, name=str(path)))
    assert isinstance(found, TracedSpace)
    assert found.decisions == space.decisions and found.candidates == space.candidates
    assert found.elastic.ranks == space.elastic.ranks
    with torch.inference_mode():
        for architecture in drawn(space, 2):
            expected = space.supernet().eval()(images_of(space), architecture)
            assert torch.equal(found.supernet().eval()(images_of(space), architecture), expected)
    for block in found.candidates[::5]:
        block.build().eval()(*(torch.randn(1, *shape) for shape in block.input_shapes))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    space = space_of(lively(ZOO["plain"].make(), (3, 12, 12)), (3, 12, 12))
    with pytest.raises(SpaceError, match="no file"):
        make_space(replace(space.spec, name=str(tmp_path / "none.safetensors")))
    path = tmp_path / "own.safetensors"
    save_space(space, path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SpaceError, match=r"cannot be read|damaged"):
        make_space(replace(space.spec, name=str(path)))


def test_infinities_are_kept(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.masked_fill(x < 0, float("-inf")).amax((2, 3)).clamp(min=0)

    module = nn.Sequential(nn.Conv2d(3, 16, 3), Masked(), nn.Linear(16, 5)).eval()
    space = space_of(module, (3, 8, 8))
    save_space(space, tmp_path / "own.safetensors")
    found = make_space(replace(space.spec, name=str(tmp_path / "own.safetensors")))
    assert isinstance(found, TracedSpace) and found.network.graph == space.network.graph


def test_every_followed_operator_may_stand_in_a_file() -> None:
    assert set(RULES) <= IN_FILES and not IN_FILES & SIMPLIFIED - {"getitem"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a small network."""
    path = tmp_path_factory.mktemp("saved") / "own.safetensors"
    save_space(space_of(lively(ZOO["plain"].make(), (3, 12, 12)), (3, 12, 12)), path)
    return path


Record = dict[str, Any]


def _add(*nodes: list[Any]) -> Callable[[Record], None]:
    """Have the network give what nodes give that are put behind it."""

    def change(record: Record) -> None:
        graph = record["graph"]
        graph["nodes"] += [[name, op, [{"value": graph["output"]}, *args], shape] for name, op, args, shape in nodes]
        graph["output"] = nodes[-1][0]

    return change


def _at(*place: Any, to: Any) -> Callable[[Record], None]:
    """Have another value at a place of the record."""

    def change(record: Record) -> None:
        inner: Any = record
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = to

    return change


def _nested() -> list[Any]:
    lists: list[Any] = []
    for _ in range(900):
        lists = [lists]
    return lists


OUT = [{"per_image": 1}, 5]
NODE = ("graph", "nodes", 0)
UNKNOWN = "is no operator that a file"
DAMAGED: dict[str, tuple[Callable[[Record], None], str]] = {
    "a sparse tensor": (_add(["e", "_sparse_coo_tensor_unsafe.default", [{"value": "input"}, [5]], [5]]), UNKNOWN),
    "sparse rows": (_add(["e", "_sparse_csr_tensor_unsafe.default", [], OUT]), UNKNOWN),
    "a nested view": (_add(["e", "_nested_view_from_buffer.default", [], OUT]), UNKNOWN),
    "strides": (_add(["e", "as_strided.default", [[1 << 40], [1], 0], OUT]), UNKNOWN),
    "another library's": (_add(["e", "mkldnn_linear.default", [], OUT]), UNKNOWN),
    "statistics unchecked": (_add(["e", "_native_batch_norm_legit_no_training.default", [], OUT]), UNKNOWN),
    "a change in place": (_add(["e", "relu_.default", [], OUT]), UNKNOWN),
    "a result elsewhere": (_add(["e", "add.out", [], OUT]), UNKNOWN),
    "no overload": (_add(["e", "relu.other", [], OUT]), UNKNOWN),
    "a layout": (_add(["e", "zeros_like.default", [None, 1], OUT]), "gives layout"),
    "another shape": (_at(*NODE, 3, 1, to=17), r"expected \(2, 17"),
    "an endless shape": (_at(*NODE, 3, 1, to=10**12), "expected at most 1,073,741,824 elements"),
    "an endless image": (_at("graph", "inputs", 0, 1, 2, to=10**12), "expected at most"),
    "no shape": (_at(*NODE, 3, to=None), "gives one tensor, expected several"),
    "endless lists": (_at(*NODE, 2, to=_nested()), "levels within each other"),
    "an unknown value": (_at(*NODE, 2, 0, to={"value": "none"}), "takes what is not there"),
    "an unknown argument": (_at(*NODE, 2, 0, to={"code": "none"}), "is no argument"),
    "a tensor given": (lambda record: _at("graph", "output", to=record["graph"]["tensors"][0][0])(record), "is no val"),
    "no input": (_at("graph", "inputs", to=[]), "expected one batch"),
    "a second input": (lambda record: record["graph"]["inputs"].append(["y", [{"per_image": 1}, 3]]), "expected one"),
    "a fixed batch": (_at("graph", "inputs", 0, 1, 0, to=2), "expected one batch"),
    "no graph": (lambda record: record.pop("graph"), "damaged"),
    "a list for a graph": (_at("graph", to=[]), "damaged"),
    "no images": (_at("spec", to=[]), "damaged"),
    "step 0": (_at("step", to=0), "step has to be a whole number"),
    "step a": (_at("step", to="a"), "step has to be a whole number"),
    "shares of nothing": (_at("shares", to=[float("nan")]), "NaN is no JSON number"),
    "shares below 0": (_at("shares", to=[-5.0]), "shares have to be numbers from 0 to 1"),
    "no share": (_at("shares", to=["a"]), "shares have to be numbers from 0 to 1"),
    "patterns": (_at("freeze", to=[3]), "freeze has to be patterns"),
    "ranks of others": (_at("ranks", to=[list(range(1, 20))]), "damaged"),
    "ranks that are none": (_at("ranks", to="abc"), "damaged"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files_are_refused_in_words(case: str, saved: Path, tmp_path: Path) -> None:
    change, words = DAMAGED[case]
    with safetensors.safe_open(saved, "pt") as file:
        record = json.loads(file.metadata()[FORMAT])
        values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    spec = SpaceSpec(**record["spec"])
    change(record)
    path = tmp_path / "own.safetensors"
    save_file(values, path, {FORMAT: json.dumps(record)})
    with pytest.raises(SpaceError, match=words) as raised:
        make_space(replace(spec, name=str(path)))
    assert str(path) in str(raised.value) and "make it again with hwnas convert" in str(raised.value)


def test_a_network_is_the_same_whatever_it_is_called() -> None:
    spec = SpaceSpec(name="build-7dd2b077", input_size=32, num_classes=10)
    assert spec.network_hash == "7dd2b077" and replace(spec, name="fbnet-s").network_hash is None
    assert spec.has_networks_of(replace(spec, name="classifier.onnx-7dd2b077"))
    assert not spec.has_networks_of(replace(spec, name="build-7dd2b078"))
    assert not spec.has_networks_of(replace(spec, name="classifier-7dd2b077", num_classes=11))
    assert not replace(spec, name="fbnet-s").has_networks_of(replace(spec, name="fbnet-l"))
