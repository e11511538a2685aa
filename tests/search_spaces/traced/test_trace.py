"""Tracing: what comes out is what went in, and what cannot be taken is refused in words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from traced_checks import (
    built,
    difference,
    drawn,
    images_of,
    lively,
    onnx_outputs,
    require_equal_costs,
    require_same_forms,
    require_traced,
    space_of,
)
from traced_zoo import Residual, classifier, conv_bn_relu

from search_spaces import SpaceError
from search_spaces.traced.graph import PerImage
from search_spaces.traced.trace import trace

SHAPE = (3, 8, 8)


class Calls(nn.Module):
    """A function between a convolution and a classifier."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], num: int = 16) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 16, 3, padding=1), function
        self.mix, self.head = nn.Conv2d(num, 16, 1), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(self.function(self.conv(x))).mean((2, 3)))


def _set_rows(x: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x[:, :, 1:3] = x[:, :, 4:6]
    x[:, :, :, ::2] = x[:, :, :, 1::2] * 2
    x[:, :, -1] = 0.5
    return x


def _einsum(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,ncij->nhwij", x, x).mean((1, 2))[:, None].expand(-1, 16, -1, -1)


def _in_regions(x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        y, z = x.float().relu(), x.float().sigmoid()
    with torch.no_grad():
        scale = torch.ones(1) * 2
        y = y * scale.float()
    return y + z


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "places set": _set_rows,
    "pooled to other sizes": lambda x: functional.adaptive_avg_pool2d(x, (3, 5)),
    "added to a constant": lambda x: x + torch.arange(8.0),
    "scaled": lambda x: x * torch.tensor(2.0) - 1,
    "shuffled": lambda x: nn.ChannelShuffle(4)(x),
    "normalised": lambda x: functional.normalize(x, dim=1),
    "split in unequal parts": lambda x: torch.cat(torch.split(x, [4, 12], 1)[::-1], 1),
    "stacked": lambda x: torch.stack([x, x.relu()], 2).amax(2),
    "stacked channels": lambda x: torch.stack([x, x.relu()], 1).flatten(1, 2)[:, 8:24],
    "turned": lambda x: x.transpose(1, 3).flip(1).permute(0, 3, 2, 1),
    "masked": lambda x: x.masked_fill(x < 0, 0.1),
    "chosen": lambda x: torch.where(x > 0, x, x.mean(1, keepdim=True)),
    "einsum": _einsum,
    "interpolated": lambda x: functional.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "nearest": lambda x: functional.interpolate(x, size=5),
    "unfolded": lambda x: functional.unfold(x, 3, padding=1).view(-1, 144, 8, 8)[:, ::9],
    "glu": lambda x: torch.cat([functional.glu(x, 1)] * 2, 1),
    "repeated": lambda x: x[:, :8].repeat(1, 2, 1, 1),
    "interleaved": lambda x: x[:, :8].repeat_interleave(2, 1),
    "rolled channels": lambda x: x.roll(1, 1),
    "sorted": lambda x: x.sort(dim=1)[0],
    "largest": lambda x: x.topk(16, dim=1)[0],
    "one maximum": lambda x: x / x.abs().amax(),
    "standardised": lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-3).sqrt(),
    "maximum of pairs": lambda x: torch.maximum(*x.chunk(2, 1)).repeat(1, 2, 1, 1),
    "powers": lambda x: x.pow(2).clamp(0.1, 2).rsqrt(),
    "padded channels": lambda x: functional.pad(x[:, :12], (0, 0, 0, 0, 2, 2)),
    "reflected": lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"),
    "in two dtypes": lambda x: (x > 0).to(torch.float32) * x,
    "cumulated": lambda x: x.cumsum(1),
    "products of channels": lambda x: (
        (x.flatten(2) @ x.flatten(2).transpose(1, 2)).softmax(-1)[..., None] * x[:, :, :1]
    ),
    "groups as an axis": lambda x: x.view(-1, 4, 4, 8, 8).mean(1).repeat(1, 4, 1, 1),
    "new tensors": lambda x: torch.cat([x[:, :8], x.new_zeros(x.shape[0], 8, 8, 8)], 1),
    "squeezed": lambda x: x.mean((2, 3)).unsqueeze(-1).unsqueeze(-1).squeeze(3).unsqueeze(3),
    "added to a repeated constant": lambda x: x + torch.ones(1, 16, 1, 1).repeat(x.shape[0], 1, 8, 8),
    "in regions": _in_regions,
    "linear of constants": lambda x: x + functional.linear(torch.eye(8), torch.ones(8, 8)),
}

NOT_EXPORTED = {"products of channels", "one maximum"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_taken_and_no_slice_is_wrong(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = lively(Calls(FUNCTIONS[name]), SHAPE)
    space = space_of(module, SHAPE)
    require_traced(module, space)
    supernet = space.supernet().eval()
    for number, architecture in enumerate(drawn(space, 2)):
        require_same_forms(space, supernet, architecture, tmp_path if number and name not in NOT_EXPORTED else None)
        require_equal_costs(space, architecture)


def test_images_that_are_not_square_and_other_channels(tmp_path: Path) -> None:
    module = lively(classifier(Residual(16, 32, 2, "project"), 32, num_in=5), (5, 12, 7))
    space = space_of(module, (5, 12, 7))
    require_traced(module, space)
    for architecture in drawn(space, 2):
        require_same_forms(space, space.supernet().eval(), architecture, tmp_path)


def test_sizes_that_grow_with_the_batch_are_multiples_of_it() -> None:
    network = trace(lively(Calls(lambda x: x.flatten(0, 1).view(-1, 16, 8, 8)), SHAPE), SHAPE)
    shapes = [node.shape for node in network.graph.nodes if node.shape]
    assert all(isinstance(shape[0], PerImage) for shape in shapes)
    assert (PerImage(16), 8, 8) in shapes


def test_a_fixed_filter_is_a_constant_and_stays(tmp_path: Path) -> None:
    class Blurred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("filter", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).repeat(16, 1, 1, 1) / 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return functional.conv2d(x, self.filter, stride=2, padding=1, groups=16)

    module = lively(classifier(nn.Sequential(Blurred(), conv_bn_relu(16, 16, 1)), 16), SHAPE)
    space = space_of(module, SHAPE)
    assert {d.name for d in space.decisions} == {"0.0.width", "1.1.0.width"}
    network = space.build(space.original)
    assert torch.equal(network[0].tensor("1.0.filter"), module[1][0].filter)
    assert "1.0.filter" not in dict(network[0].named_parameters())
    for architecture in drawn(space, 2):
        require_same_forms(space, space.supernet().eval(), architecture, tmp_path)
        require_equal_costs(space, architecture)


def test_one_file_takes_batches_of_any_size(tmp_path: Path) -> None:
    module = lively(classifier(Residual(16, 16), 16), SHAPE)
    space = space_of(module, SHAPE)
    network, images = built(space, space.supernet().eval(), space.original), images_of(space, 3)
    (found,) = onnx_outputs(network, tmp_path, images)
    assert difference(module(images).detach(), torch.from_numpy(found)) <= 1e-4


class _TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


class _TwoOutputs(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((1, 2, 3)), x


class _Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class _OneBatchSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, -1)


class _FirstImage(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x[0]


class _UncheckedOperator(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x)


class _RandomNumbers(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class _NoTensor(nn.Module):
    def forward(self, x: torch.Tensor) -> int:
        return 3


class _OfTheBatch(nn.Module):
    def __init__(self, *, affine: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(8, track_running_stats=False, affine=affine)
        self.body, self.head = nn.Sequential(nn.Conv2d(3, 8, 1), norm), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class _AlwaysTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, self.norm.running_mean, self.norm.running_var, training=True)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (_OfTheBatch(affine=True), "the BatchNorm in body.1 normalises by the statistics of the batch.*track_running"),
        (_OfTheBatch(affine=False), "the BatchNorm in body.1 normalises"),
        (_AlwaysTraining(), "the BatchNorm in the network normalises"),
        (_TwoInputs(), "cannot be traced|expected one"),
        (_TwoOutputs(), "gives 2 values, expected one tensor"),
        (_Branching(), "whose course depends on no values"),
        (_OneBatchSize(), "any number of images|multiple of it"),
        (_FirstImage(), "one image out of the batch"),
        (_NoTensor(), "expected one tensor"),
        (_UncheckedOperator(), "calls the operator special_bessel_j0.*write that layer of other operators"),
        (_RandomNumbers(), "calls the operator rand_like"),
        (nn.Conv2d(4, 4, 1), "cannot be traced for images of 3x8x8"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_what_cannot_be_traced_is_refused_in_words(module: nn.Module, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        trace(module.eval(), SHAPE)


def test_torch_logs_nothing_of_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    records: list[logging.LogRecord] = []
    for name in ("torch.fx.experimental.symbolic_shapes", "torch.export"):
        monkeypatch.setattr(logging.getLogger(name), "handle", records.append)
    logging.getLogger("torch.export").warning("is heard")
    assert [record.msg for record in records] == ["is heard"]
    with pytest.raises(SpaceError):
        trace(_Branching(), SHAPE)
    assert len(records) == 1
    logging.getLogger("torch.export").warning("is heard again")
    assert len(records) == 2


def test_what_layers_make_of_constants_stays_where_it_meets_what_stays() -> None:
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project, self.head = nn.Conv2d(2, 16, 1), nn.Linear(16, 5)
            self.register_buffer("places", torch.randn(1, 2, 8, 8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = torch.erfc(self.project(self.places))  # an operator that nobody follows
            x = torch.cat([x] * 5 + [x[:, :1]], 1) + places.repeat(x.shape[0], 1, 1, 1)
            return self.head(x.flatten(2).mean(2))

    module = lively(Positions(), SHAPE)
    space = space_of(module, SHAPE)
    for architecture in drawn(space, 3):
        require_same_forms(space, space.supernet().eval(), architecture, None)
