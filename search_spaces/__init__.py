"""Networks that can be built: search spaces and their candidate blocks."""

from onnx_models.errors import ExportError
from onnx_models.image_size import ImageSize
from search_spaces.architecture import Architecture
from search_spaces.block import Block, MapBlock
from search_spaces.errors import SpaceError
from search_spaces.registry import SPACES, make_space
from search_spaces.space import Decision, SearchSpace, SpaceSpec

__all__ = [
    "SPACES",
    "Architecture",
    "Block",
    "Decision",
    "ExportError",
    "ImageSize",
    "MapBlock",
    "SearchSpace",
    "SpaceError",
    "SpaceSpec",
    "make_space",
]
