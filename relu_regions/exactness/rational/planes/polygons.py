"""Convex polygons of a plane in integers, each corner the crossing of two lines, and how lines cut them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TypeAlias

__all__ = ["Corner", "Form", "Polygon", "Position", "crossing", "difference", "primitive", "total_area"]

# An affine function a + b s + c t as (a, b, c); a line is where it is 0.
Form: TypeAlias = tuple[int, int, int]
# The point (p / w, q / w) as (w, p, q) without a common factor, w > 0: equal points are equal triples.
Corner: TypeAlias = tuple[int, int, int]
Position: TypeAlias = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Polygon:
    """A convex polygon with positive area and no straight corner.

    A corner is computed from the two lines that meet there, never from other corners, so that numbers don't grow with
    the number of cuts.

    Attributes:
        lines: of the edges, counter-clockwise; their forms are positive inside.
        corners: corner i is where line i - 1 and line i meet, so that edge i begins there.
    """

    lines: tuple[Form, ...]
    corners: tuple[Corner, ...]

    @classmethod
    def of(cls, positions: Sequence[Position]) -> Polygon:
        """The polygon with these corners; straight ones are left out.

        Args:
            positions: in order, either way round, of a polygon that ``is_convex``.
        """
        turns = [_turn(*_around(positions, place)) for place in range(len(positions))]
        corners = [_corner(position) for position, turn in zip(positions, turns) if turn]
        if max(turns) <= 0:
            corners.reverse()
        lines = [primitive(_cross(corner, after)) for corner, after in zip(corners, corners[1:] + corners[:1])]
        return cls(tuple(lines), tuple(corners))

    def halves(self, line: Form) -> list[Polygon]:
        """The parts on both sides of a line, or the polygon itself if the line does not cross its inside."""
        heights = self.heights(line)
        if min(heights) >= 0 or max(heights) <= 0:
            return [self]
        a, b, c = line
        return [self._half(line, heights), self._half((-a, -b, -c), [-height for height in heights])]

    def above(self, line: Form) -> Polygon | None:
        """The part on which a form is not negative; None if it has no area."""
        heights = self.heights(line)
        if min(heights) >= 0:
            return self
        return None if max(heights) <= 0 else self._half(line, heights)

    def is_crossed_by(self, line: Form) -> bool:
        """Whether a line passes through the inside."""
        a, b, c = line
        is_above = is_below = False
        for w, p, q in self.corners:
            height = a * w + b * p + c * q
            is_above |= height > 0
            is_below |= height < 0
            if is_above and is_below:
                return True
        return False

    def cut_by(self, lines: Iterable[Form]) -> list[Polygon]:
        """The parts into which some lines cut it."""
        parts = [self]
        for line in lines:
            parts = [half for part in parts for half in part.halves(line)]
        return parts

    def envelope(self, forms: Sequence[Form]) -> list[tuple[int, Polygon]]:
        """The parts on which one of several forms is the largest, each with that form's place.

        Of equal forms the first counts.
        """
        places: dict[Form, int] = {}
        for place, form in enumerate(forms):
            places.setdefault(form, place)
        rows = [self.heights(form) for form in places]
        leads = [max(column) for column in zip(*rows)]
        for place, row in zip(places.values(), rows):
            if row == leads:
                return [(place, self)]
        found = ((place, self._where_largest(form, places)) for form, place in places.items())
        return [(place, part) for place, part in found if part is not None]

    def heights(self, form: Form) -> list[int]:
        """A form at every corner, times the corner's denominator."""
        a, b, c = form
        return [a * w + b * p + c * q for w, p, q in self.corners]

    @cached_property
    def inside(self) -> Corner:
        """A point strictly inside: a mean of all corners with positive weights; may have a common factor."""
        w, p, q = (sum(numbers) for numbers in zip(*self.corners))
        return w, p, q

    @cached_property
    def positions(self) -> tuple[Position, ...]:
        """The corners as fractions, counter-clockwise."""
        return tuple((Fraction(p, w), Fraction(q, w)) for w, p, q in self.corners)

    @cached_property
    def area(self) -> Fraction:
        """The area, in units of s t."""
        return total_area([self])

    @property
    def sides(self) -> Iterator[tuple[Corner, Corner]]:
        """From where to where each edge goes."""
        return zip(self.corners, self.corners[1:] + self.corners[:1])

    def _where_largest(self, form: Form, rivals: Iterable[Form]) -> Polygon | None:
        part: Polygon | None = self
        for rival in rivals:
            if part is not None and rival != form:
                part = part.above(difference(form, rival))
        return part

    def _half(self, line: Form, heights: list[int]) -> Polygon:
        """The part above a line that crosses the inside; heights are the line's form at the corners."""
        line, count = primitive(line), len(self.corners)
        lines: list[Form] = []
        corners: list[Corner] = []
        for place, (edge, corner, height) in enumerate(zip(self.lines, self.corners, heights)):
            after = heights[(place + 1) % count]
            if height > 0 or (height == 0 and after > 0):
                corners.append(corner)
                lines.append(edge)
            elif height == 0:  # the line leaves here: it crosses the inside, so the corner before is above it
                corners.append(corner)
                lines.append(line)
            if (height > 0 > after) or (height < 0 < after):
                corners.append(crossing(edge, line))
                lines.append(line if height > 0 else edge)
        return Polygon(tuple(lines), tuple(corners))


def primitive(form: Form) -> Form:
    """A positive multiple of a form that is not constant 0, without a common factor."""
    a, b, c = form
    divisor = math.gcd(a, b, c)
    return a // divisor, b // divisor, c // divisor


def difference(form: Form, other: Form) -> Form:
    """One form less another."""
    (a, b, c), (d, e, f) = form, other
    return a - d, b - e, c - f


def total_area(polygons: Iterable[Polygon]) -> Fraction:
    """The sum of areas, in units of s t.

    It is a sum over the sides, in which one that two polygons share cancels. Without it numbers would grow with each
    polygon that is added.
    """
    counts: dict[tuple[Corner, Corner], int] = {}
    for start, end in (side for polygon in polygons for side in polygon.sides):
        if (end, start) in counts:
            counts[end, start] -= 1
        else:
            counts[start, end] = counts.get((start, end), 0) + 1
    twice = [
        count * Fraction(p * end_q - end_p * q, w * end_w)
        for ((w, p, q), (end_w, end_p, end_q)), count in counts.items()
        if count
    ]
    return _sum(twice) / 2


def _sum(numbers: Sequence[Fraction]) -> Fraction:
    """By halves, so that most sums are of short numbers."""
    if len(numbers) < 2:
        return sum(numbers, Fraction(0))
    middle = len(numbers) // 2
    return _sum(numbers[:middle]) + _sum(numbers[middle:])


def _around(positions: Sequence[Position], place: int) -> tuple[Position, Position, Position]:
    return positions[place - 1], positions[place], positions[(place + 1) % len(positions)]


def _turn(start: Position, middle: Position, end: Position) -> Fraction:
    """Twice the area of the triangle; positive for a turn to the left."""
    return (middle[0] - start[0]) * (end[1] - start[1]) - (middle[1] - start[1]) * (end[0] - start[0])


def _corner(position: Position) -> Corner:
    s, t = position
    w = math.lcm(s.denominator, t.denominator)
    return w, s.numerator * (w // s.denominator), t.numerator * (w // t.denominator)


def _cross(first: Form, second: Form) -> Form:
    """The crossing of two lines, or the line through two points."""
    (a, b, c), (d, e, f) = first, second
    return b * f - c * e, c * d - a * f, a * e - b * d


def crossing(first: Form, second: Form) -> Corner:
    """The point at which two lines that are not parallel cross."""
    w, p, q = primitive(_cross(first, second))
    return (w, p, q) if w > 0 else (-w, -p, -q)
