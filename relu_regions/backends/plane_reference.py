"""Faces of planes cut in plain Python, slowly: what each function of a plane kernel does.

A sign is that of a form a + b s + c t at a corner of a true polygon, the crossing of two true lines. Of each of these
forms there are floats and a bound of their error, so a sign can be in doubt; then its face is, and has no parts.

A corner has a name, which all polygons that have the corner agree on. Where a line crosses an edge, the new corner's
name follows from the names of the edge's ends and the line's label. Where three inputs of a maximum meet in the inside
of a part, it follows from the names of the part's corners and the three inputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from relu_regions.backends.plane_cuts import Cut, Polygons
from relu_regions.backends.plane_forms import bend_relu, summands
from relu_regions.backends.plane_matching import number_corners, number_sides
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "cut_at_knots", "cut_by_leads", "number_corners", "number_sides", "summands"]

# Eight roundings of an evaluation; what underflow can do; and a little more than 1, for the roundings of bounds.
_EVALUATION, _UNDERFLOW, _MORE = 8 * 2.0**-53, 1e-290, 1.0001


class _Doubt(Exception):
    """A sign is in doubt."""


class _Plane(NamedTuple):
    """The largest absolute s and t, and whether signs must be sure."""

    s: float
    t: float
    bounded: bool


class _Line(NamedTuple):
    """The form a + b s + c t, a bound of its error, that of evaluating it included, and a label."""

    a: float
    b: float
    c: float
    error: float
    label: int

    def at(self, corner: _Corner) -> float:
        return self.a + self.b * corner.s + self.c * corner.t

    def cross(self, other: _Line, plane: _Plane) -> tuple[float, float]:
        """The determinant of two lines' slopes, and a bound of its error."""
        most_b, most_c = abs(self.b) + self.error / plane.s, abs(self.c) + self.error / plane.t
        other_b, other_c = abs(other.b) + other.error / plane.s, abs(other.c) + other.error / plane.t
        error = (most_b * other.error + other_b * self.error) / plane.t
        error += (most_c * other.error + other_c * self.error) / plane.s
        return self.b * other.c - self.c * other.b, error


class _Corner(NamedTuple):
    """Where it is, how far the true one can be from there, its two names, and the edge that begins there.

    Attributes:
        side: what the edge was part of before a window divided its part: the number of an edge, or -1 less the input
            that takes over there.
    """

    s: float
    t: float
    radius_s: float
    radius_t: float
    name: tuple[int, int]
    edge: _Line
    side: int = 0


_Part = list[_Corner]


def cut_at_knots(
    polygons: Polygons,
    forms: Floats,
    errors: Floats,
    known: Numbers,
    knots: Floats,
    reach: Floats,
    label: int,
    bounded: bool,
) -> Cut:
    """Cut every face along the lines on which its units are on a knot.

    Args:
        polygons: F faces.
        forms: of the gate's inputs on each, ``(F, 3, units)``: constants, slopes by s, slopes by t.
        errors: bounds of them, ``(F, units)``.
        known: pieces that need no test, ``(F, units)`` int8, -1 for all others; ``(0, 0)`` where there are none.
        knots: ``(m, units)``.
        reach: the largest absolute s and t of each face's plane, ``(F, 2)``.
        label: that of the first unit's first knot; the others follow.
        bounded: whether signs must be sure. If not, they are those of floats, and no face is in doubt.

    Returns:
        The parts, and which faces are in doubt.
    """

    def parts_of(face: int, polygon: _Part, plane: _Plane) -> Iterator[tuple[_Part, list[int]]]:
        certainly = known[face].tolist() if len(known) else [-1] * errors.shape[1]
        pieces = [max(piece, 0) for piece in certainly]
        lines = [
            (unit, _line(forms[face], errors[face], unit, plane, label + unit * len(knots) + level, knots[level, unit]))
            for level in range(len(knots))
            for unit in range(errors.shape[1])
            if certainly[unit] < 0
        ]
        waiting = [_crossed(polygon, lines, pieces, plane)]
        while waiting:
            part, lines, pieces = waiting.pop()
            if not lines:
                yield part, pieces
                continue
            (unit, line), *others = lines
            raised = [piece + (number == unit) for number, piece in enumerate(pieces)]
            above, below = _half(part, line, 1, plane), _half(part, line, -1, plane)
            waiting += [_crossed(above, others, raised, plane), _crossed(below, others, pieces, plane)]

    return _cut(polygons, reach, bounded, parts_of, errors.shape[1])


def cut_by_leads(
    polygons: Polygons,
    forms: Floats,
    errors: Floats,
    known: Numbers,
    windows: Integers,
    reach: Floats,
    label: int,
    bounded: bool,
) -> Cut:
    """Cut every face into the parts on which each unit of a maximum is one input of its window.

    Of inputs that are equal the first in the window counts.

    Args:
        known: ``(F, inputs)`` int8: 0 for inputs that are 0 on the face, 1 for those that are above 0 inside of it, -1
            for all others; ``(0, 0)`` where all are others.
        windows: ``(units, k)``, positions among the inputs.
        label: the first of those of this gate.

    Other arguments and the result are as those of ``cut_at_knots``.
    """

    def parts_of(face: int, polygon: _Part, plane: _Plane) -> Iterator[tuple[_Part, list[int]]]:
        signs = known[face].tolist() if len(known) else [-1] * errors.shape[1]
        parts: list[tuple[_Part, list[int]]] = [(polygon, [])]
        for unit, window in enumerate(windows.tolist()):
            inputs = [_line(forms[face], errors[face], source, plane, 0) for source in window]
            gate = _Window(inputs, [signs[source] for source in window], label, unit, plane)
            places = [place for place in gate.places if window.index(window[place]) == place]
            parts = [
                (region, [*pieces, place]) for part, pieces in parts for place, region in gate.regions(part, places)
            ]
        yield from parts

    return _cut(polygons, reach, bounded, parts_of, len(windows))


class _Window(NamedTuple):
    """A window of a maximum on one face: its inputs, what is known of their signs, and how to name what it makes."""

    inputs: list[_Line]
    signs: list[int]
    label: int
    unit: int
    plane: _Plane

    @property
    def places(self) -> list[int]:
        """The inputs that can lead: of those that are 0 the first, and none where one is above 0."""
        zero = next((place for place, sign in enumerate(self.signs) if sign == 0 and 1 not in self.signs), None)
        return [place for place, sign in enumerate(self.signs) if sign != 0 or place == zero]

    def regions(self, part: _Part, places: list[int]) -> Iterator[tuple[int, _Part]]:
        """Where in a part each input leads."""
        leader = max(places, key=lambda place: sum(self.inputs[place].at(corner) for corner in part))
        places = [place for place in places if place == leader or not self._trails(part, place, leader)]
        if len(places) == 1:
            yield leader, part
            return
        for place in places:
            region = [corner._replace(side=number) for number, corner in enumerate(part)]
            for rival in places:
                if rival != place and region:
                    region = self._where_leading(part, region, place, rival)
            if region:
                yield place, region

    def _trails(self, part: _Part, place: int, leader: int) -> bool:
        try:
            return _side(self._lead(leader, place), part, self.plane, -1 if place < leader else 1) > 0
        except _Doubt:
            return False

    def _lead(self, place: int, rival: int) -> _Line:
        one, other = self.inputs[place], self.inputs[rival]
        label = self.label + self._number(self.unit, *sorted((place, rival)))
        return _Line(one.a - other.a, one.b - other.b, one.c - other.c, one.error + other.error, label)

    def _number(self, *places: int) -> int:
        number = 0
        for place in places:
            number = number * (len(self.inputs) + 2) + place + 1
        return number

    def _where_leading(self, part: _Part, region: _Part, place: int, rival: int) -> _Part:
        line = self._lead(place, rival)
        side = _side(line, region, self.plane, 1 if place < rival else -1)
        if side:
            return region if side > 0 else []
        half = _half(region, line, 1, self.plane, lambda corner: self._name(part, corner, place, rival))
        return [corner._replace(side=-1 - rival) if corner.edge is line else corner for corner in half]

    def _name(self, part: _Part, corner: _Corner, place: int, rival: int) -> tuple[int, int]:
        """The name of where two inputs are equal on the edge that begins at a corner of the place's region."""
        if corner.side < 0:
            number = self._number(self.unit, *sorted((place, rival, -1 - corner.side)))
            first, second = (sum(corner.name[which] for corner in part) for which in (0, 1))
            return _named(first, second, self.label + number)
        # A neighbour names it alike, so that an input that is 0 on all of the edge goes by one name with those that are
        # 0 throughout.
        start, end = part[corner.side], part[(corner.side + 1) % len(part)]
        edge = start.edge[:3]
        zero = [
            self.signs[number] == 0 or (self.signs[number] == 1 and self.inputs[number][:3] == edge)
            for number in (place, rival)
        ]
        number = self._number(self.unit, *sorted(-1 if zero else number for zero, number in zip(zero, (place, rival))))
        return _named(start.name[0] + end.name[0], start.name[1] + end.name[1], self.label + number)


def _cut(
    polygons: Polygons,
    reach: Floats,
    bounded: bool,
    parts_of: Callable[[int, _Part, _Plane], Iterator[tuple[_Part, list[int]]]],
    units: int,
) -> Cut:
    """The parts of all faces, as arrays."""
    parents, parts, pieces, doubt = [], [], [], np.zeros(len(polygons), dtype=bool)
    for face, (start, stop) in enumerate(pairwise(polygons.offsets.tolist())):
        rows = zip(polygons.numbers[start:stop].tolist(), polygons.names[start:stop].tolist())
        polygon = [
            _Corner(s, t, radius_s, radius_t, (one, two), _Line(a, b, c, error, label))
            for (s, t, radius_s, radius_t, a, b, c, error), (one, two, label) in rows
        ]
        plane = _Plane(float(reach[face, 0]), float(reach[face, 1]), bounded)
        try:
            found = list(parts_of(face, polygon, plane))
        except _Doubt:
            doubt[face] = True
            continue
        parents += [face] * len(found)
        parts += [part for part, _ in found]
        pieces += [of_part for _, of_part in found]
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    corners = [corner for part in parts for corner in part]
    numbers = [[*corner[:4], *corner.edge[:4]] for corner in corners]
    names = [[*corner.name, corner.edge.label] for corner in corners]
    made = Polygons(
        offsets,
        np.array(numbers, dtype=np.float64).reshape(-1, 8),
        np.array(names, dtype=np.uint64).reshape(-1, 3),
    )
    return Cut(np.array(parents, dtype=np.int64), made, np.array(pieces, dtype=np.int16).reshape(-1, units), doubt)


def _line(forms: Floats, errors: Floats, unit: int, plane: _Plane, label: int, knot: float = 0.0) -> _Line:
    a, b, c = forms[:, unit].tolist()
    size = abs(a) + abs(knot) + plane.s * abs(b) + plane.t * abs(c)
    return _Line(a - float(knot), b, c, float(errors[unit]) + _EVALUATION * size + _UNDERFLOW, label)


def _side(line: _Line, part: _Part, plane: _Plane, where_zero: int = -1) -> int:
    """On which side of a line a part is: 1 above, -1 below, 0 on both; ``where_zero`` if all of it is on the line.

    Raises:
        _Doubt: a sign is not sure.
    """
    heights = [line.at(corner) for corner in part]
    if plane.bounded:
        for number, (height, corner) in enumerate(zip(heights, part)):
            if not _is_sure(height, line, corner, part[number - 1].edge, plane):
                raise _Doubt
    above, below = any(height > 0 for height in heights), any(height < 0 for height in heights)
    return above - below if above or below else where_zero


def _is_sure(height: float, line: _Line, corner: _Corner, before: _Line, plane: _Plane) -> bool:
    """Whether a line's height at a computed corner has the sign of that at the true one, where two edges meet."""
    if not (line.error < 1 / _UNDERFLOW and abs(height) > line.error):
        return False
    if abs(height) > line.error + abs(line.b) * corner.radius_s + abs(line.c) * corner.radius_t:
        return True
    det, det_error = before.cross(corner.edge, plane)
    first, first_error = line.cross(corner.edge, plane)
    second, second_error = before.cross(line, plane)
    if not abs(det) - det_error > _UNDERFLOW:
        return False
    moved = (abs(first) + first_error) * (abs(before.at(corner)) + before.error)
    moved += (abs(second) + second_error) * (abs(corner.edge.at(corner)) + corner.edge.error)
    return abs(height) > line.error + _MORE * (moved + _UNDERFLOW) / (abs(det) - det_error)


def _crossed(
    part: _Part, lines: list[tuple[int, _Line]], pieces: list[int], plane: _Plane
) -> tuple[_Part, list[tuple[int, _Line]], list[int]]:
    """A part, which of some lines cross it, and the pieces of units, one more for each line that it is above of."""
    sides, pieces = [_side(line, part, plane) for _, line in lines], list(pieces)
    for (unit, _), side in zip(lines, sides):
        pieces[unit] += side > 0
    return part, [line for line, side in zip(lines, sides) if side == 0], pieces


def _half(
    part: _Part, line: _Line, sign: int, plane: _Plane, name: Callable[[_Corner], tuple[int, int]] | None = None
) -> _Part:
    """The part above a line that crosses it, or below it.

    Args:
        name: of the crossing on the edge that begins at a corner; else from the names of its ends.
    """
    half = []
    for corner, after in zip(part, [*part[1:], *part[:1]]):
        height, height_after = sign * line.at(corner), sign * line.at(after)
        if height > 0 or (height == 0 and height_after > 0):
            half.append(corner)
        elif height == 0:
            half.append(corner._replace(edge=line))
        if (height > 0 > height_after) or (height < 0 < height_after):
            ends = (corner.name[0] + after.name[0], corner.name[1] + after.name[1])
            named = _named(*ends, line.label) if name is None else name(corner)
            crossing = _crossing(corner, after, line, plane)._replace(name=named)
            half.append(crossing._replace(edge=line) if height > 0 else crossing)
    return half


def _crossing(corner: _Corner, after: _Corner, line: _Line, plane: _Plane) -> _Corner:
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
    if abs(det) - error > _UNDERFLOW:
        off, off_edge = abs(line.at(crossing)) + line.error, abs(corner.edge.at(crossing)) + corner.edge.error
        slope_s = [abs(one.b) + one.error / plane.s for one in (line, corner.edge)]
        slope_t = [abs(one.c) + one.error / plane.t for one in (line, corner.edge)]
        least = abs(det) - error
        radius_s = min(radius_s, _MORE * (slope_t[0] * off_edge + slope_t[1] * off + _UNDERFLOW) / least)
        radius_t = min(radius_t, _MORE * (slope_s[0] * off_edge + slope_s[1] * off + _UNDERFLOW) / least)
    return crossing._replace(radius_s=radius_s, radius_t=radius_t)


def _named(first: int, second: int, label: int) -> tuple[int, int]:
    """Two hashes of two numbers and a label."""
    text = f"{first % 2**64} {second % 2**64} {label}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
