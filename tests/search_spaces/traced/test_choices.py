"""What can be chosen: widths by a ladder, residual branches, kernels; and what a user pins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from traced_checks import drawn, images_of, lively, require_equal_costs, require_same_forms, space_of
from traced_zoo import ConvNeXtBlock, InvertedResidual, Residual, Shared, classifier, conv_bn_relu

from search_spaces import Architecture
from search_spaces.traced.graph import TracedNetwork
from search_spaces.traced.groups import Group, find_groups
from search_spaces.traced.importance import ranked_units
from search_spaces.traced.ladder import Pins, widths
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace

SHAPE = (3, 8, 8)


def _residuals() -> nn.Module:
    torch.manual_seed(0)
    return lively(classifier(nn.Sequential(Residual(16, 16), Residual(16, 16), InvertedResidual(16, 32)), 16), SHAPE)


@pytest.fixture(scope="module")
def space() -> TracedSpace:
    return space_of(_residuals(), SHAPE)


def _with(space: TracedSpace, **choices: int) -> Architecture:
    names = [d.name for d in space.decisions]
    row = list(space.original)
    for name, choice in choices.items():
        row[names.index(name.replace("__", "."))] = choice
    return tuple(row)


def test_decisions_are_named_after_modules_in_the_order_they_run(space: TracedSpace) -> None:
    assert [d.name for d in space.decisions] == [
        *("0.0.width", "1.0.conv1.width", "1.0.branch", "1.1.conv1.width", "1.1.branch"),
        *("1.2.expand.0.width", "1.2.branch", "1.2.depthwise.0.kernel"),
    ]
    choices = {d.name: d.choices for d in space.decisions}
    assert choices["0.0.width"] == ("16", "8") and choices["1.2.depthwise.0.kernel"] == ("5", "3")
    assert choices["1.2.expand.0.width"] == ("32", "24", "16", "8")
    assert choices["1.0.branch"] == ("kept", "left out")


def test_a_branch_that_is_left_out_leaves_what_it_is_added_to(space: TracedSpace) -> None:
    module, images = _residuals(), images_of(space)
    architecture = _with(space, **{"1__1__branch": 1})
    body = module[1]
    with torch.inference_mode():
        expected = nn.Sequential(module[0], body[0], nn.ReLU(), body[2], *module[2:])(images)
        found = space.supernet().eval()(images, architecture)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    names = {tensor.name for tensor in space.slice_of(architecture).graph.tensors}
    assert not any(name.startswith("1.1.") for name in names)
    for pattern in ((1, 1, 1), (1, 0, 1), (0, 1, 1), (1, 1, 0)):
        chosen = {f"1__{i}__branch": choice for i, choice in enumerate(pattern)}
        require_same_forms(space, space.supernet().eval(), _with(space, **chosen), None)
        require_equal_costs(space, _with(space, **chosen))


def test_choices_inside_a_branch_that_is_left_out_say_nothing(space: TracedSpace) -> None:
    out = _with(space, **{"1__2__branch": 1, "1__2__expand__0__width": 2, "1__2__depthwise__0__kernel": 1})
    assert space.canonical(out) == _with(space, **{"1__2__branch": 1})
    assert space.blocks(out) == space.blocks(_with(space, **{"1__2__branch": 1}))
    shared = _with(space, **{"1__2__branch": 1, "0__0__width": 1})
    assert space.canonical(shared) == shared, "the width of the sum is of others too"


def test_a_smaller_kernel_is_the_middle_of_the_larger(space: TracedSpace) -> None:
    module, images = _residuals(), images_of(space)
    architecture = _with(space, **{"1__2__depthwise__0__kernel": 1})
    depthwise = module[1][2].depthwise[0]
    with torch.inference_mode():
        weight = torch.zeros_like(depthwise.weight)
        weight[:, :, 1:-1, 1:-1] = depthwise.weight[:, :, 1:-1, 1:-1]
        depthwise.weight.copy_(weight)
        torch.testing.assert_close(space.supernet().eval()(images, architecture), module(images), rtol=1e-4, atol=1e-5)
    assert space.build(architecture)[0].get_submodule("1.2.depthwise.0").kernel_size == (3, 3)


def test_widths_of_tied_layers_go_together(space: TracedSpace) -> None:
    narrow = space.build(_with(space, **{"0__0__width": 1}))[0]
    assert narrow.get_submodule("0.0").out_channels == 8
    assert narrow.get_submodule("1.0.conv2").out_channels == narrow.get_submodule("1.1.conv2").out_channels == 8
    assert narrow.get_submodule("4").in_features == 8 and narrow.get_submodule("4").out_features == 5


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        (("1.0.*",), {"1.1.branch", "1.1.conv1.width", "1.2.branch", "1.2.expand.0.width", "1.2.depthwise.0.kernel"}),
        (("1.*",), set()),
        (
            ("*depthwise*",),
            {"0.0.width", "1.0.branch", "1.0.conv1.width", "1.1.branch", "1.1.conv1.width"},
        ),
        (("nothing",), None),
        (("1.0", "1.2"), {"1.1.branch", "1.1.conv1.width"}),
    ],
)
def test_what_is_frozen_stays_whole(freeze: tuple[str, ...], expected: set[str] | None) -> None:
    module = _residuals()
    frozen = space_of(module, SHAPE, Pins(freeze=freeze))
    names = {d.name for d in frozen.decisions}
    if expected is None:
        assert names == {d.name for d in space_of(module, SHAPE).decisions}
    else:
        assert names == expected
    supernet = frozen.supernet().eval()
    for architecture in drawn(frozen, 3):
        require_same_forms(frozen, supernet, architecture, None)
        kept = {tensor.name: tensor.shape for tensor in frozen.slice_of(architecture).graph.tensors}
        whole = {tensor.name: tensor.shape for tensor in frozen.network.graph.tensors}
        for name in whole:
            if Pins(freeze=freeze).holds(name):
                assert kept[name] == whole[name], name


def test_a_network_of_which_everything_is_frozen_has_one_architecture() -> None:
    module = _residuals()
    frozen = space_of(module, SHAPE, Pins(freeze=("*",)))
    assert frozen.decisions == () and frozen.num_architectures == 1
    images = images_of(frozen)
    with torch.inference_mode():
        torch.testing.assert_close(frozen.supernet().eval()(images, ()), module(images))
    require_equal_costs(frozen, ())


def _group(num: int, unit_size: int = 1) -> Group:
    return Group(name="g", units=tuple(range(1, num + 1)), unit_size=unit_size, layers=("g.weight",))


@pytest.mark.parametrize(
    ("group", "pins", "expected"),
    [
        (_group(64), Pins(), (64, 56, 48, 40, 32, 24, 16)),
        (_group(16), Pins(), (16, 8)),
        (_group(8), Pins(), (8,)),
        (_group(5), Pins(), (5,)),
        (_group(100), Pins(step=4, shares=(0.5,)), (100, 48)),
        (_group(12), Pins(step=1, shares=(0.5, 0.25)), (12, 6, 3)),
        (_group(64), Pins(shares=(0.3, 0.3)), (64, 16)),
        (_group(4, 32), Pins(), (4, 3, 2, 1)),
        (_group(64), Pins(freeze=("g",)), (64,)),
    ],
)
def test_widths_are_multiples_of_the_step(group: Group, pins: Pins, expected: tuple[int, ...]) -> None:
    assert widths(group, pins) == expected


def _with_zeros(module: nn.Module, names: dict[str, list[int]]) -> TracedNetwork:
    """A traced network whose rows of those tensors are zeros."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            if name in names:
                value[names[name]] = 0
    return trace(module, SHAPE)


def test_units_whose_weights_are_zero_come_last() -> None:
    module = lively(nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 6, 3), nn.Flatten()), SHAPE)
    with torch.no_grad():
        module[2].weight[:, [1, 4]] = 0
    network = _with_zeros(module, {"0.weight": [1, 4], "0.bias": [1, 4]})
    sliced = find_groups(network.graph)
    (ranks,) = ranked_units(sliced, network.values)
    channel_of = {unit: i for i, unit in enumerate(sliced.tensors["0.bias"][0].tolist())}  # type: ignore[union-attr]
    assert sorted(channel_of[unit] for unit in ranks[-2:]) == [1, 4]


def test_ranks_say_which_channels_stay() -> None:
    torch.manual_seed(0)
    module = lively(classifier(conv_bn_relu(16, 24, 3), 24), SHAPE)
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(module[1][1], name)[:8] = 0
        module[1][0].weight[:8] = 0
        module[4].weight[:, :8] = 0
    space = space_of(module, SHAPE)
    names = [d.name for d in space.decisions]
    architecture = tuple(1 if name == "1.0.width" else 0 for name in names)
    assert space.decisions[names.index("1.0.width")].choices[1] == "16"
    images = images_of(space)
    with torch.inference_mode():
        torch.testing.assert_close(space.supernet().eval()(images, architecture), module(images), rtol=1e-4, atol=1e-5)


def test_a_branch_whose_layer_is_used_elsewhere_is_kept() -> None:
    torch.manual_seed(0)
    shared = nn.Conv2d(16, 16, 3, padding=1)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = shared

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x + torch.relu(self.conv(x))
            return x + torch.tanh(self.conv(x))

    space = space_of(lively(classifier(Twice(), 16), SHAPE), SHAPE)
    assert not [d.name for d in space.decisions if d.name.endswith("branch")]
    for architecture in drawn(space, 3):
        require_equal_costs(space, architecture)


def test_layers_keep_the_names_that_the_module_gives_them(space: TracedSpace) -> None:
    module = _residuals()
    network = space.build(space.original)[0]
    own = {name for name, _ in module.named_parameters()}
    assert {name for name, _ in network.named_parameters()} == own
    network.load_state_dict(module.state_dict(), strict=True)


@pytest.mark.parametrize("make", [lambda: ConvNeXtBlock(16), lambda: Shared(16)])
def test_groups_of_one_axis_are_never_empty(make: object) -> None:
    space = space_of(lively(classifier(make(), 16), SHAPE), SHAPE, Pins(step=1, shares=(0.0, 0.01)))  # type: ignore[operator]
    last = tuple(len(d.choices) - 1 for d in space.decisions)
    require_same_forms(space, space.supernet().eval(), last, None)
    assert all(min(own) >= 1 for own in space.elastic.widths)


def test_samples_choose_everything(space: TracedSpace) -> None:
    rows = space.sample_many(300, np.random.default_rng(0))
    for column, decision in zip(rows.T, space.decisions, strict=True):
        assert set(column.tolist()) == set(range(len(decision.choices)))


def test_widths_are_scaled_alike_step_by_step() -> None:
    """All widths of a network are as near to one share as what is offered; a single one differs in the next network."""
    torch.manual_seed(0)
    module = nn.Sequential(Residual(16, 64, 2, "project"), Residual(64, 64))
    space = space_of(lively(classifier(module, 64), SHAPE), SHAPE)
    columns = [i for i, decision in enumerate(space.decisions) if decision.name.endswith(".width")]
    offered = [np.array(list(map(int, space.decisions[i].choices))) for i in columns]
    networks = space.scaled_alike()
    assert len(networks) == 1 + sum(len(own) - 1 for own in offered) and networks[0] == space.original
    for one, other in pairwise(networks):
        assert sorted(np.subtract(other, one).tolist()) == [0] * (len(one) - 1) + [1]
    for network in networks:
        assert all(network[i] == 0 for i in range(len(network)) if i not in columns)
        assert any(_is_nearest(network, columns, offered, share) for share in np.arange(0, 1.0001, 1 / 64)), network


def _is_nearest(network: Architecture, columns: list[int], offered: list[np.ndarray], share: float) -> bool:
    """Whether no width that is offered is nearer to a share of the whole than the network's."""
    distances = [np.abs(widths - share * widths[0]) for widths in offered]
    return all(own[network[i]] == own.min() for i, own in zip(columns, distances, strict=True))
