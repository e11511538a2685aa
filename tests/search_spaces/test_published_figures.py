"""Our spaces are the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from search_spaces import SpaceSpec, make_space
from search_spaces.blocks.skip import Skip
from search_spaces.cost import GraphCosts


@pytest.fixture(scope="module")
def macro() -> object:
    return make_space(SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10))


@pytest.mark.parametrize(
    ("choice", "params", "macs"), [(0, 387_882, 7_713_280), (1, 1_588_874, 53_246_464), (2, 2_932_586, 105_660_928)]
)
def test_nasbench_macro_corner_networks(macro, choice: int, params: int, macs: int) -> None:
    """Params and "flops" of 00000000, 11111111 and 22222222 in the benchmark's file."""
    found = GraphCosts(macro).of((choice,) * 8)
    assert (found.params, found.macs) == (params, macs)


def test_nasbench_macro_agrees_with_every_network_of_the_file(macro, benchmark_data: Path) -> None:
    table = json.loads((benchmark_data / "nas-bench-macro_cifar10.json").read_text())
    architectures = np.array([[int(c) for c in name] for name in table])
    costs = GraphCosts(macro)
    np.testing.assert_array_equal(costs.params(architectures), [row["params"] for row in table.values()])
    np.testing.assert_array_equal(costs.macs(architectures), [row["flops"] for row in table.values()])


def test_nasbench_macro_has_3969_distinct_networks(macro) -> None:
    every = np.array(np.unravel_index(np.arange(3**8), [3] * 8)).T
    assert len({macro.canonical(tuple(a)) for a in every.tolist()}) == 3969


def test_nasbench_macro_identities_do_not_cross_the_first_layer_of_a_stage(macro) -> None:
    assert macro.canonical((0, 1, 2, 0, 1, 0, 0, 2)) == (0, 1, 2, 1, 0, 0, 2, 0)


def test_fbnet_has_22_layers_of_9_choices_at_published_resolutions() -> None:
    space = make_space(SpaceSpec(name="fbnet-s", input_size=224, num_classes=1000))
    assert [len(d.choices) for d in space.decisions] == [9] * 22
    layers = space.blocks((0,) * 22)[1:-1]
    shapes = [(b.in_channels, b.out_channels, b.input_size, b.stride) for b in layers]
    assert shapes[:3] == [(16, 16, 112, 1), (16, 24, 112, 2), (24, 24, 56, 1)]
    assert shapes[-2:] == [(184, 184, 7, 1), (184, 352, 7, 1)]
    assert space.blocks((0,) * 22)[-1].hidden == 1504


def test_fbnet_skips_are_identities_only_where_shapes_allow() -> None:
    space = make_space(SpaceSpec(name="fbnet-s", input_size=32, num_classes=10))
    skips = space.blocks((8,) * 22)[1:-1]
    assert all(isinstance(b, Skip) for b in skips)
    assert [b.is_identity for b in skips] == [b.stride == 1 and b.in_channels == b.out_channels for b in skips]
    assert sum(b.is_identity for b in skips) == 16


@pytest.mark.parametrize(("input_size", "final"), [(32, 4), (64, 8), (65, 3), (224, 7)])
def test_fbnet_strides_less_early_at_small_inputs(input_size: int, final: int) -> None:
    space = make_space(SpaceSpec(name="fbnet-s", input_size=input_size, num_classes=10))
    assert space.blocks((8,) * 22)[-1].input_size == final


@pytest.mark.parametrize(
    ("name", "num_layers", "shapes"),
    [
        ("proxylessnas", 21, [(16, 24, 112, 2), (24, 24, 56, 1)]),
        ("spos", 20, [(16, 64, 112, 2), (64, 64, 56, 1)]),
        ("fbnet-l", 22, [(16, 16, 112, 1), (16, 24, 112, 2)]),
    ],
)
def test_layers_have_published_shapes(name: str, num_layers: int, shapes: list[tuple[int, ...]]) -> None:
    space = make_space(SpaceSpec(name=name, input_size=224, num_classes=1000))
    assert len(space.decisions) == num_layers
    blocks = space.blocks((0,) * num_layers)
    first = space.segments[0].slots.start
    found = [(b.in_channels, b.out_channels, b.input_size, b.stride) for b in blocks[first : first + 2]]
    assert found == shapes


def test_mobilefacenet_has_15_layers_and_a_global_depthwise_convolution_of_7_pixels() -> None:
    space = make_space(SpaceSpec(name="mobilefacenet", input_size=112, num_classes=128))
    assert [len(d.choices) for d in space.decisions] == [7] * 15
    *_, pooling, embedding = space.blocks((0,) * 15)
    assert (pooling.input_size, pooling.in_channels, embedding.out_channels) == (7, 512, 128)


def test_nasbench201_size_is_the_published_one() -> None:
    """The benchmark's all-conv3x3 cell: 220.12 million FLOPs and 1.532 million parameters at 32 px, 10 classes."""
    space = make_space(SpaceSpec(name="nasbench201", input_size=32, num_classes=10))
    cost = GraphCosts(space).of((3,) * 6)
    assert cost.params == pytest.approx(1.532e6, rel=0.002)
    assert cost.macs == pytest.approx(220.12e6, rel=0.005)
