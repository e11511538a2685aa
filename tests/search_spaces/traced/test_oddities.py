"""What real networks do besides: tensors and layers used in several ways, many kernels, narrow splits, booleans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional

from onnx_models.export import export_module
from search_spaces import SpaceSpec
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace


class TiedWeights(nn.Module):
    """Goes through a linear layer and back by the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 32)
        self.there = nn.Linear(32, 48, bias=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(x.mean((2, 3))))
        return self.head(torch.relu(self.there(hidden)) @ self.there.weight)


class SharedWeights(nn.Module):
    """Calls a convolution again with other settings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dilated = functional.conv2d(x, self.conv.weight, self.conv.bias, padding=2, dilation=2)
        unbiased = functional.conv2d(x, self.conv.weight, None, padding=1)
        return self.head((self.conv(x) + dilated + unbiased).mean((2, 3)))


class ManyKernels(nn.Module):
    """Four large depthwise kernels side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.depthwise = nn.ModuleList(nn.Conv2d(8, 8, 9, padding=4, groups=8) for _ in range(4))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.stem(x).chunk(4, dim=1)
        return self.head(torch.cat([conv(p) for conv, p in zip(self.depthwise, parts, strict=True)], 1).mean((2, 3)))


class NarrowSplits(nn.Module):
    """Splits 32 channels into sixteen ways of two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 1)
        self.ways = nn.ModuleList(nn.Conv2d(2, 4, 1) for _ in range(16))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.stem(x).split(2, dim=1)
        return self.head(torch.cat([way(p) for way, p in zip(self.ways, parts, strict=True)], 1).mean((2, 3)))


class Choosing(nn.Module):
    """Takes one of two ways by the sign of a third."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.third = (nn.Conv2d(3, 32, 3, padding=1) for _ in range(3))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.where(self.third(x) > 0, self.one(x), self.other(x)).mean((2, 3)))


class Dropping(nn.Module):
    """Drops whole channels while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.drop = nn.Conv2d(3, 32, 3, padding=1), nn.Dropout2d(0.5)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.conv(x))).mean((2, 3)))


class ClassToken(nn.Module):
    """Puts a token before those of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 32))
        self.mix = nn.Linear(32, 32)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), self.token.repeat(x.shape[0], 1, 1), tokens], dim=1)
        return self.head(torch.relu(self.mix(tokens)).mean(1))


class TiedLayers(nn.Module):
    """Two convolutions of one weight and biases of their own, two norms of one scale."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(3, 32, 3, padding=1)
        self.other.weight = self.one.weight
        self.norm, self.another = nn.BatchNorm2d(32), nn.BatchNorm2d(32)
        self.another.weight = self.norm.weight
        nn.init.constant_(self.another.running_mean, 1.0)  # type: ignore[arg-type]
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.norm(self.one(x)) + self.another(self.other(x))).relu().mean((2, 3)))


NETWORKS: list[Callable[[], nn.Module]] = [
    TiedWeights,
    SharedWeights,
    ManyKernels,
    NarrowSplits,
    Choosing,
    Dropping,
    ClassToken,
    TiedLayers,
]


def _space(make: Callable[[], nn.Module]) -> tuple[nn.Module, TracedSpace]:
    torch.manual_seed(0)
    module = make().eval()
    return module, TracedSpace(SpaceSpec(name="odd", input_size=8, num_classes=10), trace(module, (3, 8, 8)))


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_the_original_and_its_slices_compute_alike_however_they_are_run(make: Callable[[], nn.Module]) -> None:
    module, space = _space(make)
    supernet, images, rng = space.supernet().eval(), torch.randn(3, 3, 8, 8), np.random.default_rng(0)
    with torch.no_grad():
        torch.testing.assert_close(supernet(images, space.original), module(images))
        for architecture in (space.sample(rng) for _ in range(5)):
            alone = supernet.subnet(architecture).eval()
            torch.testing.assert_close(supernet(images, architecture), alone(images))


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_models_of_any_batch_compute_alike(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    module, space = _space(make)
    subnet = space.supernet().subnet(space.original).eval()
    export_module(subnet, tmp_path / "model.onnx", input_shapes=[(1, 3, 8, 8)], dynamic_batch=True)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for num in (1, 5):
        images = torch.randn(num, 3, 8, 8)
        (found,) = session.run(None, {"input": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, module(images).numpy(), atol=1e-4)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_every_part_runs_alone(make: Callable[[], nn.Module]) -> None:
    _, space = _space(make)
    for block in space.candidates:
        if not block.is_identity:
            out = block.build()(*(torch.randn(2, *shape) for shape in block.input_shapes))
            assert tuple(out.shape[1:]) == block.output_shape


def test_the_smallest_choices_leave_something_of_every_split() -> None:
    _, space = _space(NarrowSplits)
    smallest = tuple(len(decision.choices) - 1 for decision in space.decisions)
    with torch.no_grad():
        assert space.supernet().eval()(torch.randn(2, 3, 8, 8), smallest).shape == (2, 10)


def test_training_slices_leaves_the_statistics_of_the_whole_network_as_they_are() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * 64, 10),
    ).eval()  # fmt: skip
    space = TracedSpace(SpaceSpec(name="odd", input_size=8, num_classes=10), trace(module, (3, 8, 8)))
    supernet = space.supernet().train()
    before = {name: value.clone() for name, value in supernet.state_dict().items() if "running" in name}
    supernet(torch.randn(4, 3, 8, 8), (len(space.decisions[0].choices) - 1,))
    after = supernet.state_dict()
    assert before and all(torch.equal(value, after[name]) for name, value in before.items())


def test_channels_are_dropped_whole_in_training_by_the_whole_network_and_by_subnets() -> None:
    _, space = _space(Dropping)
    for network in (space.supernet().subnet(space.original).train(), space.build(space.original).train()):
        graph = network[0].graph  # type: ignore[union-attr]
        assert any(node.kind == "feature_dropout" for node in graph.nodes)  # type: ignore[union-attr]
        assert not any(isinstance(layer, nn.Dropout) for layer in network.modules())
