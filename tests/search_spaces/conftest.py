"""Spaces for the contract suites."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from samples import small_spec
from torch import nn
from traced_checks import lively
from traced_zoo import InvertedResidual, Residual, conv_bn_relu

from search_spaces import SPACES, SearchSpace, make_space
from search_spaces.traced.space import TracedSpace
from search_spaces.traced.trace import trace

DENSE = [
    *(("detection", name) for name in ("fbnet-s", "nasbench-macro", "ofa-mobilenetv3")),
    *(("segmentation", name) for name in ("fbnet-s", "nasbench-macro")),
]
"""Heads on chains: one with an identity in every layer, one without, and one whose networks are slices."""


SEVERAL_SIZES = ("nasbench-macro", "ofa-mobilenetv3")
"""Spaces at several resolutions: one with separate candidates, and one whose networks are slices."""


@pytest.fixture(
    params=[*sorted(SPACES), "traced", *map("+".join, DENSE), *(f"{name} of sizes" for name in SEVERAL_SIZES)]
)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    """Every built-in search space, small; some with other heads or at several resolutions; and one of a network that
    somebody brings. Tests leave them as they are."""
    return _made(request.param)


@cache
def _made(param: str) -> SearchSpace:
    if param == "traced":
        return _traced()
    if param.endswith(" of sizes"):
        return make_space(small_spec(param.removesuffix(" of sizes"), resolutions=(16, 12, 8)))
    head, _, name = param.rpartition("+")
    return make_space(small_spec(name, head=head or "classifier"))


def _traced() -> SearchSpace:
    spec = small_spec("traced")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stem, pool = conv_bn_relu(spec.in_channels, 16, 3, stride=2), nn.AdaptiveAvgPool2d(1)
        body = nn.Sequential(Residual(16, 32, 2, "project"), InvertedResidual(32, 64), Residual(32, 32))
        head = nn.Sequential(nn.Flatten(), nn.Linear(32, spec.num_classes))
        module = lively(nn.Sequential(stem, body, pool, head), spec.input_shape)
    return TracedSpace(spec, trace(module, spec.input_shape))
