"""Chains with a head for every point or pixel, beside what the contract suite asks of every space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from general_blocks import Patches, TokenMlp
from samples import bare_table, small_spec
from torch import nn

from hwnas.training.inheritance import inherit_weights
from lut import LatencyModel, TableError, load_table, save_table
from search_spaces import Block, SearchSpace, SpaceError, SpaceSpec, make_space
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.detection import DetectionHead
from search_spaces.blocks.head import Classifier
from search_spaces.chain import ChainSpace
from search_spaces.dense import DenseSpace
from search_spaces.onnx_export import export_network
from search_spaces.supernet import MixableSupernet

HEADS = ("detection", "segmentation")
CHAINS = ("fbnet-s", "nasbench-macro")


def _dense(name: str, head: str, **changes: object) -> DenseSpace:
    space = make_space(small_spec(name, head=head, **changes))
    assert isinstance(space, DenseSpace)
    return space


def _lively(network: nn.Module) -> nn.Module:
    """The network in evaluation with statistics and weights with which nothing vanishes."""
    generator = torch.Generator().manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                assert tensor is not None
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return network.eval()


@pytest.mark.parametrize("name", CHAINS)
def test_a_detector_gives_distances_and_classes_of_every_point(name: str) -> None:
    space = _dense(name, "detection", num_classes=7)
    network = _lively(space.build(space.sample(np.random.default_rng(0))))
    out_NPC = network(torch.randn(2, 1, 16, 16))
    num_points = sum(tap.shape[1] * tap.shape[2] for tap in space.head.taps)
    assert out_NPC.shape == (2, num_points, 4 + 7)
    assert (out_NPC[..., :4] > 0).all()
    grid = space.point_grid
    assert (len(grid.points_P2), len(grid.strides_P)) == (num_points, num_points)
    assert grid.strides_P.unique().tolist() == [2.0, 4.0, 8.0]


def test_new_detectors_take_nearly_every_point_for_background() -> None:
    space = _dense("nasbench-macro", "detection")
    out_NPC = space.build((0,) * len(space.decisions)).eval()(torch.randn(4, 1, 16, 16))
    assert 0.005 < torch.sigmoid(out_NPC[..., 4:]).mean() < 0.02


@pytest.mark.parametrize("name", CHAINS)
def test_segmentation_gives_logits_at_the_resolution_of_the_input(name: str) -> None:
    space = _dense(name, "segmentation", num_classes=7)
    network = _lively(space.build(space.sample(np.random.default_rng(0))))
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 7, 16, 16)
    with pytest.raises(SpaceError, match="expected a detection head, whose outputs are of points"):
        _ = space.point_grid


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", CHAINS)
def test_exported_networks_compute_what_torch_does(name: str, head: str, tmp_path: Path) -> None:
    space = _dense(name, head)
    architecture = space.sample(np.random.default_rng(1))
    path = export_network(space, architecture, tmp_path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert len(session.get_outputs()) == 1
    x_NCHW = torch.randn(1, 1, 16, 16)
    # The weights that the file was made with: from the seed that its name has.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(path.stem.partition("-")[2][:8], 16))
        network = space.build(architecture).eval()
    (found,) = session.run(None, {"input": x_NCHW.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), network(x_NCHW).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_classifying_end_is_left_out_with_its_weights(head: str) -> None:
    chain, space = make_space(small_spec("nasbench-macro")), _dense("nasbench-macro", head)
    assert {b.family for b in chain.candidates} - {b.family for b in space.candidates} == {"head"}
    assert not any("backbone.head" in name for name in space.supernet().state_dict())


def test_the_pyramid_is_of_the_last_block_of_each_of_the_last_resolutions() -> None:
    space = make_space(SpaceSpec(name="fbnet-s", input_size=128, num_classes=10, head="detection"))
    assert isinstance(space, DenseSpace)
    assert [(tap.shape, tap.stride) for tap in space.head.taps] == [
        ((32, 16, 16), 8),
        ((112, 8, 8), 16),
        ((352, 4, 4), 32),
    ]
    assert [d.name for d in space.decisions[-2:]] == ["neck.width", "head.depth"]
    blocks = space.blocks((0,) * 22 + (2, 1))
    assert [b.family for b in blocks[-7:]] == ["lateral", *["top_down"] * 2, *["detection_head"] * 3, "points"]
    assert [b.level for b in blocks if isinstance(b, DetectionHead)] == [(64, 16, 16), (64, 8, 8), (64, 4, 4)]


@pytest.mark.parametrize(("size", "strides"), [(100, [8, 16, 32]), (37, [2, 4, 8])])
def test_strides_are_those_of_the_layers_where_they_do_not_divide_the_image(size: int, strides: list[int]) -> None:
    space = _dense("fbnet-s", "detection", input_size=size)
    assert [tap.stride for tap in space.head.taps] == strides


@pytest.mark.parametrize("head", HEADS)
def test_mixing_one_choice_of_each_decision_is_its_network(head: str) -> None:
    space = _dense("nasbench-macro", head)
    supernet = space.supernet()
    assert isinstance(supernet, MixableSupernet)
    x_NCHW, architecture = torch.randn(4, 1, 16, 16), space.sample(np.random.default_rng(2))
    weights = [{choice: torch.ones(())} for choice in architecture]
    torch.testing.assert_close(supernet.forward_mixed(x_NCHW, weights), supernet(x_NCHW, architecture))


def test_mixtures_are_weighted_sums_that_give_gradients_to_the_weights() -> None:
    space = _dense("nasbench-macro", "detection")
    supernet = space.supernet().eval()
    assert isinstance(supernet, MixableSupernet)
    x_NCHW, one = torch.randn(2, 1, 16, 16), (1,) * len(space.decisions)
    logits = torch.zeros(2, requires_grad=True)
    shares = dict(enumerate(torch.softmax(logits, dim=0)))
    weights = [{1: torch.ones(())} for _ in one[:-1]] + [shares]
    mixed = supernet.forward_mixed(x_NCHW, weights)
    both = [supernet(x_NCHW, (*one[:-1], depth)) for depth in (0, 1)]
    torch.testing.assert_close(mixed, (both[0] + both[1]) / 2)
    mixed.sum().backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0


def test_depths_of_a_head_share_their_weights_and_widths_do_not() -> None:
    space = _dense("nasbench-macro", "detection")
    supernet = space.supernet()
    start = (0,) * len(space.chain.decisions)

    def head_weights(*choices: int) -> set[int]:
        modules = supernet.path((*start, *choices))
        chain = {id(p) for p in supernet.backbone.parameters()}
        return {id(p) for module in modules for p in module.parameters()} - chain

    assert head_weights(0, 0) < head_weights(0, 1)
    assert not head_weights(0, 1) & head_weights(1, 1)


@pytest.mark.parametrize("name", ["sgnas", "ofa-mobilenetv3"])
def test_slices_of_weights_are_trained_through_the_taps(name: str) -> None:
    space = _dense(name, "detection")
    assert space.is_elastic
    supernet, rng = space.supernet().train(), np.random.default_rng(0)
    x_NCHW, architecture = torch.randn(4, 1, 16, 16), space.sample(rng)
    supernet(x_NCHW, architecture).sum().backward()
    first = next(p for name, p in supernet.named_parameters() if name.startswith("backbone.slots.0"))
    assert first.grad is not None and first.grad.abs().sum() > 0
    network = space.build(architecture).train()
    inherit_weights(network, supernet, architecture)
    torch.testing.assert_close(network(x_NCHW), supernet(x_NCHW, architecture), rtol=1e-4, atol=1e-5)


def test_what_is_no_chain_is_refused() -> None:
    with pytest.raises(SpaceError, match="detection head is for spaces whose blocks run one after the other"):
        _dense("nasbench201", "detection")
    with pytest.raises(SpaceError, match="head must be one of classifier, detection, segmentation; got 'boxes'"):
        small_spec("fbnet-s", head="boxes")


def _own(spec: SpaceSpec) -> ChainSpace:
    """A chain of one resolution."""
    shape = {"in_channels": 8, "out_channels": 8, "input_size": spec.side}
    stem = ConvBnAct(in_channels=spec.in_channels, out_channels=8, input_size=spec.side, kernel=3)
    layers = [[ConvBnAct(**shape, kernel=k) for k in (1, 3)] for _ in range(2)]
    head = Classifier(in_channels=8, out_channels=spec.num_classes, input_size=spec.side)
    return ChainSpace(spec, stem=[stem], layers=layers, choice_names=["k1", "k3"], head=[head])


def _of_tokens(spec: SpaceSpec) -> ChainSpace:
    """A chain whose blocks give no feature maps."""
    layers = [[TokenMlp(tokens=12, hidden=hidden) for hidden in (8, 16)]]
    return ChainSpace(spec, stem=[Patches()], layers=layers, choice_names=["a", "b"], head=[TokenMlp(tokens=12)])


@pytest.mark.parametrize("head", HEADS)
def test_chains_without_feature_maps_of_two_resolutions_are_refused(head: str) -> None:
    spec = small_spec("own", head=head)
    with pytest.raises(SpaceError, match=r"2 or more resolutions, .* found 1; give larger images, or a space with"):
        DenseSpace(spec, _own(replace(spec, head="classifier")))
    tokens = replace(spec, input_size=(6, 8), in_channels=3)
    with pytest.raises(SpaceError, match=r"expected feature maps of one shape .* found \(12, 8\)"):
        DenseSpace(tokens, _of_tokens(replace(tokens, head="classifier")))


YAML = """
stem: [{conv: {kernel: 3}, out: 16}]
layers:
  - {out: 24, stride: 2, repeat: 2, choices: [{mbconv: {kernel: 3, expansion: 3}}, skip]}
  - {out: 40, stride: 2, choices: [{mbconv: {kernel: 5, expansion: 3}}, skip]}
head: [{conv: {kernel: 1}, out: 64}, classifier]
"""

CODE = """
from search_spaces.nasbench_macro import nasbench_macro

def mine(spec):
    return nasbench_macro(spec)
"""


@pytest.mark.parametrize("head", HEADS)
def test_yaml_spaces_and_spaces_of_ones_own_take_heads(head: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(YAML)
    (tmp_path / "mine.py").write_text(CODE)
    for name in (f"{tmp_path}/s.yaml", f"{tmp_path}/mine.py:mine"):
        space = _dense(name, head)
        network = space.build(space.sample(np.random.default_rng(0)))
        assert network(torch.randn(2, 1, 16, 16)).shape[0] == 2
        assert "classifier" not in {b.family for b in space.candidates}


@dataclass(frozen=True, kw_only=True)
class Halved(Block):
    """A strided convolution of rectangles."""

    family: ClassVar[str] = "halved"

    shape: tuple[int, ...]
    kernel: int

    @property
    def key(self) -> str:
        return f"halved({self.shape},k={self.kernel})"

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.shape,)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (8, *(-(-side // 2) for side in self.shape[1:]))

    def build(self) -> nn.Module:
        return nn.Conv2d(self.shape[0], 8, self.kernel, 2, self.kernel // 2)


@pytest.mark.parametrize("head", HEADS)
def test_rectangles_take_heads(head: str) -> None:
    spec = SpaceSpec(name="own", input_size=(20, 33), num_classes=3)
    shapes = [(3, 20, 33), (8, 10, 17), (8, 5, 9)]
    layers = [[Halved(shape=shape, kernel=kernel) for kernel in (1, 3)] for shape in shapes]
    chain = ChainSpace(spec, stem=[], layers=layers, choice_names=["k1", "k3"], head=[])
    space = DenseSpace(replace(spec, head=head), chain)
    network = space.build(space.sample(np.random.default_rng(0)))
    out = network(torch.randn(2, 3, 20, 33))
    if head == "segmentation":
        assert out.shape == (2, 3, 20, 33)
    else:
        assert out.shape == (2, 10 * 17 + 5 * 9 + 3 * 5, 4 + 3)
        assert space.point_grid.points_P2[[0, 1, 17, 170]].tolist() == [[1, 1], [3, 1], [1, 3], [2, 2]]


def test_specs_of_classifiers_are_written_as_they_ever_were() -> None:
    assert "head" not in small_spec("fbnet-s").as_dict()
    spec = small_spec("fbnet-s", head="detection")
    assert SpaceSpec(**spec.as_dict()) == spec
    assert str(spec).endswith("width 0.25, detection head")


@pytest.mark.parametrize("head", HEADS)
def test_tables_come_back_with_their_head_and_are_of_no_other(head: str, tmp_path: Path) -> None:
    space: SearchSpace = _dense("nasbench-macro", head)
    save_table(bare_table(space), tmp_path / "t.json")
    table = load_table(tmp_path / "t.json")
    again = make_space(table.space)
    assert again.candidates == space.candidates
    rows = space.sample_many(4, np.random.default_rng(0))
    assert (LatencyModel(again, table).predict_ms(rows) > 0).all()
    with pytest.raises(TableError, match=f"{head} head; this search is for .*width 0.25. Build .* --width 0.25 --dev"):
        LatencyModel(make_space(small_spec("nasbench-macro")), table)
    save_table(bare_table(make_space(small_spec("nasbench-macro"))), tmp_path / "c.json")
    assert '"head":"' not in (tmp_path / "c.json").read_text()
    with pytest.raises(TableError, match=f"Build a table for it: hwnas profile .* --head {head} "):
        LatencyModel(space, load_table(tmp_path / "c.json"))
