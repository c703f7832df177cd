"""Which planes: those through three points, with the triangle of these or more of the plane around it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from relu_regions.lines.line_batch import Array
from relu_regions.lines.plane_batch import Position

__all__ = ["Triangles", "planes_through"]


class Triangles(NamedTuple):
    """Planes ``x + s u + t v`` and the part of (s, t) to look at; ``walk_plane(model, *triangles)`` takes them.

    Attributes:
        x, u, v: ``(N, *shape)`` float64.
        polygon: the corners (s, t) of a triangle, the same for all planes.
    """

    x: Tensor
    u: Tensor
    v: Tensor
    polygon: tuple[Position, Position, Position]


def planes_through(a: Array, b: Array, c: Array, margin: float = 0.0) -> Triangles:
    """The planes through three points each: a at (s, t) = (0, 0), b at (1, 0) and c at (0, 1).

    ``u = b - a`` and ``v = c - a`` are computed in float64, so that the plane meets b and c to rounding.

    Args:
        a: ``(N, *shape)`` floats; a, b and c are broadcastable to one shape.
        b: likewise.
        c: likewise.
        margin: by how much to enlarge the triangle about its centre: 0.5 makes its sides half as long again.

    Raises:
        TypeError: a, b or c is not float.
        ValueError: their shapes do not match, or margin is not finite or not above -1.
    """
    points = [torch.as_tensor(given).detach() for given in (a, b, c)]
    for name, point in zip("abc", points):
        if not point.is_floating_point():
            raise TypeError(f"{name} must be float, got {point.dtype}: scale it first, as in {name} / 255")
    if not -1 < margin < math.inf:
        raise ValueError(f"margin must be finite and above -1, got {margin}")
    try:
        shape = np.broadcast_shapes(*(tuple(point.shape) for point in points))
    except ValueError:
        shapes = ", ".join(str(tuple(point.shape)) for point in points)
        raise ValueError(f"a, b and c must have one shape (N, *shape), or broadcast to it, got {shapes}") from None
    x, second, third = (point.double().expand(shape) for point in points)
    outwards = Fraction(margin) / 3
    near, far = -outwards, 1 + 2 * outwards
    return Triangles(x, second - x, third - x, ((near, near), (far, near), (near, far)))
