"""The size of images as a decision of a built-in space."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
import pytest
import torch
from samples import small_spec
from torch import nn

from search_spaces import SearchSpace, SpaceError, SpaceSpec, make_space
from search_spaces.at_resolutions import ResolutionSpace, specs_at_resolutions
from search_spaces.block import MapBlock
from search_spaces.blocks.conv import ConvBnAct
from search_spaces.blocks.head import Head
from search_spaces.chain import ChainSpace
from search_spaces.onnx_export import export_network
from search_spaces.overview import extreme_architecture
from search_spaces.resolutions import Resized
from search_spaces.supernet import MixableSupernet

SIZES = (16, 12, 8)


def _space(name: str, sizes: tuple[int, ...] = SIZES, **changes: object) -> ResolutionSpace:
    made = make_space(small_spec(name, input_size=sizes[0], resolutions=sizes, **changes))
    assert isinstance(made, ResolutionSpace)
    return made


def test_the_resolution_is_the_first_decision_and_candidates_are_the_blocks_of_all() -> None:
    space, plain = _space("nasbench-macro"), make_space(small_spec("nasbench-macro"))
    assert (space.decisions[0].name, space.decisions[0].choices) == ("resolution", ("16", "12", "8"))
    assert space.decisions[1:] == plain.decisions and space.num_architectures == 3 * 3**8
    assert [space.input_size((i, *(0,) * 8)) for i in range(3)] == [16, 12, 8]
    for position, size in enumerate(SIZES):
        alone = make_space(small_spec("nasbench-macro", input_size=size))
        assert set(alone.candidates) <= set(space.candidates)
        assert space.blocks((position, *(2,) * 8)) == alone.blocks((2,) * 8)
    assert len(set(space.candidates)) == len(space.candidates)


def test_graphs_have_the_same_paths_at_every_resolution() -> None:
    space, plain = _space("nasbench201"), make_space(small_spec("nasbench201"))
    rows = space.sample_many(60, np.random.default_rng(0))
    assert set(rows[:, 0]) == {0, 1, 2}
    np.testing.assert_array_equal(space.paths(rows), plain.paths(rows[:, 1:]))
    assert space.paths(rows).any() and _space("nasbench-macro").paths(rows[:, :1]).shape == (60, 0)


def test_strides_are_those_of_the_largest_images() -> None:
    """Of 64 pixels a side a space of its own would keep the resolution for longer, with other networks."""
    space = _space("fbnet-s", (96, 64))
    of_64 = space.blocks((1, *(0,) * 22))
    assert [b.stride for b in of_64] == [b.stride for b in space.blocks((0, *(0,) * 22))]
    assert of_64[0].stride == 2
    assert make_space(small_spec("fbnet-s", input_size=64)).blocks((0,) * 22)[0].stride == 1


@pytest.mark.parametrize("name", ["nasbench-macro", "nasbench201", "ofa-mobilenetv3", "spos"])
def test_a_subnet_computes_what_the_smaller_spaces_network_does(name: str) -> None:
    torch.manual_seed(0)
    space = _space(name)
    supernet, rng = space.supernet().eval(), np.random.default_rng(0)
    x_NCHW = torch.randn(3, 1, 16, 16)
    for position, size in enumerate(SIZES):
        architecture = (position, *space.spaces[0].sample(rng))
        alone = specs_at_resolutions(space.spec)[position]
        network = make_space(alone).build(architecture[1:]).eval()
        subnet = supernet.subnet(architecture).eval()
        network.load_state_dict(dict(zip(network.state_dict(), subnet.state_dict().values(), strict=True)))
        expected = network(Resized(size)(x_NCHW))
        torch.testing.assert_close(subnet(x_NCHW), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(supernet(x_NCHW, architecture), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["nasbench-macro", "nasbench201"])
def test_an_exported_network_takes_images_of_its_resolution_and_computes_the_same(name: str, tmp_path: Path) -> None:
    space, rng = _space(name), np.random.default_rng(1)
    for position, size in list(enumerate(SIZES))[1:]:
        architecture = (position, *space.spaces[0].sample(rng))
        torch.manual_seed(position)
        network = space.build(architecture).eval()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(space, "build", lambda _, network=network: network)
            path = export_network(space, architecture, tmp_path, batch=2)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == [2, 1, size, size]
        x_NCHW = torch.randn(2, 1, size, size)
        (found,) = session.run(None, {session.get_inputs()[0].name: x_NCHW.numpy()})
        np.testing.assert_allclose(found, network(x_NCHW).detach().numpy(), rtol=1e-3, atol=1e-5)


def test_outputs_at_the_resolutions_are_mixed() -> None:
    torch.manual_seed(0)
    space = _space("nasbench-macro")
    supernet, x_NCHW = space.supernet().eval(), torch.randn(2, 1, 16, 16)
    assert isinstance(supernet, MixableSupernet)
    layers, shares = (2, 1, 1, 2, 1, 1, 2, 1), (0.25, 0.0, 0.75)
    weights = [dict(enumerate(map(torch.tensor, shares))), *({c: torch.tensor(1.0)} for c in layers)]
    expected = sum(share * supernet(x_NCHW, (i, *layers)) for i, share in enumerate(shares))
    torch.testing.assert_close(supernet.forward_mixed(x_NCHW, weights), expected, rtol=1e-4, atol=1e-6)


def test_extremes_are_exact_where_a_smaller_resolution_costs_more() -> None:
    space = _space("nasbench-macro")
    every = np.array(list(product(range(3), *(range(3),) * 8)))
    for seed in range(5):
        values = np.random.default_rng(seed).random(len(space.candidates))
        costs = space.block_sum(values, every)
        for largest, best in ((False, costs.min()), (True, costs.max())):
            found = extreme_architecture(space, lambda rows, v=values: space.block_sum(v, rows), largest=largest)
            assert space.block_sum(values, np.array([found]))[0] == pytest.approx(best)


def test_files_hold_the_resolutions_and_leave_them_out_where_there_are_none() -> None:
    spec = small_spec("nasbench-macro", resolutions=SIZES)
    kept = json.loads(json.dumps(spec.as_dict()))
    assert kept["resolutions"] == [16, 12, 8] and SpaceSpec(**kept) == spec
    assert str(spec) == "nasbench-macro at 1x16x16 or 12 or 8, 10 classes, width 0.25"
    assert "resolutions" not in small_spec("nasbench-macro").as_dict()
    assert not spec.has_networks_of(small_spec("nasbench-macro"))
    rectangles = small_spec("own", input_size=(16, 32), resolutions=((16, 32), 8))
    assert rectangles.resolutions == ((16, 32), (8, 16))
    assert SpaceSpec(**json.loads(json.dumps(rectangles.as_dict()))) == rectangles


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolutions": (16,)}, "two resolutions or more, got 16 alone, which leaves no choice"),
        ({"resolutions": (12, 8)}, "begin with the images' own size, 16, got 12, 8"),
        ({"resolutions": (16, 8, 12)}, "each smaller than the one before, .*got 16, 8, 12"),
        ({"resolutions": (16, 0)}, "integer from 1 to 4096"),
        ({"resolutions": (16, 8), "head": "detection"}, "a detection head .*expected no resolutions beside it"),
        ({"resolutions": (16, 8), "head": "segmentation"}, "a segmentation head .*give one size, with --input-size"),
        ({"resolutions": (16, 8), "name": "mine.safetensors"}, "says itself at which resolutions"),
        ({"resolutions": (16, 8), "name": "autoformer"}, "at 8 pixels autoformer .*weights of other shapes"),
        ({"resolutions": (16, 8), "name": "mobilefacenet"}, "weights of other shapes.*gdconv.*leave 8 out"),
        ({"resolutions": (16, 8), "name": "mobilevit"}, "layers that count pixels.*mobilevit.*leave 8 out"),
        ({"resolutions": (16, 10), "name": "autoformer"}, "at 10 pixels: .*multiple.*leave 10 out|leave 10 out"),
    ],
)
def test_what_has_no_other_resolutions_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        make_space(small_spec(**{"name": "nasbench-macro", **changes}))


@dataclass(frozen=True, kw_only=True, slots=True)
class WholePool(MapBlock):
    """Average pooling by a window that is as large as its map."""

    family: ClassVar[str] = "wholepool"

    @property
    def output_size(self) -> int:
        """One pixel."""
        return 1

    def _key_fields(self) -> dict[str, int | str]:
        return {}

    def build(self) -> nn.Module:
        """Return the pooling."""
        return nn.AvgPool2d(self.input_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalised(MapBlock):
    """Normalises over channels; or over the places of each row, or where there are as many as it was told."""

    family: ClassVar[str] = "normalised"
    by_place: int = 0
    is_strict: bool = False

    @property
    def output_size(self) -> int:
        """As large as the input."""
        return self.input_size

    def _key_fields(self) -> dict[str, int | str]:
        return {"place": self.by_place, "strict": self.is_strict}

    def build(self) -> nn.Module:
        """Return the normalisation."""
        if self.is_strict:
            return _Strict(self.in_channels, self.input_size)
        return nn.LayerNorm(self.input_size) if self.by_place else nn.BatchNorm2d(self.in_channels)


class _Strict(nn.BatchNorm2d):
    def __init__(self, channels: int, side: int) -> None:
        super().__init__(channels)
        self._side = side

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        if x_NCHW.shape[-1] != self._side:
            raise ValueError(f"expected {self._side} pixels a side")
        return super().forward(x_NCHW)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"by_place": 1}, "weights of other shapes"), ({"is_strict": True}, "layers that count pixels")],
)
def test_what_is_known_of_a_block_says_nothing_of_one_with_more(changes: dict[str, Any], words: str) -> None:
    spec = small_spec("own", resolutions=(16, 8))

    def chain(own: SpaceSpec, *each: dict[str, Any]) -> SearchSpace:
        shape = {"in_channels": 8, "out_channels": 8, "input_size": own.side}
        stem = ConvBnAct(in_channels=own.in_channels, out_channels=8, input_size=own.side, kernel=3)
        head = Head(in_channels=8, out_channels=own.num_classes, input_size=own.side, hidden=16)
        choices = [Normalised(**shape, **further) for further in each]
        names = [str(number) for number in range(len(each))]
        return ChainSpace(own, stem=[stem], layers=[choices], choice_names=names, head=[head])

    own, other = specs_at_resolutions(spec)
    assert ResolutionSpace(spec, [chain(own, {}), chain(other, {})]).num_architectures == 2
    with pytest.raises(SpaceError, match=words):
        ResolutionSpace(spec, [chain(own, {}, changes), chain(other, {}, changes)])


def _chain(spec: SpaceSpec, *, layers: int = 2, pool: bool = False, kernel: int = 3) -> SearchSpace:
    shape = {"in_channels": 8, "out_channels": 8, "input_size": spec.side}
    stem = ConvBnAct(in_channels=spec.in_channels, out_channels=8, input_size=spec.side, kernel=kernel)
    choices = [ConvBnAct(**shape, kernel=3), ConvBnAct(**shape, kernel=5)]
    last = [WholePool(**shape)] if pool else []
    head = Head(in_channels=8, out_channels=spec.num_classes, input_size=1 if pool else spec.side, hidden=16)
    return ChainSpace(spec, stem=[stem], layers=[choices] * layers, choice_names=["a", "b"], head=[*last, head])


def test_spaces_of_ones_own_are_compared_block_by_block() -> None:
    spec = small_spec("own", resolutions=(16, 8))
    own, other = specs_at_resolutions(spec)
    assert ResolutionSpace(spec, [_chain(own), _chain(other)]).num_architectures == 8
    for changes, words in (
        ({"layers": 3}, "other decisions"),
        ({"kernel": 5}, "another block"),
    ):
        with pytest.raises(SpaceError, match=words):
            ResolutionSpace(spec, [_chain(own), _chain(other, **changes)])  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match=r"other layers \(wholepool\(in=8,out=8,hw=16\)"):
        ResolutionSpace(spec, [_chain(own, pool=True), _chain(other, pool=True)])


def test_other_numbers_of_a_spec_hold_at_every_resolution() -> None:
    spec = replace(small_spec("fbnet-s", input_size=96, resolutions=(96, 64)), width=0.5)
    own, other = specs_at_resolutions(spec)
    assert own == replace(spec, resolutions=()) and other.input_shape == (1, 64, 64)
    assert (other.width, other.num_classes, other.early_stride) == (0.5, 10, 2)
