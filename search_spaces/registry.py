"""The built-in search spaces by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onnx_models.image_size import size_text
from search_spaces.at_resolutions import ResolutionSpace, specs_at_resolutions
from search_spaces.autoformer import AutoFormer
from search_spaces.dense import DenseSpace
from search_spaces.errors import SpaceError
from search_spaces.fbnet import fbnet_l, fbnet_s
from search_spaces.importing import ComponentKind, ImportReferenceError, find_component, is_reference
from search_spaces.mobilefacenet import mobilefacenet
from search_spaces.mobilevit import mobilevit
from search_spaces.nasbench201 import NasBench201
from search_spaces.nasbench_macro import nasbench_macro
from search_spaces.ofa_mobilenet_v3 import OfaMobileNetV3
from search_spaces.proxylessnas import proxylessnas
from search_spaces.sgnas import Sgnas
from search_spaces.space import SearchSpace, SpaceSpec
from search_spaces.spos import spos
from search_spaces.yaml_space import is_yaml_space, yaml_space

SPACES: dict[str, Callable[[SpaceSpec], SearchSpace]] = {
    "autoformer": AutoFormer,
    "fbnet-l": fbnet_l,
    "fbnet-s": fbnet_s,
    "mobilefacenet": mobilefacenet,
    "mobilevit": mobilevit,
    "nasbench-macro": nasbench_macro,
    "nasbench201": NasBench201,
    "ofa-mobilenetv3": OfaMobileNetV3,
    "proxylessnas": proxylessnas,
    "sgnas": Sgnas,
    "spos": spos,
}

NETWORK_SUFFIX = ".safetensors"
"""The end of names of files that hold a network that somebody brought."""

SPACE = ComponentKind(
    name="search space",
    expected="a function or class that makes a SearchSpace from a SpaceSpec: space(spec)",
    base=SearchSpace,
    arguments=("spec",),
)
"""The requirements on a space of one's own."""


def make_space(spec: SpaceSpec) -> SearchSpace:
    """Return the search space that a spec describes: a built-in, a YAML file, the file of a network that
    somebody brought, or one's own `./file.py:Name`; with another head where the spec names one, and at several
    resolutions where it says these.

    Raises:
        SpaceError: there is no space of that name, or it cannot be built for these numbers, at those resolutions or
            with that head.
    """
    if spec.resolutions:
        return ResolutionSpace(spec, [_space_at(own, spec) for own in specs_at_resolutions(spec)])
    if spec.head == "classifier":
        return _classifying_space(spec)
    return DenseSpace(spec, _classifying_space(replace(spec, head="classifier")))


def _space_at(own: SpaceSpec, spec: SpaceSpec) -> SearchSpace:
    """Return the space that a spec describes at one of its resolutions."""
    if spec.name.endswith(NETWORK_SUFFIX):
        raise SpaceError(f"{spec.name} says itself at which resolutions its network runs: expected none beside it")
    try:
        return _classifying_space(own)
    except SpaceError as error:
        if own.input_size == spec.input_size:
            raise
        size = size_text(own.input_size)
        raise SpaceError(f"at {size} pixels: {error}; leave {size} out of the resolutions") from error


def _classifying_space(spec: SpaceSpec) -> SearchSpace:
    """Return the search space that a spec describes with its own end."""
    if is_yaml_space(spec.name):
        return yaml_space(spec)
    if spec.name.endswith(NETWORK_SUFFIX):
        from search_spaces.traced.file import traced_space  # most runs have no use for it

        return traced_space(spec)
    try:
        space: SearchSpace = find_component(SPACE, spec.name, SPACES)(spec)
    except ImportReferenceError as error:
        raise SpaceError(f"{error}, or a YAML file" if not is_reference(spec.name) else str(error)) from error
    return space
