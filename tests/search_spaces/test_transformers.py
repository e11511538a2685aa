"""Blocks and spaces with attention."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from samples import small_spec
from torch import nn

from onnx_models.export import export_module
from search_spaces import Architecture, Block, SearchSpace, SpaceError, SpaceSpec, make_space
from search_spaces.blocks.attention import SelfAttention
from search_spaces.blocks.mlp import Mlp
from search_spaces.blocks.mobilevit import MobileVit
from search_spaces.blocks.patch_embedding import PatchEmbedding
from search_spaces.blocks.stochastic_depth import StochasticDepth
from search_spaces.blocks.tokens import TokenHead
from search_spaces.cost import GraphCosts, block_cost
from search_spaces.elastic import ElasticSlices
from search_spaces.onnx_export import export_block, export_network

TOKENS = {"in_channels": 8, "out_channels": 8, "input_size": 3}
WIDE = {"in_channels": 12, "out_channels": 12, "input_size": 3}
LARGEST_AND_SMALLER: list[tuple[Block, Block]] = [
    (SelfAttention(**WIDE, heads=4, head_width=4), SelfAttention(**TOKENS, heads=3, head_width=4)),
    (Mlp(**WIDE, ratio=4.0), Mlp(**TOKENS, ratio=3.5)),
    (
        PatchEmbedding(in_channels=3, out_channels=12, input_size=12, stride=4),
        PatchEmbedding(in_channels=3, out_channels=8, input_size=12, stride=4),
    ),
    (
        TokenHead(in_channels=12, out_channels=5, input_size=3),
        TokenHead(in_channels=8, out_channels=5, input_size=3),
    ),
]


def _trained(module: nn.Module) -> nn.Module:
    """Weights that are all different, as training would leave them."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize(("largest", "smaller"), LARGEST_AND_SMALLER, ids=lambda block: block.family)
def test_a_slice_is_the_built_block_with_the_leading_weights(largest: Block, smaller: Block) -> None:
    elastic = ElasticSlices(largest)
    _trained(elastic)
    x = torch.randn(2, *smaller.input_shapes[0])
    built = smaller.build()
    whole = dict(elastic.largest.named_parameters())
    for name, parameter in built.named_parameters():
        parameter.data.copy_(whole[name][tuple(map(slice, parameter.shape))])
    torch.testing.assert_close(elastic(x, smaller), built(x))
    torch.testing.assert_close(elastic.cut(smaller)(x), built(x))
    elastic(x, smaller).square().sum().backward()
    for name, parameter in built.named_parameters():
        grad = whole[name].grad
        assert grad is not None
        inside = tuple(map(slice, parameter.shape))
        assert grad[inside].abs().sum() > 0
        torch.testing.assert_close(grad[inside].abs().sum(), grad.abs().sum())


def test_attention_computes_what_torch_computes_with_the_same_weights() -> None:
    block = SelfAttention(in_channels=12, out_channels=12, input_size=3, heads=3, head_width=4)
    module = _trained(block.build())
    state = module.state_dict()
    other = nn.MultiheadAttention(12, 3, batch_first=True)
    by_kind = {}
    for end in ("weight", "bias"):  # heads, then query, key and value: torch has it the other way round
        tensor = state[f"to_heads.{end}"]
        by_kind[f"in_proj_{end}"] = tensor.unflatten(0, (3, 3, 4)).transpose(0, 1).flatten(0, 2)
        by_kind[f"out_proj.{end}"] = state[f"project.{end}"]
    other.load_state_dict(by_kind)
    x_NTD = torch.randn(2, 9, 12)
    normal = nn.functional.layer_norm(x_NTD, (12,), state["norm.weight"], state["norm.bias"])
    expected = x_NTD + other(normal, normal, normal, need_weights=False)[0]
    torch.testing.assert_close(module(x_NTD), expected)


def test_costs_by_hand() -> None:
    attention = SelfAttention(in_channels=8, out_channels=8, input_size=3, heads=2, head_width=5)
    cost = block_cost(attention)
    assert cost.macs == 9 * 8 * 30 + 2 * 9 * 9 * 10 + 9 * 10 * 8
    assert cost.params == 2 * 8 + (8 * 30 + 30) + (10 * 8 + 8)
    assert block_cost(Mlp(**TOKENS, ratio=4.0)).macs == 2 * 9 * 8 * 32
    patches = block_cost(PatchEmbedding(in_channels=3, out_channels=8, input_size=12, stride=4))
    assert (patches.macs, patches.params) == (9 * 48 * 8, 48 * 8 + 8 + 9 * 8)


def test_mobilevit_attends_among_the_same_pixels_of_all_patches() -> None:
    block = MobileVit(in_channels=4, out_channels=4, input_size=6, features=8, depth=1)
    module = block.build()
    x_NDHW = torch.arange(8 * 36.0).reshape(1, 8, 6, 6)
    tokens_NPTD = module._to_tokens(x_NDHW)
    assert tokens_NPTD.shape == (1, 4, 9, 8)
    unfolded = nn.functional.unfold(x_NDHW, 2, stride=2).reshape(1, 8, 4, 9)
    torch.testing.assert_close(tokens_NPTD, unfolded.permute(0, 2, 3, 1))
    torch.testing.assert_close(module._to_map(tokens_NPTD), x_NDHW)
    changed = tokens_NPTD.clone()
    changed[0, 1, 4] += torch.randn(8)
    moved = (_trained(module.transformer)(changed) - module.transformer(tokens_NPTD)).abs().amax(dim=(0, 3))
    assert (moved[1] > 0).all() and (moved[[0, 2, 3]] == 0).all()
    assert MobileVit(in_channels=4, out_channels=4, input_size=3, features=8, depth=1).patch == 1


@pytest.mark.parametrize("name", ["autoformer", "mobilevit"])
def test_branches_are_left_out_of_slices_too(name: str) -> None:
    space = make_space(small_spec(name))
    supernet = space.supernet().train()
    architecture = space.sample(np.random.default_rng(0))
    x_NCHW = torch.randn(4, *space.spec.input_shape)
    branches = [part for part in supernet.modules() if isinstance(part, StochasticDepth)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        assert torch.equal(supernet(x_NCHW, architecture), supernet(x_NCHW, architecture))
        for part in branches:
            part.probability = 0.5
        assert not torch.allclose(supernet(x_NCHW, architecture), supernet(x_NCHW, architecture))
        supernet.eval()
        assert torch.equal(supernet(x_NCHW, architecture), supernet(x_NCHW, architecture))


def test_autoformer_has_the_sizes_of_the_paper() -> None:
    space = make_space(SpaceSpec(name="autoformer", input_size=224, num_classes=1000))
    largest, smallest = space.blocks(_largest(space)), space.blocks((0,) * len(space.decisions))
    assert largest[0].output_shape == (196, 240) and smallest[0].output_shape == (196, 192)
    assert sum(not block.is_identity for block in largest) == 2 + 2 * 14
    assert sum(not block.is_identity for block in smallest) == 2 + 2 * 12
    layer = 4 * 240 + (240 + 1) * 768 + (256 + 1) * 240 + (240 + 1) * 960 + (960 + 1) * 240
    ends = (3 * 16 * 16 + 1) * 240 + 196 * 240 + 2 * 240 + (240 + 1) * 1000
    assert GraphCosts(space).of(_largest(space)).params == 14 * layer + ends
    assert space.num_architectures == 3 * (4**12 + 4**13 + 4**14)


def test_layers_of_autoformer_beyond_the_depth_do_not_matter() -> None:
    space = make_space(small_spec("autoformer"))
    one = (2, 0, *(1,) * 28)
    other = (*one[:-4], 0, 1, 0, 0)
    assert space.canonical(one) == space.canonical(other) == (*one[:-4], 0, 0, 0, 0)
    assert space.blocks(one) == space.blocks(other)
    assert space.canonical((2, 2, *(1,) * 28)) == (2, 2, *(1,) * 28)


def test_mobilevit_contains_the_network_of_the_paper() -> None:
    """MobileViT-XS has 2.3 million parameters (table in the paper's appendix); its head is without BatchNorm there."""
    space = make_space(SpaceSpec(name="mobilevit", input_size=256, num_classes=1000))
    depths = iter((1, 3, 2))  # of 2, 4 and 3 layers
    paper = tuple(d.choices.index("k3_e4") if "k3_e4" in d.choices else next(depths) for d in space.decisions)
    assert [space.describe(paper)[i] for i in (0, 5, 7, 9)] == ["k3_e4", "depth2", "depth4", "depth3"]
    assert 2.25e6 < GraphCosts(space).of(paper).params < 2.36e6
    assert [b.input_shapes[0][1] for b in space.blocks(paper) if b.family == "mobilevit"] == [32, 16, 8]


def _largest(space: SearchSpace) -> Architecture:
    return tuple(len(d.choices) - 1 for d in space.decisions)


def _fused(path: Path, folder: Path) -> Counter[str]:
    """The operators of a model as ONNX Runtime runs it."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3  # it warns that the file is for this machine only
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


ACROSS_BORDERS = {"Add", "ReorderInput", "ReorderOutput"}
"""What is left out where convolutions meet: changes of layout, and residuals that become part of convolutions."""


@pytest.mark.parametrize("name", ["autoformer", "mobilevit"])
def test_blocks_alone_are_fused_as_they_are_in_the_network(name: str, tmp_path: Path) -> None:
    """But for convolutions, and for the last sum of a network of tokens, which becomes part of the head."""
    space = make_space(small_spec(name, input_size=32))
    architecture = tuple(min(3, d.choices.index("skip") - 1) if "skip" in d.choices else 1 for d in space.decisions)
    whole = _fused(export_network(space, architecture, tmp_path), tmp_path)
    apart: Counter[str] = Counter()
    for block in space.blocks(architecture):
        if not block.is_identity:
            apart += _fused(export_block(block, tmp_path), tmp_path)
    if name == "autoformer":
        assert whole.pop("SkipLayerNormalization") == 1
        assert apart == whole + Counter(("Add", "LayerNormalization"))
    else:
        assert {n: num for n, num in (apart - whole).items() if n not in ACROSS_BORDERS} == {}
        assert whole - apart == Counter()
    assert whole["LayerNormalization"] > 0 and whole["FusedMatMul"] > 0
    assert not {"Erf", "Pow", "Sqrt", "Sigmoid"} & set(whole)


def test_graphs_of_open_batches_compute_the_same(tmp_path: Path) -> None:
    """And scale the products by a constant, as those of one batch do."""
    block = SelfAttention(**TOKENS, heads=2, head_width=4)
    module = _trained(block.build()).eval()
    export_module(module, tmp_path / "open.onnx", input_shapes=[(1, 9, 8)], dynamic_batch=True)
    found = _fused(tmp_path / "open.onnx", tmp_path)
    assert found["FusedMatMul"] == 1 and not {"Shape", "Mul", "Div", "Sqrt"} & set(found)
    session = onnxruntime.InferenceSession(tmp_path / "open.onnx", providers=["CPUExecutionProvider"])
    x_NTD = torch.randn(3, 9, 8)
    (found,) = session.run(None, {"input": x_NTD.numpy()})
    np.testing.assert_allclose(found, module(x_NTD).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PatchEmbedding(in_channels=3, out_channels=8, input_size=30, stride=4), "multiple of 4 pixels"),
        (lambda: SelfAttention(**TOKENS, heads=0), "attention.heads must be at least 1"),
        (lambda: SelfAttention(**{**TOKENS, "out_channels": 9}, heads=1), "out_channels must be one of 8"),
        (lambda: Mlp(**TOKENS, ratio=0.0), "mlp.ratio must be at least"),
        (lambda: MobileVit(in_channels=4, out_channels=4, input_size=4, features=6, depth=1), "multiple of 4, the"),
        (lambda: MobileVit(in_channels=4, out_channels=4, input_size=4, features=8, depth=0), "depth must be"),
        (lambda: make_space(SpaceSpec(name="autoformer", input_size=100, num_classes=10)), "multiple of 16 pixels"),
    ],
)
def test_impossible_blocks_are_refused(make: object, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        make()  # type: ignore[operator]


VIT = """\
x-attention: &a {out: 192, choices: [{attention: {heads: 3}}, {attention: {heads: 4}}, token-skip]}
x-mlp: &m {out: 192, choices: [{mlp: {ratio: 3.5}}, {mlp: {ratio: 4}}, token-skip]}
stem: [{patch-embedding: {}, out: 192, stride: 16}]
layers: [*a, *m, *a, *m]
head: [token-head]
"""


def test_transformers_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "vit.yaml").write_text(VIT)
    space = make_space(SpaceSpec(name=str(tmp_path / "vit.yaml"), input_size=96, num_classes=10))
    built_in = make_space(SpaceSpec(name="autoformer", input_size=96, num_classes=10))
    assert {b.key for b in space.candidates} < {b.key for b in built_in.candidates}
    assert space.supernet()(torch.zeros(2, 3, 96, 96), (0, 2, 1, 0)).shape == (2, 10)
