"""A segment across a plane: the faces that it crosses, and where."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from relu_regions.network.arrays import Floats, Integers
from relu_regions.planes.tiles import Tiles

__all__ = ["PlaneSegment", "crossed"]


class PlaneSegment(NamedTuple):
    """A segment from a to b across a plane: what ``walk`` takes, and what the plane's faces say of it.

    Attributes:
        x: ``(1, *input_shape)``, the point at a.
        d: ``(1, *input_shape)``, from there to b; ``walk(model, segment.x, segment.d, (0, 1))`` walks along it.
        t: ``(K + 1,)`` float64, 0 at a and 1 at b: where the segment enters each face, and where it leaves the last.
        faces: ``(K,)`` int64, numbers of the faces crossed, in order.
        outputs: ``(K + 1, *output_shape)``, at t.
    """

    x: Float[Tensor, " 1 *input_shape"]
    d: Float[Tensor, " 1 *input_shape"]
    t: Float64[Tensor, " T"]
    faces: Int64[Tensor, " K"]
    outputs: Float[Tensor, " T *output_shape"]

    def __repr__(self) -> str:
        return f"PlaneSegment({len(self.faces)} faces, t in [{self.t[0].item():.6g}, {self.t[-1].item():.6g}])"


def crossed(tiles: Tiles, a: Floats, b: Floats) -> tuple[Integers, Floats]:
    """The polygons that the segment from a to b crosses, in order, and t where it enters each and leaves the last.

    Each polygon is cut by the segment on its own, in floats. A segment along a side crosses one of the two beside it:
    both compute the side's line alike, from its end of the smaller number, so that rounding keeps no part of the
    segment out of both.

    Args:
        tiles: convex polygons.
        a, b: points (s, t).
    """
    if not len(tiles):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    first, second = tiles.corners, tiles.corners[tiles.following]
    turned = np.where(first < second, 1.0, -1.0)
    start, stop = (tiles.vertices[end] for end in (np.minimum(first, second), np.maximum(first, second)))
    along, way = stop - start, b - a
    # Inside is to the left of each side: where height + t slope is not negative.
    height = turned * (along[:, 0] * (a[1] - start[:, 1]) - along[:, 1] * (a[0] - start[:, 0]))
    slope = turned * (along[:, 0] * way[1] - along[:, 1] * way[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -height / slope
    beyond = np.where((slope == 0) & (height < 0), np.inf, -np.inf)
    low = np.maximum.reduceat(np.where(slope > 0, crossing, beyond), tiles.offsets[:-1]).clip(0)
    high = np.minimum.reduceat(np.where(slope < 0, crossing, np.inf), tiles.offsets[:-1]).clip(max=1)
    # A polygon whose corners are one point in floats has no side that would keep the segment out.
    met = np.flatnonzero((low < high) & (tiles.areas > 0))
    faces: list[int] = []
    ends = [0.0]
    for face in met[np.lexsort((-high[met], low[met]))].tolist():
        # Of two that cover the same stretch, beside a side that the segment goes along, one is enough.
        if not faces or (low[face] + high[face]) / 2 >= ends[-1]:
            ends[-1:] = [low[face], high[face]]
            faces.append(face)
    return np.array(faces, dtype=np.int64), np.array(ends if faces else [])
