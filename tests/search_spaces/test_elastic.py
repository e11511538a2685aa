"""Networks that are slices of the largest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from search_spaces import SpaceSpec, make_space
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.mixconv import MixConv
from search_spaces.elastic import ElasticMBConv, make_elastic
from search_spaces.ofa_mobilenet_v3 import OfaMobileNetV3

LARGEST = MBConv(in_channels=8, out_channels=8, input_size=9, kernel=7, expansion=6, act="hswish", se_ratio=0.25)


def _random_norms(module: torch.nn.Module) -> None:
    """Statistics and scales as training would leave them, so that no slice equals another."""
    generator = torch.Generator().manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("expansion", [3, 4, 6])
def test_a_cut_block_computes_what_the_slice_computes(kernel: int, expansion: int) -> None:
    elastic = ElasticMBConv(LARGEST).eval()
    _random_norms(elastic)
    for parameter in elastic.to_smaller.values():
        torch.nn.init.normal_(parameter)
    block = MBConv(
        in_channels=8, out_channels=8, input_size=9, kernel=kernel, expansion=expansion, act="hswish", se_ratio=0.25
    )
    x_NCHW = torch.randn(2, 8, 9, 9)
    torch.testing.assert_close(elastic.cut(block).eval()(x_NCHW), elastic(x_NCHW, block))


def test_sorting_channels_leaves_the_largest_block_and_moves_the_heaviest_first() -> None:
    elastic = ElasticMBConv(LARGEST).eval()
    _random_norms(elastic)
    x_NCHW = torch.randn(2, 8, 9, 9)
    before = elastic(x_NCHW, LARGEST)
    elastic.sort_channels()
    torch.testing.assert_close(elastic(x_NCHW, LARGEST), before)
    importance = elastic.project[0].weight.abs().sum(dim=(0, 2, 3))
    assert (importance.diff() <= 1e-6).all()


def test_gradients_reach_the_slice_alone() -> None:
    elastic = ElasticMBConv(LARGEST)
    block = MBConv(in_channels=8, out_channels=8, input_size=9, kernel=3, expansion=3, act="hswish", se_ratio=0.25)
    elastic(torch.randn(2, 8, 9, 9), block).square().sum().backward()
    grad = elastic.expand[0].weight.grad
    assert grad[:24].abs().sum() > 0 and grad[24:].abs().sum() == 0
    assert all(m.grad is not None for m in elastic.to_smaller.values())


def test_running_statistics_of_the_slice_alone_are_updated() -> None:
    elastic = ElasticMBConv(LARGEST).train()
    block = MBConv(in_channels=8, out_channels=8, input_size=9, kernel=5, expansion=4, act="hswish", se_ratio=0.25)
    elastic(torch.randn(2, 8, 9, 9), block)
    mean = elastic.expand[1].running_mean
    assert mean[:32].abs().sum() > 0 and mean[32:].abs().sum() == 0


def test_once_for_all_has_its_published_size_and_widths() -> None:
    space = make_space(SpaceSpec(name="ofa-mobilenetv3", input_size=224, num_classes=1000, width=1.2))
    assert isinstance(space, OfaMobileNetV3)
    assert 2.1e19 < space.num_architectures < 2.2e19  # the paper: about 2 x 10^19
    largest = tuple(len(d.choices) - 1 for d in space.decisions)
    channels = [b.out_channels for b in space.blocks(largest)]
    assert [channels[i] for i in (1, 5, 9, 13, 17, 21)] == [24, 32, 48, 96, 136, 192]
    assert channels[-4:] == [1152, 1152, 1536, 1000]


def test_layers_beyond_the_depth_do_not_matter() -> None:
    space = make_space(SpaceSpec(name="ofa-mobilenetv3", input_size=32, num_classes=10))
    rng = np.random.default_rng(0)
    one = list(space.sample(rng))
    one[0] = 0  # depth 2
    other = list(one)
    other[3:5] = [(c + 1) % 9 for c in one[3:5]]
    assert space.blocks(tuple(one)) == space.blocks(tuple(other))
    assert space.canonical(tuple(one)) == space.canonical(tuple(other))


def test_unified_block_of_mixed_kernels_is_cut_as_it_computes() -> None:
    shape = {"in_channels": 4, "out_channels": 4, "input_size": 7, "act": "relu6"}
    elastic = make_elastic(MixConv(**shape, kernels=(7,) * 6)).train()
    torch.manual_seed(0)
    x_NCHW = torch.randn(3, 4, 7, 7)
    for kernels in ((3, 3), (3, 5, 5, 7), (5,) * 6, (3, 7, 7)):
        block = MixConv(**shape, kernels=kernels)
        torch.testing.assert_close(elastic.cut(block).train()(x_NCHW), elastic(x_NCHW, block))
    # Blocks of other numbers of groups have another BatchNorm behind the projection.
    assert elastic.norms[1].num_batches_tracked == 1 and elastic.norms[4].num_batches_tracked == 0


def test_sgnas_chooses_multisets_of_two_to_six_groups() -> None:
    space = make_space(SpaceSpec(name="sgnas", input_size=224, num_classes=1000))
    sizes = {len(d.choices) for d in space.decisions}
    assert sizes == {80, 81} and len(space.decisions) == 21
    assert space.decisions[1].choices[0] == "k3x2" and space.decisions[1].choices[79] == "k7x6"
