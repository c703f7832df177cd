"""Corners of convex polygons in planes, lines that may cut them, and signs at corners, in plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from relu_regions.network.arrays import Floats

__all__ = [
    "LARGEST",
    "Corner",
    "Doubt",
    "Line",
    "Name",
    "Part",
    "Plane",
    "crossing_name",
    "first_of",
    "half_of",
    "heights_of",
    "inside_name",
    "line_of",
    "pair_label",
    "pair_of",
    "side_of",
]

# Eight roundings of an evaluation; what underflow can do; and a little more than 1, for the roundings of bounds.
_EVALUATION, _UNDERFLOW, _MORE = 16 * 2.0**-53, 1e-290, 1.0001
# A bound that is larger says nothing.
LARGEST = 1 / _UNDERFLOW
# How many hashes there are.
_HASHES = 1 << 64

Name: TypeAlias = tuple[int, int]


class Doubt(Exception):
    """A sign is in doubt."""


class Plane(NamedTuple):
    """The largest absolute s and t, and whether signs must be sure."""

    s: float
    t: float
    bounded: bool


class Line(NamedTuple):
    """The form a + b s + c t, a bound of its error, that of evaluating it included, and a label."""

    a: float
    b: float
    c: float
    error: float
    label: int

    def at(self, corner: Corner) -> float:
        return self.a + self.b * corner.s + self.c * corner.t

    def cross(self, other: Line, plane: Plane) -> tuple[float, float]:
        """The determinant of two lines' slopes, and a bound of its error."""
        most_b, most_c = abs(self.b) + self.error / plane.s, abs(self.c) + self.error / plane.t
        other_b, other_c = abs(other.b) + other.error / plane.s, abs(other.c) + other.error / plane.t
        error = (most_b * other.error + other_b * self.error) / plane.t
        error += (most_c * other.error + other_c * self.error) / plane.s
        return self.b * other.c - self.c * other.b, error


class Corner(NamedTuple):
    """Where it is, how far the true one can be from there, its two names, and the edge that begins there.

    Attributes:
        side: what the edge was part of before a window divided its part: the number of an edge, or -1 less the input
            that takes over there.
    """

    s: float
    t: float
    radius_s: float
    radius_t: float
    name: Name
    edge: Line
    side: int = 0


Part = list[Corner]


def line_of(forms: Floats, errors: Floats, unit: int, plane: Plane, label: int, knot: float = 0.0) -> Line:
    a, b, c = forms[:, unit].tolist()
    size = abs(a) + abs(knot) + plane.s * abs(b) + plane.t * abs(c)
    return Line(a - float(knot), b, c, float(errors[unit]) + _EVALUATION * size + _UNDERFLOW, label)


def heights_of(
    line: Line, part: Part, plane: Plane, meet: Callable[[Corner, Line], bool] = lambda corner, before: False
) -> list[float]:
    """A line's form at the corners of a part.

    Args:
        meet: whether it is 0 at a corner, where two edges meet, by construction.

    Raises:
        Doubt: a sign is not sure.
    """
    heights = [line.at(corner) for corner in part]
    for number, (height, corner) in enumerate(zip(heights, part)):
        before = part[number - 1].edge
        if plane.bounded and not _is_sure(height, line, corner, before, plane):
            if not meet(corner, before):
                raise Doubt
            heights[number] = 0.0
    return heights


def side_of(heights: list[float], where_zero: int = -1) -> int:
    """On which side of a line a part is: 1 above, -1 below, 0 on both; ``where_zero`` if all of it is on the line."""
    above, below = any(height > 0 for height in heights), any(height < 0 for height in heights)
    return above - below if above or below else where_zero


def _is_sure(height: float, line: Line, corner: Corner, before: Line, plane: Plane) -> bool:
    """Whether a line's height at a computed corner has the sign of that at the true one, where two edges meet."""
    if not (line.error < LARGEST and abs(height) > line.error):
        return False
    if abs(height) > line.error + abs(line.b) * corner.radius_s + abs(line.c) * corner.radius_t:
        return True
    det, det_error = before.cross(corner.edge, plane)
    first, first_error = line.cross(corner.edge, plane)
    second, second_error = before.cross(line, plane)
    # What is larger may have overflowed.
    if not _UNDERFLOW < abs(det) - det_error < LARGEST:
        return False
    moved = (abs(first) + first_error + _UNDERFLOW) * (abs(before.at(corner)) + before.error)
    moved += (abs(second) + second_error + _UNDERFLOW) * (abs(corner.edge.at(corner)) + corner.edge.error)
    return abs(height) > line.error + _MORE * (moved + _UNDERFLOW) / (abs(det) - det_error)


def half_of(
    part: Part,
    line: Line,
    heights: list[float],
    sign: int,
    plane: Plane,
    name: Callable[[Corner], Name] | None = None,
) -> Part:
    """The part above a line that crosses it, or below it.

    Args:
        heights: of the line's form at the corners.
        sign: 1 for above, -1 for below.
        name: of the crossing on the edge that begins at a corner; else from the names of its ends.
    """
    half = []
    for number, (corner, height) in enumerate(zip(part, heights)):
        following = (number + 1) % len(part)
        here, there = sign * height, sign * heights[following]
        if here > 0 or (here == 0 and there > 0):
            half.append(corner)
        elif here == 0:
            half.append(corner._replace(edge=line))
        if (here > 0 > there) or (here < 0 < there):
            after = part[following]
            made = crossing_name(corner.name, after.name, line.label) if name is None else name(corner)
            crossing = _crossing(corner, after, line, plane)._replace(name=made)
            half.append(crossing._replace(edge=line) if here > 0 else crossing)
    return half


def _crossing(corner: Corner, after: Corner, line: Line, plane: Plane) -> Corner:
    """Where a line crosses the edge between two corners."""
    height, height_after = line.at(corner), line.at(after)
    share = height / (height - height_after)
    s, t = corner.s + share * (after.s - corner.s), corner.t + share * (after.t - corner.t)
    crossing = corner._replace(s=s, t=t)
    if not plane.bounded:
        return crossing
    # The true one is between the edge's true ends.
    radius_s = _MORE * max(abs(end.s - s) + end.radius_s for end in (corner, after))
    radius_t = _MORE * max(abs(end.t - t) + end.radius_t for end in (corner, after))
    det, error = corner.edge.cross(line, plane)
    if _UNDERFLOW < abs(det) - error < LARGEST:
        off, off_edge = abs(line.at(crossing)) + line.error, abs(corner.edge.at(crossing)) + corner.edge.error
        slope_s = [abs(one.b) + one.error / plane.s for one in (line, corner.edge)]
        slope_t = [abs(one.c) + one.error / plane.t for one in (line, corner.edge)]
        least = abs(det) - error
        radius_s = min(radius_s, _MORE * (slope_t[0] * off_edge + slope_t[1] * off + _UNDERFLOW) / least)
        radius_t = min(radius_t, _MORE * (slope_s[0] * off_edge + slope_s[1] * off + _UNDERFLOW) / least)
    return crossing._replace(radius_s=radius_s, radius_t=radius_t)


def crossing_name(start: Name, end: Name, label: int) -> Name:
    """The name of the corner at which a line, by its label, crosses the edge between two corners."""
    one, other = start[0] + end[0], start[1] + end[1]
    return _mixed(one + _mixed(label + 0x9E3779B97F4A7C15)), _mixed(other + _mixed(label + 0xD1B54A32D192ED03))


def inside_name(names: Iterable[Name], number: int) -> Name:
    """The name of a corner in the inside of a part, from those of the part's corners and a number."""
    first, second = (sum(hashes) for hashes in zip(*names))
    return _mixed(first + _mixed(number + 1)), _mixed(second + _mixed(number + 2))


def first_of(label: int, unit: int, width: int) -> int:
    """The first of the labels that the window of a unit of a maximum has, with so many inputs.

    Args:
        label: the first of the gate.
    """
    return label + unit * ((width + 2) ** 2 + width**3)


def pair_label(label: int, unit: int, one: int, other: int, width: int) -> int:
    """The label of the line on which two places of a window are equal."""
    return first_of(label, unit, width) + min(one, other) * (width + 2) + max(one, other)


def pair_of(label: int, edge: int, units: int, width: int) -> tuple[int, int, int] | None:
    """The unit, and the two places, of which a label says that they are equal; None for other labels."""
    unit, number = divmod(edge - label, first_of(0, 1, width))
    return (unit, *divmod(number, width + 2)) if 0 <= unit < units else None


def _mixed(number: int) -> int:
    """A permutation of the integers of 64 bits that leaves nothing of their order (splitmix64)."""
    number %= _HASHES
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % _HASHES
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % _HASHES
    return number ^ (number >> 31)
