"""What a network ends in behind its scores: left out while it trains, there when it is exported and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from traced_checks import built, difference, drawn, images_of, lively, onnx_outputs, require_equal_costs, space_of
from traced_zoo import Residual, classifier

from search_spaces.traced.file import save_space, traced_space
from search_spaces.traced.space import TracedSpace

SHAPE = (3, 8, 8)

ENDINGS = {
    "softmax": nn.Softmax(1),
    "log_softmax": nn.LogSoftmax(-1),
    "sigmoid": nn.Sigmoid(),
}

BEFORE_RESHAPING = nn.Sequential(nn.Unflatten(1, (5, 1, 1)), nn.Softmax(1), nn.Flatten())
"""As networks end whose last layer is a convolution."""


def _pair(ending: nn.Module) -> tuple[nn.Module, nn.Module, TracedSpace]:
    """A network of scores, the same with an ending, and the space of that."""
    torch.manual_seed(0)
    network = lively(classifier(Residual(16, 16), 16), SHAPE)
    whole = nn.Sequential(network, ending).eval()
    return network, whole, space_of(whole, SHAPE)


@pytest.mark.parametrize("kind", ["log_softmax", "sigmoid", "softmax", "reshaped"])
def test_networks_train_by_their_scores_and_are_exported_with_what_they_end_in(kind: str, tmp_path: Path) -> None:
    network, whole, space = _pair(ENDINGS.get(kind, BEFORE_RESHAPING))
    assert space.ending == ("softmax" if kind == "reshaped" else kind)
    supernet, images = space.supernet().eval(), images_of(space)
    with torch.inference_mode():
        assert difference(network(images), supernet(images, space.original)) <= 1e-5
        for architecture in drawn(space, 2):
            own = built(space, supernet, architecture)
            assert difference(supernet(images, architecture), own(images)) <= 1e-4
            given = space.deployed(own)(images)
            (found,) = onnx_outputs(space.deployed(own), tmp_path, images)
            assert difference(given, torch.from_numpy(found)) <= 1e-4
        assert difference(whole(images), space.deployed(supernet.subnet(space.original))(images)) <= 1e-5
    for architecture in drawn(space, 2):
        require_equal_costs(space, architecture)
    last = space.blocks(space.original)[-1]
    assert (kind if kind != "reshaped" else "softmax") in last.key


def test_what_it_ends_in_is_kept_in_its_file(tmp_path: Path) -> None:
    _, _, space = _pair(nn.Softmax(1))
    save_space(space, tmp_path / "n.safetensors")
    read = traced_space(type(space.spec)(**{**space.spec.as_dict(), "name": str(tmp_path / "n.safetensors")}))
    assert read.ending == "softmax" and read.blocks(read.original) == space.blocks(space.original)


@pytest.mark.parametrize("ending", [nn.Identity(), nn.Softmax(0), nn.ReLU()])
def test_other_ends_are_the_networks_own(ending: nn.Module) -> None:
    _, whole, space = _pair(ending)
    images = images_of(space)
    assert space.ending is None
    with torch.inference_mode():
        assert difference(whole(images), space.supernet().eval()(images, space.original)) <= 1e-5


def test_of_two_endings_the_last_is_left_out() -> None:
    network, _, space = _pair(nn.Sequential(nn.Sigmoid(), nn.Softmax(1)))
    images = images_of(space)
    with torch.inference_mode():
        assert space.ending == "softmax"
        expected = torch.sigmoid(network(images))
        assert difference(expected, space.supernet().eval()(images, space.original)) <= 1e-5
