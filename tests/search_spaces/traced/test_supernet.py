"""Training slices of a network that somebody brings."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from traced_checks import drawn, images_of, lively, space_of
from traced_zoo import OwnAttention, Residual, Transformer, classifier

from search_spaces.traced.space import TracedSpace


def _space() -> TracedSpace:
    torch.manual_seed(0)
    return space_of(lively(classifier(nn.Sequential(Residual(16, 16), Residual(16, 16)), 16), (3, 8, 8)), (3, 8, 8))


@pytest.fixture(scope="module")
def space() -> TracedSpace:
    return _space()


def test_one_step_of_training_changes_the_slice_and_nothing_else(space: TracedSpace) -> None:
    supernet = space.supernet().train()
    optimiser = torch.optim.SGD(supernet.parameters(), lr=0.1)
    architecture = drawn(space, 0)[1]
    images = images_of(space, 8)
    before = {name: value.detach().clone() for name, value in supernet.network.values().items()}
    functional.cross_entropy(supernet(images, architecture), torch.arange(8) % 5).backward()
    optimiser.step()
    kept = space.slice_of(architecture).values(supernet.network.values())
    was = space.slice_of(architecture).values(before)
    changed = {name for name in kept if not torch.equal(kept[name], was[name])}
    assert {"0.0.weight", "4.weight", "4.bias", "0.1.weight"} <= changed
    for name, value in supernet.network.values().items():
        parameter = dict(supernet.network.named_parameters()).get(name)
        if parameter is not None and parameter.grad is not None:
            still = parameter.grad == 0
            assert torch.equal(value[still], before[name][still]), name
    assert not torch.equal(supernet.eval()(images, architecture), _space().supernet().eval()(images, architecture))


def test_gradients_reach_all_that_a_slice_keeps_and_nothing_that_it_leaves_out(space: TracedSpace) -> None:
    supernet = space.supernet().train()
    for architecture in drawn(space, 3):
        supernet.zero_grad(set_to_none=True)
        supernet(images_of(space, 6), architecture).square().sum().backward()
        kept = space.slice_of(architecture).values(
            {n: torch.ones(v.shape) for n, v in supernet.network.values().items()}
        )
        for name, parameter in supernet.network.named_parameters():
            if name not in kept:
                assert parameter.grad is None or not parameter.grad.any(), name
                continue
            assert parameter.grad is not None and parameter.grad.any(), name
            assert int((parameter.grad != 0).sum()) <= kept[name].numel(), name


def test_statistics_of_the_whole_are_left_alone_by_slices_in_training(space: TracedSpace) -> None:
    supernet = space.supernet().train()
    narrow = drawn(space, 0)[1]
    before = {name: value.clone() for name, value in supernet.state_dict().items() if "running" in name}
    supernet(images_of(space, 6), narrow)
    after = supernet.state_dict()
    assert before and all(torch.equal(after[name], value) for name, value in before.items())
    supernet(images_of(space, 6), space.original)
    assert not all(torch.equal(supernet.state_dict()[name], value) for name, value in before.items())


def test_slices_in_training_use_the_statistics_of_the_batch(space: TracedSpace) -> None:
    supernet = space.supernet()
    narrow, images = drawn(space, 0)[1], images_of(space, 6)
    with torch.no_grad():
        trained, evaluated = supernet.train()(images, narrow), supernet.eval()(images, narrow)
        subnet = supernet.subnet(narrow).train()
        torch.testing.assert_close(subnet(images), trained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(trained, evaluated, rtol=1e-2)


def test_subnets_are_copies(space: TracedSpace) -> None:
    supernet = space.supernet().eval()
    for architecture in (space.original, drawn(space, 0)[1]):
        before = supernet(images_of(space), architecture)
        with torch.no_grad():
            for parameter in supernet.subnet(architecture).parameters():
                parameter.zero_()
        assert torch.equal(supernet(images_of(space), architecture), before)


def test_dropout_drops_in_training_alone() -> None:
    torch.manual_seed(0)
    space = space_of(lively(Transformer(OwnAttention), (3, 16, 16)), (3, 16, 16))
    images = images_of(space)
    narrow = tuple(int(d.name.endswith(".width")) for d in space.decisions)
    for architecture in (space.original, narrow):
        supernet = space.supernet().train()
        assert not torch.equal(supernet(images, architecture), supernet(images, architecture))
        assert torch.equal(supernet.eval()(images, architecture), supernet(images, architecture))
