"""The door for planes: what the caller gave as model, points, two directions and polygon, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from relu_regions.lines.line_batch import Array, Model, as_directions, as_points, converted, spread
from relu_regions.network.network import Network, read
from relu_regions.network.plan import fused
from relu_regions.network.reading.verify import Original

__all__ = ["Number", "PlaneBatch", "PolygonLike", "Position"]

Number: TypeAlias = Fraction | float | int
Position: TypeAlias = tuple[Fraction, Fraction]
PolygonLike: TypeAlias = Sequence[Sequence[Number]] | Sequence[Sequence[Sequence[Number]]] | Array


@dataclass(frozen=True)
class PlaneBatch:
    """The planes ``x + s u + t v`` of a batch and the network they go through.

    Attributes:
        network: in the dtype of the walk, on x's device.
        x, u, v: ``(N, *input_shape)``, in the dtype of the walk; u and v of one plane are linearly independent.
        polygons: for each plane the corners (s, t) of a convex polygon, in order, either way round.
        original: the model that the network was read from; None where a network was given.
    """

    network: Network
    x: Tensor
    u: Tensor
    v: Tensor
    polygons: list[list[Position]]
    original: Original | None = None

    def __len__(self) -> int:
        return self.x.shape[0]

    @classmethod
    def of(
        cls, model: Model, x: Array, u: Array, v: Array, polygon: PolygonLike, dtype: torch.dtype = torch.float64
    ) -> PlaneBatch:
        """Check what a public function was given.

        Raises:
            TypeError: x, u or v is no floating-point tensor or array; dtype is neither float64 nor float32.
            ValueError: shapes do not match, a number is not finite, u and v are parallel, or a polygon is not convex;
                or as ``Network.from_module``.
            UnsupportedOperation: as ``Network.from_module``.
        """
        points = as_points(x, dtype)
        first, second = as_directions("u", u, points), as_directions("v", v, points)
        for row, pair in enumerate(zip(first, second)):
            if _are_parallel(*pair):
                raise ValueError(f"u and v are parallel in row {row} of {len(points)}; a plane needs two directions.")
        polygons = _polygons(polygon, len(points))
        ends = torch.cat([points[:1], points[:1] + first[:1] + second[:1]]) if len(points) else None
        network, original = read(model, points.shape[1:], ends)
        return cls(converted(network, points), points, first, second, polygons, original)

    def fused(self) -> PlaneBatch:
        """The same planes through the same function, with maxima fused as ``network.plan.fused`` does."""
        return replace(self, network=fused(self.network))

    def only(self, numbers: Sequence[int]) -> PlaneBatch:
        """Some of the planes, by their numbers, without the original."""
        x, u, v = (part[list(numbers)] for part in (self.x, self.u, self.v))
        return PlaneBatch(self.network, x, u, v, [self.polygons[number] for number in numbers])

    def row(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """x, u and v of one plane."""
        return self.x[number], self.u[number], self.v[number]

    def to(self, device: torch.device | str) -> PlaneBatch:
        """The same planes on another device."""
        x, u, v = (part.to(device) for part in (self.x, self.u, self.v))
        return replace(self, network=self.network.to(x.dtype, x.device), x=x, u=u, v=v)

    def compare(self, planes: Tensor, places: Tensor) -> None:
        """Compare the network with the model that it was read from, at points of an answer.

        Args:
            planes: numbers of planes, ``(K,)`` int64.
            places: (s, t) of each point there, ``(K, 2)``; what is not finite is left out.

        Raises:
            UnsupportedOperation: they differ by more than the model's rounding explains; the text names the point.
        """
        if self.original is None:
            return
        finite = torch.isfinite(places).all(1)
        planes, places = (spread(part[finite], self.original.most_rows) for part in (planes, places))
        planes = planes.to(self.x.device)
        s, t = (part.to(self.x).view(-1, *[1] * (self.x.ndim - 1)) for part in places.unbind(1))
        self.original.check(self.x[planes] + s * self.u[planes] + t * self.v[planes])


def _are_parallel(u: Tensor, v: Tensor) -> bool:
    """Whether two directions that are not 0 are multiples of each other, exactly."""
    numbers, others = u.reshape(-1).tolist(), v.reshape(-1).tolist()
    pivot = next(place for place, number in enumerate(numbers) if number)
    by, to = Fraction(numbers[pivot]), Fraction(others[pivot])
    return all(Fraction(number) * to == Fraction(other) * by for number, other in zip(numbers, others))


def _polygons(given: PolygonLike, count: int) -> list[list[Position]]:
    plain = _plain(given)
    if not isinstance(plain, list):
        raise TypeError(f"polygon must list corners (s, t), not {given!r}.")
    rows = plain if _depth(plain) == 3 else [plain]
    each = [_corners(row) for row in rows]
    if rows is plain and len(each) != count:
        raise ValueError(f"polygon lists {len(each)} polygons for {count} planes; give one for all, or one for each.")
    for row, corners in enumerate(each):
        if not _is_convex(corners):
            raise ValueError(
                f"polygon is not convex in row {row}: {rows[row]}; give three or more different corners, in order."
            )
    return each if rows is plain else each * count


def _plain(given: Any) -> Any:
    """Numbers in lists, whatever sequences, tensors or arrays they were given in."""
    if isinstance(given, (Tensor, np.ndarray, np.generic)):
        return _plain(given.tolist())
    if isinstance(given, (list, tuple)):
        return [_plain(part) for part in given]
    if not isinstance(given, (int, float, Fraction)):
        raise TypeError(f"polygon must list corners (s, t) of numbers, not {given!r}.")
    return given


def _depth(plain: Any) -> int:
    return 1 + _depth(plain[0]) if isinstance(plain, list) and plain else 0


def _corners(plain: Any) -> list[Position]:
    if not isinstance(plain, list):
        raise ValueError(f"polygon must list corners (s, t), not {plain!r}.")
    return [_position(corner) for corner in plain]


def _position(corner: Any) -> Position:
    if not isinstance(corner, list) or len(corner) != 2 or any(isinstance(number, list) for number in corner):
        raise ValueError(f"a corner of polygon must be a pair (s, t), not {corner!r}.")
    try:
        return Fraction(corner[0]), Fraction(corner[1])
    except (ValueError, OverflowError):
        raise ValueError(f"a corner of polygon must be finite, not {corner!r}.") from None


def _is_convex(corners: Sequence[Position]) -> bool:
    """Whether points are the corners of a convex polygon, in order and once round, straight corners allowed.

    So it is if they differ and all of them lie on one side of each edge, or on it, but not all on one line.
    """
    # Integers are much faster than fractions.
    scale = math.lcm(*(number.denominator for corner in corners for number in corner))
    whole = [(int(s * scale), int(t * scale)) for s, t in corners]
    if len(set(whole)) != len(whole):
        return False
    edges = zip(whole, [*whole[1:], *whole[:1]])
    sides = [_turn(start, end, corner) for start, end in edges for corner in whole]
    return any(sides) and (min(sides) >= 0 or max(sides) <= 0)


def _turn(start: tuple[int, int], middle: tuple[int, int], end: tuple[int, int]) -> int:
    """Twice the area of the triangle; positive for a turn to the left."""
    return (middle[0] - start[0]) * (end[1] - start[1]) - (middle[1] - start[1]) * (end[0] - start[0])
