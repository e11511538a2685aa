"""Changes of a map's resolution."""

from __future__ import annotations

import torch
from torch.nn import functional

from onnx_models.to_torch.node import Lowered, Node, NotCoveredError, lowered

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize(node: Node) -> Lowered:
    """Resize and Upsample, in the ways that torch has."""
    x = node.value(0)
    sides = _new_sides(node)
    mode = str(node.attribute("mode", "nearest"))
    where = "asymmetric" if node.operator == "Upsample" else "half_pixel"
    where = str(node.attribute("coordinate_transformation_mode", where))
    how = _torch_mode(node, mode, where, x.rank - 2)
    if (sides and where == "align_corners") or mode != "nearest":
        corners = where == "align_corners"
        return lowered(lambda x: functional.interpolate(x, sides, mode=how, align_corners=corners), x)
    return lowered(lambda x: functional.interpolate(x, sides, mode=how), x)


def _torch_mode(node: Node, mode: str, where: str, axes: int) -> str:
    if mode == "nearest" and where == "asymmetric" and node.attribute("nearest_mode", "floor") == "floor":
        return "nearest"
    # As when sides grow by whole factors, where rounding does not matter; what differs is found when outputs are.
    if mode == "nearest" and where in ("half_pixel", "asymmetric", "pytorch_half_pixel"):
        return "nearest-exact" if where != "asymmetric" else "nearest"
    if mode == "linear" and where in ("half_pixel", "pytorch_half_pixel", "align_corners") and axes in _LINEAR:
        return _LINEAR[axes]
    if mode == "cubic" and where in ("half_pixel", "pytorch_half_pixel", "align_corners") and axes == 2:
        return "bicubic"
    raise NotCoveredError(f"torch has no {mode} with {where} coordinates over {axes} axes")


def _new_sides(node: Node) -> list[int]:
    """Return the new sides of the map.

    Raises:
        NotCoveredError: batch or channels are resized too.
    """
    shape = node.value(0).shape
    if node.operator == "Resize" and node.has(3):
        sizes = [int(number) for number in node.value(3).lanes[1].tolist()]
        if sizes[1] != shape[1]:
            raise NotCoveredError("it resizes more than the sides of a map")
        return sizes[2:]
    index = 2 if node.operator == "Resize" and node.opset >= 11 else 1
    if node.has(index):
        scales = [float(number) for number in node.constant(index).tolist()]
    else:
        scales = [float(number) for number in node.attribute("scales", [])]
    if len(scales) != len(shape) or scales[:2] != [1.0, 1.0]:
        raise NotCoveredError("it resizes more than the sides of a map")
    return [int(side * scale) for side, scale in zip(shape[2:], scales[2:], strict=True)]


def depth_to_space(node: Node) -> Lowered:
    """DepthToSpace."""
    block, x = int(node.attribute("blocksize")), node.value(0)
    if str(node.attribute("mode", "DCR")) == "CRD":
        return lowered(lambda x: functional.pixel_shuffle(x, block), x)
    _, channels, height, width = x.shape
    depth = channels // block**2

    def compute(x: torch.Tensor) -> torch.Tensor:
        parts = x.reshape(x.shape[0], block, block, depth, height, width).permute(0, 3, 4, 1, 5, 2)
        return parts.reshape(x.shape[0], depth, height * block, width * block)

    return lowered(compute, x)


def space_to_depth(node: Node) -> Lowered:
    """SpaceToDepth."""
    block, x = int(node.attribute("blocksize")), node.value(0)
    _, channels, height, width = x.shape

    def compute(x: torch.Tensor) -> torch.Tensor:
        parts = x.reshape(x.shape[0], channels, height // block, block, width // block, block)
        return parts.permute(0, 3, 5, 1, 2, 4).reshape(x.shape[0], channels * block**2, height // block, width // block)

    return lowered(compute, x)


OPERATORS = {
    "Resize": resize,
    "Upsample": resize,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
}
