"""The polygons of planes, given in fractions, as the floats and bounds from which a walk of planes starts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from relu_regions.backends.plane_cuts import Polygons
from relu_regions.exactness.rational.planes.polygons import Corner, Form, Polygon
from relu_regions.lines.plane_batch import Position
from relu_regions.network.arrays import Floats

__all__ = ["corner_row", "outlines"]

_ROUNDOFF = 2.0**-53
# Between these products of coordinates neither overflow nor lose digits.
_SMALLEST, _LARGEST = 1e-60, 1e60


def outlines(polygons: Sequence[Polygon]) -> tuple[Polygons, Floats]:
    """The polygons in floats, and the largest absolute s and t of each, ``(N, 2)``, a little rounded up.

    A polygon whose coordinates floats do not hold well has infinite bounds: every sign in it is in doubt.
    """
    made = {id(polygon): polygon for polygon in polygons}
    rounded = {key: _outline(polygon) for key, polygon in made.items()}
    each = [rounded[id(polygon)] for polygon in polygons]
    counts = [len(rows) for rows, _ in each]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    place = np.concatenate([np.arange(count) for count in counts]) if counts else np.zeros(0, dtype=np.int64)
    # Labels of sides count from 1, since 0 stands for no line; those of gates begin further up.
    hashes = np.array([_hashes(number) for number in range(max(counts, default=0))], dtype=np.uint64).reshape(-1, 2)
    names = np.concatenate([hashes[place], place.astype(np.uint64)[:, None] + np.uint64(1)], axis=1)
    rows = np.concatenate([part for part, _ in each]) if each else np.zeros((0, 8))
    return Polygons(offsets, rows, names), np.array([reach for _, reach in each], dtype=np.float64).reshape(-1, 2)


def _outline(polygon: Polygon) -> tuple[Floats, tuple[float, float]]:
    reach_s, reach_t = _reach(polygon)
    if not all(_SMALLEST < reach < _LARGEST for reach in (reach_s, reach_t)):
        rows = np.zeros((len(polygon.corners), 8))
        rows[:, :2] = [[_nearest(number) for number in position] for position in polygon.positions]
        rows[:, 2:4], rows[:, 7] = math.inf, math.inf
        return rows, (math.inf, math.inf)
    rows = np.array([_row(corner, line, reach_s, reach_t) for corner, line in zip(polygon.positions, polygon.lines)])
    return rows, (float(reach_s) * (1 + 1e-9), float(reach_t) * (1 + 1e-9))


def corner_row(polygon: Polygon) -> Callable[[Corner, Form], list[float]]:
    """What makes the numbers of a corner in a plane, with the edge that begins there, as ``Polygons`` keeps them.

    Args:
        polygon: the plane's.
    """
    reach_s, reach_t = _reach(polygon)

    def row(corner: Corner, line: Form) -> list[float]:
        w, p, q = corner
        return _row((Fraction(p, w), Fraction(q, w)), line, reach_s, reach_t)

    return row


def _reach(polygon: Polygon) -> tuple[Fraction, Fraction]:
    """The largest absolute s and t."""
    s, t = (max(map(abs, numbers)) for numbers in zip(*polygon.positions))
    return s, t


def _row(corner: Position, line: Form, reach_s: Fraction, reach_t: Fraction) -> list[float]:
    floats = [float(number) for number in corner]
    radii = [0.0 if exact == number else 2 * _ROUNDOFF * abs(number) for exact, number in zip(corner, floats)]
    a, b, c = line
    size = abs(a) + reach_s * abs(b) + reach_t * abs(c)
    # The largest part of the form is about 1; what is rounded of each is relative to it, and so is its evaluation.
    form = [part * size.denominator / size.numerator for part in line]
    return [*floats, *radii, *form, 16 * _ROUNDOFF]


def _hashes(number: int) -> list[int]:
    """Two that name a corner of a plane's polygon by its number."""
    digest = hashlib.blake2b(number.to_bytes(8, "little"), digest_size=16).digest()
    return [int.from_bytes(part, "little") for part in (digest[:8], digest[8:])]


def _nearest(number: Fraction) -> float:
    try:
        return float(number)
    except OverflowError:
        raise ValueError("a corner of polygon is beyond the range of floats; give smaller numbers.") from None
