"""Polygons that tile a larger one edge to edge: their corners and sides, each once, and the check that they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from relu_regions.exactness.rational.planes.polygons import Corner, Polygon, total_area

__all__ = ["Tiling"]


@dataclass(frozen=True)
class Tiling:
    """Polygons that are to tile another.

    Attributes:
        polygons: the tiles.
        whole: what they tile.
    """

    polygons: Sequence[Polygon]
    whole: Polygon

    @cached_property
    def vertices(self) -> dict[Corner, int]:
        """Every corner of a tile once, with its number."""
        corners = dict.fromkeys(corner for polygon in self.polygons for corner in polygon.corners)
        return {corner: number for number, corner in enumerate(corners)}

    @cached_property
    def corners(self) -> list[tuple[int, ...]]:
        """For each tile the numbers of its corners, counter-clockwise."""
        return [tuple(self.vertices[corner] for corner in polygon.corners) for polygon in self.polygons]

    @cached_property
    def sides(self) -> dict[tuple[int, int], list[int]]:
        """The tiles beside each side, by its ends; the first tile is to the left from one end to the other."""
        sides: dict[tuple[int, int], list[int]] = {}
        for tile, corners in enumerate(self.corners):
            for start, end in zip(corners, corners[1:] + corners[:1]):
                # The neighbour goes along the side the other way.
                key = (end, start) if (end, start) in sides else (start, end)
                sides.setdefault(key, []).append(tile)
        return sides

    def check(self) -> None:
        """Compare the sum of areas, and vertices - edges + tiles, with what they are for a tiling edge to edge.

        Raises:
            ArithmeticError: they differ, which would be an error of this library.
        """
        total = total_area(self.polygons)
        if total != self.whole.area:
            raise ArithmeticError(f"The areas add up to {total}, not to {self.whole.area}, the polygon's.")
        found = len(self.vertices) - len(self.sides) + len(self.polygons)
        if found != 1 or any(len(tiles) > 2 for tiles in self.sides.values()):
            raise ArithmeticError(f"The parts do not meet edge to edge: vertices - edges + faces is {found}, not 1.")
