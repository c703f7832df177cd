"""Which planes: those through three points, or three samples of a class, with their triangle or more around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Integer
from torch import Tensor

from relu_regions.lines.line_batch import Array
from relu_regions.lines.plane_batch import Position
from relu_regions.lines.ranked_tuples import combinations, members_of
from relu_regions.lines.samples import checked, differ, groups

__all__ = ["Triangles", "TrianglesOfSamples", "planes_through", "triangles"]


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
    _check_margin(margin)
    try:
        shape = np.broadcast_shapes(*(tuple(point.shape) for point in points))
    except ValueError:
        shapes = ", ".join(str(tuple(point.shape)) for point in points)
        raise ValueError(f"a, b and c must have one shape (N, *shape), or broadcast to it, got {shapes}") from None
    x, second, third = (point.double().expand(shape) for point in points)
    outwards = Fraction(margin) / 3
    near, far = -outwards, 1 + 2 * outwards
    return Triangles(x, second - x, third - x, ((near, near), (far, near), (near, far)))


@dataclass(frozen=True, eq=False, repr=False)
class TrianglesOfSamples:
    """A family of triangles of samples, held as numbers of samples until they are asked for.

    A million triangles cost three integers each. ``x``, ``u`` and ``v`` are made anew whenever they are read, so take
    them batch by batch::

        for batch in triangles.batches():
            planes = walk_plane(model, *batch)

    Attributes:
        points: ``(M, *shape)`` float64, the samples, on their device.
        index: ``(N, 3)`` int64, CPU: the samples at (s, t) = (0, 0), (1, 0) and (0, 1) of each plane.
        margin: by how much each triangle is enlarged about its centre.
    """

    points: Float64[Tensor, " M *shape"]
    index: Int64[Tensor, " N 3"]
    margin: float

    @property
    def planes(self) -> Triangles:
        """All of them."""
        a, b, c = self.points[self.index.T.to(self.points.device)]
        return planes_through(a, b, c, self.margin)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, which: int | slice | Tensor) -> TrianglesOfSamples:
        """The chosen triangles as a family of their own; a single number gives a family of one."""
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"triangle {which} of {len(self)}")
            which = slice(which % len(self), which % len(self) + 1)
        return replace(self, index=self.index[which])

    def batches(self, size: int = 256) -> Iterator[Triangles]:
        """The triangles in order, ``size`` at a time, as ``walk_plane`` takes them."""
        if size < 1:
            raise ValueError(f"a batch needs at least one triangle, got size={size}")
        return (self[start : start + size].planes for start in range(0, len(self), size))

    def __repr__(self) -> str:
        shape = tuple(self.points.shape[1:])
        return f"TrianglesOfSamples(number={len(self)}, shape={shape}, margin={self.margin})"


def triangles(
    samples: Float[Array, " M *shape"],
    labels: Integer[Array, " M"],
    *,
    classes: Sequence[int] | None = None,
    number: int | None = None,
    seed: int = 0,
    margin: float = 0.0,
) -> TrianglesOfSamples:
    """The planes through three samples of one class each, and the triangles that these are the corners of.

    Each set of three different samples of a class is one triangle; sets with two equal samples span no plane, and are
    left out. A class of n samples has n (n - 1) (n - 2) / 6 triangles: ask for a ``number`` of them where n is large.

    Args:
        samples: (M, *shape) float.
        labels: (M,) integer.
        classes: only these; all of them by default.
        number: of triangles, drawn at random without replacement; all of them by default.
        seed: of the draw.
        margin: by how much to enlarge each triangle about its centre, as in `planes_through`.

    Returns:
        Triangles with ``index`` (N, 3): the samples at (s, t) = (0, 0), (1, 0) and (0, 1).

    Raises:
        TypeError: for samples that are not float or labels that are not integer.
        ValueError: for shapes that do not match, samples that are not finite, a class without a sample, classes too
            small for a single triangle, more triangles asked for than there are, or a margin that is not above -1.

    Examples:
        >>> import relu_regions as rr, torch
        >>> samples, labels = torch.eye(5), torch.tensor([0, 1, 0, 0, 0])
        >>> triangles = rr.directions.triangles(samples, labels)
        >>> triangles.index.tolist()
        [[0, 2, 3], [0, 2, 4], [0, 3, 4], [2, 3, 4]]
        >>> [len(batch.x) for batch in triangles.batches(3)]
        [3, 1]
    """
    points, classified = checked(samples, labels)
    _check_margin(margin)
    members = members_of([combinations(group, 3) for group in groups(classified, classes)], number, seed, "triangles")
    for one, other in ((0, 1), (0, 2), (1, 2)):
        members = members[differ(points, members[:, one], members[:, other])]
    if len(members) == 0:
        raise ValueError("each triangle has two corners that are equal samples, so that none spans a plane")
    return TrianglesOfSamples(points, torch.from_numpy(members), margin)


def _check_margin(margin: float) -> None:
    if not -1 < margin < math.inf:
        raise ValueError(f"margin must be finite and above -1, got {margin}")
