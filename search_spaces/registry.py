"""The built-in search spaces by name."""

from __future__ import annotations

from collections.abc import Callable

from search_spaces.errors import SpaceError
from search_spaces.fbnet import fbnet_l, fbnet_s
from search_spaces.mobilefacenet import mobilefacenet
from search_spaces.nasbench201 import NasBench201
from search_spaces.nasbench_macro import nasbench_macro
from search_spaces.ofa_mobilenet_v3 import OfaMobileNetV3
from search_spaces.proxylessnas import proxylessnas
from search_spaces.space import SearchSpace, SpaceSpec
from search_spaces.spos import spos

SPACES: dict[str, Callable[[SpaceSpec], SearchSpace]] = {
    "fbnet-l": fbnet_l,
    "fbnet-s": fbnet_s,
    "mobilefacenet": mobilefacenet,
    "nasbench-macro": nasbench_macro,
    "nasbench201": NasBench201,
    "ofa-mobilenetv3": OfaMobileNetV3,
    "proxylessnas": proxylessnas,
    "spos": spos,
}


def make_space(spec: SpaceSpec) -> SearchSpace:
    """The search space that a spec describes.

    Raises:
        SpaceError: there is no space of that name, or it cannot be built for these numbers.
    """
    if spec.name not in SPACES:
        raise SpaceError(f"unknown search space {spec.name!r}; there are: {', '.join(sorted(SPACES))}")
    return SPACES[spec.name](spec)
