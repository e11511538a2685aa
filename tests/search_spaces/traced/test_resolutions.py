"""The resolution as a decision: what runs at other sizes of images, and what is chosen of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors
import torch
from torch import nn
from traced_checks import (
    built,
    difference,
    drawn,
    images_for,
    images_of,
    lively,
    onnx_outputs,
    require_equal_costs,
    require_filled,
    require_same_forms,
    space_of,
    space_with_resolutions,
)
from traced_zoo import ZOO, Residual, classifier

from search_spaces import Architecture, SpaceError, make_space
from search_spaces.resolutions import Resized, smaller_sizes
from search_spaces.traced.file import FORMAT, save_space
from search_spaces.traced.space import TracedSpace

SHAPE = (3, 8, 8)

RESIZABLE = ("residual, projected", "shuffle", "group norm", "transposed", "convnext", "spatial gate", "shared layer")
"""Networks of the zoo that take images of 8 pixels a side, and of fewer."""

RESIZABLE_TOO = ("bottleneck", "inverted residual", "inception", "dense", "grouped", "in place", "gated")
"""Others that do, of the same layers."""


def _module() -> nn.Module:
    torch.manual_seed(0)
    return lively(classifier(nn.Sequential(Residual(16, 16), Residual(16, 16)), 16), SHAPE)


@pytest.fixture(scope="module")
def space() -> TracedSpace:
    return space_with_resolutions(_module(), SHAPE, 6, 4)


def _at(resolution: int, architecture: Architecture) -> Architecture:
    return (resolution, *architecture[1:])


def test_the_resolution_is_the_first_decision(space: TracedSpace) -> None:
    plain = space_of(_module(), SHAPE)
    first, *others = space.decisions
    assert (first.name, first.choices) == ("resolution", ("8", "6", "4")) and tuple(others) == plain.decisions
    assert [space.input_size(_at(i, space.original)) for i in range(3)] == [8, 6, 4]
    assert [c.key for c in plain.candidates] == [c.key for c in space.candidates if c in plain.candidates]
    assert not plain.resolutions.others and plain.input_size(plain.original) == plain.spec.input_size


def test_parts_are_those_of_their_resolution_and_equal_ones_are_one(space: TracedSpace) -> None:
    of_each = [space.blocks(_at(i, space.original)) for i in range(3)]
    firsts = [blocks[0] for blocks in of_each]
    assert [block.input_shapes for block in firsts] == [((3, side, side),) for side in (8, 6, 4)]
    assert len({block.key for block in firsts}) == 3
    narrow = next(block for block in of_each[1] if block.output_shape == (5,))
    assert narrow.input_shapes[0][0] == 16
    assert len({block.key for block in space.candidates}) == len(space.candidates)
    linear = {blocks[-1].key for blocks in of_each}
    assert len(linear) == (1 if len(narrow.input_shapes[0]) == 1 else 3)


@pytest.mark.parametrize("name", [*RESIZABLE, *(pytest.param(name, marks=pytest.mark.slow) for name in RESIZABLE_TOO)])
def test_networks_are_right_at_every_resolution(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = lively(ZOO[name].make(), ZOO[name].input_shape)
    channels, height, width = ZOO[name].input_shape
    space = space_with_resolutions(module, (channels, height, width), 6)
    supernet = space.supernet().eval()
    for number, architecture in enumerate(drawn(space, 1)):
        for resolution in range(2):
            own = _at(resolution, architecture)
            require_same_forms(space, supernet, own, tmp_path if number == resolution == 1 else None)
            require_equal_costs(space, own)
            require_filled(space.slice_of(own).graph)
            assert space.blocks(space.canonical(own)) == space.blocks(own)
    for resolution in range(2):
        images = images_for(space, _at(resolution, space.original))
        with torch.inference_mode():
            assert difference(module(images), supernet(images, _at(resolution, space.original))) <= 1e-5


def test_images_of_the_data_are_brought_to_the_resolution(space: TracedSpace) -> None:
    supernet, images = space.supernet().eval(), images_of(space)
    for architecture in (_at(1, space.original), _at(2, drawn(space, 0)[1])):
        resized = Resized(space.input_size(architecture))(images)
        with torch.inference_mode():
            expected = supernet(resized, architecture)
            for network in (built(space, supernet, architecture), supernet.subnet(architecture)):
                assert difference(expected, network(images)) <= 1e-5
            assert torch.equal(supernet(images, architecture), expected)


def test_an_exported_network_takes_images_of_its_resolution_and_resizes_nothing(
    space: TracedSpace, tmp_path: Path
) -> None:
    architecture = _at(1, space.original)
    network, images = built(space, space.supernet(), architecture), images_for(space, architecture, 1)
    (found,) = onnx_outputs(network, tmp_path, images)
    model = onnx.load(tmp_path / "network.onnx")
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 6, 6]
    assert not {node.op_type for node in model.graph.node} & {"Resize", "Upsample"}
    with torch.inference_mode():
        assert difference(network(images), torch.from_numpy(found)) <= 1e-4


def test_rectangles_are_scaled_on_both_sides() -> None:
    module = lively(classifier(Residual(16, 16), 16), (3, 8, 12))
    space = space_with_resolutions(module, (3, 8, 12), (6, 9))
    assert space.decisions[0].choices == ("8x12", "6x9")
    supernet = space.supernet().eval()
    for architecture in drawn(space, 1):
        require_same_forms(space, supernet, _at(1, architecture), None)
        require_equal_costs(space, _at(1, architecture))


def test_training_at_another_resolution_reaches_the_weights_and_leaves_statistics_alone(space: TracedSpace) -> None:
    supernet = space.supernet().train()
    before = {name: value.clone() for name, value in supernet.state_dict().items() if "running" in name}
    supernet(images_of(space, 6), _at(2, space.original)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in supernet.parameters())
    after = supernet.state_dict()
    assert before and all(torch.equal(after[name], value) for name, value in before.items())


def test_random_architectures_are_of_every_resolution_and_those_scaled_by_hand_of_its_own(space: TracedSpace) -> None:
    drawn_many = space.sample_many(60, np.random.default_rng(0))
    assert set(drawn_many[:, 0].tolist()) == {0, 1, 2}
    assert {architecture[0] for architecture in space.scaled_alike()} == {0}


def test_files_hold_every_resolution(space: TracedSpace, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    save_space(space, path)
    found = make_space(replace(space.spec, name=str(path)))
    assert isinstance(found, TracedSpace)
    assert found.decisions == space.decisions and found.candidates == space.candidates
    for architecture in drawn(space, 2):
        images = images_for(space, architecture)
        with torch.inference_mode():
            expected = space.supernet().eval()(images, architecture)
            assert torch.equal(found.supernet().eval()(images, architecture), expected)


def test_files_of_one_resolution_are_as_they_were(tmp_path: Path) -> None:
    save_space(space_of(_module(), SHAPE), tmp_path / "own.safetensors")
    with safetensors.safe_open(tmp_path / "own.safetensors", framework="pt") as file:
        record = json.loads(file.metadata()[FORMAT])
    assert record.keys() == {"version", "spec", "graph", "freeze", "shares", "step", "ranks"}
    assert record["version"] == 1


def test_damaged_resolutions_are_refused(space: TracedSpace, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    for old, new in (
        (b'size\\": 6', b'size\\": 5'),
        (b'size\\": 6', b'size\\": 0'),
        (b"relu.default", b"rand.default"),
    ):
        save_space(space, path)
        content = path.read_bytes()
        place = content.rfind(old)
        path.write_bytes(content[:place] + new + content[place + len(old) :])
        with pytest.raises(SpaceError, match="damaged"):
            make_space(replace(space.spec, name=str(path)))


class Positions(nn.Module):
    """Adds something to each pixel, by how many there are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.arange(x.shape[3])


class Early(nn.Module):
    """Pools large images alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.max_pool2d(x, 2) if x.shape[2] > 6 else x


@pytest.mark.parametrize(("layer", "words"), [(Positions(), "it holds another"), (Early(), "it runs")])
def test_networks_that_are_others_at_another_resolution_are_refused(layer: nn.Module, words: str) -> None:
    module = lively(classifier(nn.Sequential(layer, Residual(16, 16)), 16), SHAPE)
    with pytest.raises(SpaceError, match=rf"at 6 the network is another: {words}"):
        space_with_resolutions(module, SHAPE, 6)


@pytest.mark.parametrize(
    ("own", "asked", "expected"),
    [
        (96, (96, 80, 64), (80, 64)),
        ((128, 256), ((128, 256), (96, 192)), ((96, 192),)),
        ((128, 256), (128, 96, 64), ((96, 192), (64, 128))),
        ((100, 150), ((100, 150), 75), ((75, 112),)),
    ],
)
def test_sizes_are_read(own: object, asked: tuple[object, ...], expected: tuple[object, ...]) -> None:
    assert smaller_sizes(own, asked) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("own", "asked", "words"),
    [
        (96, (80, 64), "begin with the images' own size, 96, got 80, 64"),
        (96, (96,), "two resolutions or more, got 96 alone"),
        (96, (80,), "begin with the images' own size"),
        (96, (96, 128), "each smaller"),
        (96, (96, 64, 64), "each smaller"),
        (96, (96, (64, 80)), "one ratio"),
        ((128, 256), ((128, 256), (96, 96)), "one ratio"),
    ],
)
def test_sizes_that_cannot_be_chosen_from(own: object, asked: tuple[object, ...], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        smaller_sizes(own, asked)  # type: ignore[arg-type]
