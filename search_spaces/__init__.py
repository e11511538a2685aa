"""Networks that can be built: search spaces, their candidate blocks, and the door to ONNX."""

from search_spaces.block import Block
from search_spaces.errors import ExportError, SpaceError
from search_spaces.registry import SPACES, make_space
from search_spaces.space import Architecture, Decision, SearchSpace, SpaceSpec

__all__ = [
    "SPACES",
    "Architecture",
    "Block",
    "Decision",
    "ExportError",
    "SearchSpace",
    "SpaceError",
    "SpaceSpec",
    "make_space",
]
