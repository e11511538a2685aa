"""Every block family: shapes, keys, costs, and ONNX parity."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from general_blocks import GENERAL_BLOCKS
from hypothesis import given, settings
from hypothesis import strategies as st

from onnx_models.export import export_module, input_names
from search_spaces import SPACES, Block, SpaceError, SpaceSpec, make_space
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.detection import DetectionHead, Lateral, Points, TopDown
from search_spaces.blocks.head import Head
from search_spaces.blocks.layers import make_divisible
from search_spaces.blocks.mbconv import MBConv
from search_spaces.blocks.segmentation import GatedContext, PixelClassifier, Upsample
from search_spaces.blocks.skip import Skip
from search_spaces.cost import block_cost
from search_spaces.yaml_space import FAMILIES

_ACTS = ["relu", "relu6", "hswish", "silu"]
_SHAPE = {
    "in_channels": st.sampled_from([4, 8, 16]),
    "out_channels": st.sampled_from([4, 8, 16]),
    "input_size": st.integers(1, 9),
    "stride": st.sampled_from([1, 2]),
}
BLOCKS = st.one_of(
    st.builds(
        MBConv,
        **_SHAPE,
        kernel=st.sampled_from([3, 5, 7]),
        expansion=st.sampled_from([1, 3, 6]),
        groups=st.sampled_from([1, 2]),
        act=st.sampled_from(_ACTS),
        se_ratio=st.sampled_from([0.0, 0.25]),
    ),
    st.builds(ConvBnAct, **_SHAPE, kernel=st.sampled_from([1, 3, 5]), act=st.sampled_from([*_ACTS, "none"])),
    st.builds(Skip, **_SHAPE),
    st.builds(Head, **{**_SHAPE, "stride": st.just(1)}, hidden=st.sampled_from([4, 12]), act=st.sampled_from(_ACTS)),
)


DENSE_BLOCKS: tuple[Block, ...] = (
    Lateral(feature=(12, 3, 4), width=8),
    TopDown(feature=(6, 5, 8), coarse=(3, 4), width=8),
    DetectionHead(level=(8, 5, 8), depth=2, num_classes=3),
    Points(num_classes=3, points=(40, 12)),
    GatedContext(feature=(12, 3, 4), width=8),
    PixelClassifier(feature=(6, 9, 15), coarse=(3, 4), width=8, num_classes=3),
    Upsample(feature=(3, 9, 15), size=(18, 29)),
)
"""Of heads that tell something of every point or pixel, on rectangles whose levels do not divide each other."""


@given(block=BLOCKS)
@settings(max_examples=60, deadline=None)
def test_output_has_the_promised_shape(block: Block) -> None:
    _require_promised_shape(block)


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in sorted(SPACES) if name != "sgnas"),
        pytest.param("sgnas", marks=pytest.mark.slow),  # more than 800 blocks
    ],
)
def test_every_block_of_every_space_gives_the_promised_shape(name: str) -> None:
    blocks = make_space(SpaceSpec(name=name, input_size=32, num_classes=10)).candidates
    with torch.device("meta"):
        for block in blocks:
            _require_promised_shape(block)


@pytest.mark.parametrize("block", [*GENERAL_BLOCKS, *DENSE_BLOCKS], ids=lambda block: block.family)
def test_blocks_of_other_shapes_give_them(block: Block) -> None:
    _require_promised_shape(block)


def test_every_family_is_in_some_space() -> None:
    spaces = [make_space(SpaceSpec(name=name, input_size=32, num_classes=10)) for name in SPACES]
    assert set(FAMILIES.values()) <= {type(block) for space in spaces for block in space.candidates}


def _require_promised_shape(block: Block) -> None:
    out = block.build().eval()(*(torch.randn(2, *shape) for shape in block.input_shapes))
    assert tuple(out.shape) == (2, *block.output_shape), block.key


@given(block=BLOCKS, other=BLOCKS)
@settings(max_examples=200, deadline=None)
def test_keys_are_equal_only_for_equal_blocks_or_identities(block: Block, other: Block) -> None:
    same = block == other or (block.is_identity and other.is_identity)
    assert (block.key == other.key) == same


@given(block=BLOCKS)
@settings(max_examples=60, deadline=None)
def test_every_field_that_changes_the_graph_changes_the_key(block: Block) -> None:
    changes = {"in_channels": 32, "out_channels": 32, "input_size": 32, "kernel": 9, "expansion": 2, "hidden": 99}
    for field in fields(block):
        if field.name in changes and not block.is_identity:
            assert replace(block, **{field.name: changes[field.name]}).key != block.key, field.name


def test_depthwise_separable_cost_by_hand() -> None:
    block = MBConv(in_channels=8, out_channels=16, input_size=10, stride=2, kernel=3, expansion=3)
    expand, depthwise, project = 8 * 24 * 100, 9 * 24 * 25, 24 * 16 * 25
    assert block_cost(block).macs == expand + depthwise + project
    assert block_cost(block).params == 8 * 24 + 9 * 24 + 24 * 16 + 2 * (24 + 24 + 16)


def test_groups_halve_the_pointwise_convolutions() -> None:
    whole = MBConv(in_channels=8, out_channels=8, input_size=4, kernel=3, expansion=1)
    assert block_cost(whole).macs - block_cost(replace(whole, groups=2)).macs == 2 * (8 * 8 * 16) // 2


def test_grouped_mbconv_mixes_channels_between_groups() -> None:
    block = MBConv(in_channels=4, out_channels=8, input_size=2, kernel=3, expansion=1, groups=2).build().eval()
    for parameter in block.parameters():
        parameter.data.fill_(1.0)  # nothing for an activation to cut off
    x = torch.ones(1, 4, 2, 2, requires_grad=True)
    block(x)[:, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=(0, 2, 3)) > 0).sum() > 2  # output 0 sees more than its own group's two inputs


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MBConv(in_channels=8, out_channels=8, input_size=8, kernel=4, expansion=3), "kernel must be one of"),
        (lambda: MBConv(in_channels=7, out_channels=8, input_size=8, kernel=3, expansion=1, groups=2), "do not divide"),
        (
            lambda: ConvBnAct(in_channels=0, out_channels=8, input_size=8, kernel=3),
            "at least 1 and at most .*, got 0",
        ),
        (lambda: Head(in_channels=8, out_channels=8, input_size=8, hidden=8, act="gelu"), "act must be one of"),
        (lambda: Lateral(feature=(8, 4), width=8), r"lateral.feature must be channels, height and width .*\(8, 4\)"),
        (lambda: TopDown(feature=(8, 4, 4), coarse=(2, 0), width=8), "top_down.coarse must be height and width"),
        (lambda: DetectionHead(level=(8, 4, 4), depth=0, num_classes=3), "depth must be at least 1"),
        (lambda: Points(num_classes=3, points=()), r"points.points must be counts of at least 1, got \(\)"),
        (lambda: Upsample(feature=(3, 4, 4), size=(8,)), "upsample.size must be height and width"),
    ],
)
def test_impossible_blocks_are_refused(make: object, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(("channels", "expected"), [(19.2, 24), (28.8, 32), (48, 48), (134.4, 136), (192, 192), (3, 8)])
def test_make_divisible_agrees_with_published_widths(channels: float, expected: int) -> None:
    assert make_divisible(channels) == expected


def _parity(block: Block, folder: Path) -> float:
    """Largest difference between torch and onnxruntime, with statistics as training would leave them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inputs = [torch.randn(1, *shape) for shape in block.input_shapes]
        module = block.build().eval()
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape))
    path = folder / "block.onnx"
    export_module(module, path, input_shapes=[tuple(x.shape) for x in inputs])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = input_names(len(inputs))
    assert [node.name for node in session.get_inputs()] == names
    (found,) = session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
    with torch.inference_mode():
        expected = module(*inputs).numpy()
    assert expected.shape == (1, *block.output_shape), block.key
    return float(np.abs(expected - found).max() / max(1.0, np.abs(expected).max()))


def _distinct_blocks(name: str, input_size: int, num_classes: int) -> list[Block]:
    space = make_space(SpaceSpec(name=name, input_size=input_size, num_classes=num_classes))
    return list({b.key: b for b in space.candidates if not b.is_identity}.values())


SIZES = ("in", "out", "hw", "hidden", "heads")
"""Names that keys have of sizes."""


def _kind(block: Block) -> tuple[object, ...]:
    """What makes the graph of a block another, whatever its sizes: family, fields, which kernels, and a residual."""
    named = dict(re.findall(r"(\w+)=([^,)]+)", block.key))
    has_expansion = named.pop("e", "1") != "1"
    kept = frozenset((name, frozenset(value.split("-"))) for name, value in named.items() if name not in SIZES)
    return block.family, kept, has_expansion, block.input_shapes == (block.output_shape,)


@pytest.mark.parametrize("name", sorted(SPACES))
def test_blocks_of_every_kind_export_and_agree_with_torch(name: str, tmp_path: Path) -> None:
    """One of each kind; the slow test below has others."""
    blocks = {_kind(b): b for b in _distinct_blocks(name, 32, 10)}.values()
    differences = {b.key: _parity(b, tmp_path) for b in blocks}
    assert max(differences.values()) < 1e-4, max(differences, key=lambda key: differences[key])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SPACES))
def test_distinct_blocks_agree_at_imagenet_size(name: str, tmp_path: Path) -> None:
    """All blocks of small spaces, and of large ones a fifth or an eleventh, the first and the last among them."""
    blocks = _distinct_blocks(name, 224, 1000)
    chosen = {*blocks[:: 1 if len(blocks) < 40 else 5 if len(blocks) < 300 else 11], blocks[-1]}
    differences = {b.key: _parity(b, tmp_path) for b in chosen}
    assert max(differences.values()) < 1e-4, max(differences, key=lambda key: differences[key])


@pytest.mark.parametrize("block", [*GENERAL_BLOCKS, *DENSE_BLOCKS], ids=lambda block: block.family)
def test_blocks_of_other_shapes_agree_with_torch(block: Block, tmp_path: Path) -> None:
    assert _parity(block, tmp_path) < 1e-4


@given(block=BLOCKS.filter(lambda b: not b.is_identity))
@settings(max_examples=25, deadline=None)
def test_random_blocks_agree_with_torch(block: Block, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert _parity(block, tmp_path_factory.mktemp("onnx")) < 1e-4
