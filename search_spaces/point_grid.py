"""The points that a detector's boxes are told from.

Shape suffixes: N images, P points; 2 for x and y, 4 for sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PointGrid:
    """The points of a detector's levels, the finest level first, row by row.

    Attributes:
        points_P2: x and y of each point in pixels of the image: the centre of its cell.
        strides_P: pixels that a cell of the point's level is wide.

    Raises:
        ValueError: there are not as many strides as points.
    """

    points_P2: torch.Tensor
    strides_P: torch.Tensor

    def __post_init__(self) -> None:
        if self.points_P2.shape != (*self.strides_P.shape, 2) or self.strides_P.dim() != 1:
            raise ValueError(
                f"expected points [P, 2] and strides [P], found {list(self.points_P2.shape)} and "
                f"{list(self.strides_P.shape)}"
            )

    @classmethod
    def of_levels(cls, levels: Sequence[tuple[int, int, int]]) -> PointGrid:
        """Return the points of levels, each given as height and width in cells and the cells' pixels a side."""
        points, strides = [], []
        for height, width, stride in levels:
            rows, columns = (stride * (torch.arange(num, dtype=torch.float32) + 0.5) for num in (height, width))
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            points.append(torch.stack([x.flatten(), y.flatten()], dim=1))
            strides.append(torch.full((height * width,), float(stride)))
        return cls(points_P2=torch.cat(points), strides_P=torch.cat(strides))

    def decoded(self, distances_NP4: torch.Tensor) -> torch.Tensor:
        """Return boxes as x1, y1, x2, y2 in pixels of the image, [N, P, 4]; they may reach beyond it.

        Args:
            distances_NP4: from each point to the left, top, right and bottom of its box, in strides of its level.
        """
        points_P2, strides_P1 = self.points_P2.to(distances_NP4), self.strides_P.to(distances_NP4)[:, None]
        before, after = (strides_P1 * distances_NP4).split(2, dim=-1)
        return torch.cat([points_P2 - before, points_P2 + after], dim=-1)
