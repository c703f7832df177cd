"""Faces of planes cut in plain Python, slowly: what each function of a plane kernel does.

A sign is that of a form a + b s + c t at a corner of a true polygon, the crossing of two true lines. Of each of these
forms there are floats and a bound of their error, so a sign can be in doubt; then its face is, and has no parts.

A corner has a name, which all polygons that have the corner agree on. Where a line crosses an edge, the new corner's
name follows from the names of the edge's ends and the line's label. Where three inputs of a maximum meet in the inside
of a part, it follows from the names of the part's corners and the three inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from relu_regions.backends.plane_corners import (
    Corner,
    Doubt,
    Line,
    Part,
    Plane,
    half_of,
    heights_of,
    line_of,
    named,
    side_of,
)
from relu_regions.backends.plane_cuts import Cut, Polygons
from relu_regions.backends.plane_forms import bend_relu, summands
from relu_regions.backends.plane_matching import number_corners, number_sides
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "cut_at_knots", "cut_by_leads", "number_corners", "number_sides", "summands"]


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

    def parts_of(face: int, polygon: Part, plane: Plane) -> Iterator[tuple[Part, list[int]]]:
        certainly = known[face].tolist() if len(known) else [-1] * errors.shape[1]
        pieces = [max(piece, 0) for piece in certainly]
        lines = [
            (
                unit,
                line_of(forms[face], errors[face], unit, plane, label + unit * len(knots) + level, knots[level, unit]),
            )
            for level in range(len(knots))
            for unit, first in enumerate(range(label, label + errors.shape[1] * len(knots), len(knots)))
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
            heights = heights_of(line, part, plane)
            above, below = (half_of(part, line, heights, sign, plane) for sign in (1, -1))
            waiting += [_crossed(above, others, raised, plane), _crossed(below, others, pieces, plane)]

    return _cut(polygons, reach, bounded, parts_of, errors.shape[1])


def cut_by_leads(
    polygons: Polygons,
    forms: Floats,
    errors: Floats,
    known: Numbers,
    origins: Numbers,
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
        origins: ``(inputs,)`` uint64, the label of the edges on which an input that a ReLU has passed on is 0, 0 for
            all others; ``(0,)`` where all are others.
        windows: ``(units, k)``, positions among the inputs.
        label: the first of those of this gate.

    Other arguments and the result are as those of ``cut_at_knots``.
    """

    def parts_of(face: int, polygon: Part, plane: Plane) -> Iterator[tuple[Part, list[int]]]:
        signs = known[face].tolist() if len(known) else [-1] * errors.shape[1]
        zero_on = origins.tolist() if len(origins) else [0] * errors.shape[1]
        equal_on: dict[int, frozenset[int]] = {}
        parts: list[tuple[Part, list[int]]] = [(polygon, [])]
        for unit, window in enumerate(windows.tolist()):
            inputs = [line_of(forms[face], errors[face], source, plane, 0) for source in window]
            gate = _Window(inputs, window, signs, zero_on, equal_on, label, unit, plane)
            places = [place for place in gate.places if window.index(window[place]) == place]
            parts = [
                (region, [*pieces, place]) for part, pieces in parts for place, region in gate.regions(part, places)
            ]
        yield from parts

    return _cut(polygons, reach, bounded, parts_of, len(windows))


class _Window(NamedTuple):
    """A window of a maximum on one face, and how to name what it makes.

    Attributes:
        inputs: the forms of the window's inputs.
        sources: which these are among the inputs of all windows.
        signs: of these, as far as they are known: 0, 1 or -1.
        zero_on: the label of the edges on which each of these is 0, or 0.
        equal_on: which two of these are equal on edges that the gate has made, by their label; filled in.
        label, unit: the first label of the gate, and the window's number.
    """

    inputs: list[Line]
    sources: list[int]
    signs: list[int]
    zero_on: list[int]
    equal_on: dict[int, frozenset[int]]
    label: int
    unit: int
    plane: Plane

    @property
    def places(self) -> list[int]:
        """The inputs that can lead: of those that are 0 the first, and none where one is above 0."""
        signs = [self.signs[source] for source in self.sources]
        zero = next((place for place, sign in enumerate(signs) if sign == 0 and 1 not in signs), None)
        return [place for place, sign in enumerate(signs) if sign != 0 or place == zero]

    def regions(self, part: Part, places: list[int]) -> Iterator[tuple[int, Part]]:
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

    def _trails(self, part: Part, place: int, leader: int) -> bool:
        try:
            return side_of(self._heights(part, leader, place), -1 if place < leader else 1) > 0
        except Doubt:
            return False

    def _lead(self, place: int, rival: int) -> Line:
        one, other = self.inputs[place], self.inputs[rival]
        label = self.label + self._number(self.unit, *sorted((place, rival)))
        self.equal_on[label] = frozenset((self.sources[place], self.sources[rival]))
        return Line(one.a - other.a, one.b - other.b, one.c - other.c, one.error + other.error, label)

    def _number(self, *places: int) -> int:
        number = 0
        for place in places:
            number = number * (len(self.inputs) + 2) + place + 1
        return number

    def _heights(self, part: Part, place: int, rival: int) -> list[float]:
        """By how much one input leads another at the corners of a part; 0 where the edges that meet there say so.

        That is where both come from ReLUs and are 0, and where a window has compared them, or each with a third one.
        """
        one, other = self.sources[place], self.sources[rival]

        def are_equal(corner: Corner, before: Line) -> bool:
            edges = {before.label, corner.edge.label}
            if edges == {self.zero_on[one], self.zero_on[other]} - {0} and len(edges) == 2:
                return True
            pairs = [self.equal_on[edge] for edge in edges if edge in self.equal_on]
            return frozenset((one, other)) in [*pairs, *(pair ^ pairs[0] for pair in pairs[1:])]

        return heights_of(self._lead(place, rival), part, self.plane, are_equal)

    def _where_leading(self, part: Part, region: Part, place: int, rival: int) -> Part:
        line, heights = self._lead(place, rival), self._heights(region, place, rival)
        side = side_of(heights, 1 if place < rival else -1)
        if side:
            return region if side > 0 else []
        half = half_of(region, line, heights, 1, self.plane, lambda corner: self._name(part, corner, place, rival))
        return [corner._replace(side=-1 - rival) if corner.edge is line else corner for corner in half]

    def _name(self, part: Part, corner: Corner, place: int, rival: int) -> tuple[int, int]:
        """The name of where two inputs are equal on the edge that begins at a corner of the place's region."""
        if corner.side < 0:
            number = self._number(self.unit, *sorted((place, rival, -1 - corner.side)))
            first, second = (sum(corner.name[which] for corner in part) for which in (0, 1))
            return named(first, second, self.label + number)
        # A neighbour names it alike, so that inputs that are equal on all of the edge go by one name: those that are 0
        # there, and two that a window has compared.
        start, end = part[corner.side], part[(corner.side + 1) % len(part)]
        sources = [self.sources[number] for number in (place, rival)]
        pair = self.equal_on.get(start.edge.label, frozenset())
        equal = [source in pair for source in sources]
        of_zero = any(self.signs[source] == 0 for source in pair)
        zero = [
            self.signs[source] == 0 or self.zero_on[source] == start.edge.label or (of_zero and source in pair)
            for source in sources
        ]
        shared = [-1 if zero[k] else len(self.inputs) if equal[k] else (place, rival)[k] for k in (0, 1)]
        number = self._number(self.unit, *sorted(shared))
        return named(start.name[0] + end.name[0], start.name[1] + end.name[1], self.label + number)


def _cut(
    polygons: Polygons,
    reach: Floats,
    bounded: bool,
    parts_of: Callable[[int, Part, Plane], Iterator[tuple[Part, list[int]]]],
    units: int,
) -> Cut:
    """The parts of all faces, as arrays."""
    parents, parts, pieces, doubt = [], [], [], np.zeros(len(polygons), dtype=bool)
    for face, (start, stop) in enumerate(pairwise(polygons.offsets.tolist())):
        rows = zip(polygons.numbers[start:stop].tolist(), polygons.names[start:stop].tolist())
        polygon = [
            Corner(s, t, radius_s, radius_t, (one, two), Line(a, b, c, error, label))
            for (s, t, radius_s, radius_t, a, b, c, error), (one, two, label) in rows
        ]
        plane = Plane(float(reach[face, 0]), float(reach[face, 1]), bounded)
        try:
            found = list(parts_of(face, polygon, plane))
        except Doubt:
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
    return Cut(np.array(parents, dtype=np.int64), made, np.array(pieces, dtype=np.int64).reshape(-1, units), doubt)


def _crossed(
    part: Part, lines: list[tuple[int, Line]], pieces: list[int], plane: Plane
) -> tuple[Part, list[tuple[int, Line]], list[int]]:
    """A part, which of some lines cross it, and the pieces of units, one more for each line that it is above of."""
    sides, pieces = [side_of(heights_of(line, part, plane)) for _, line in lines], list(pieces)
    for (unit, _), side in zip(lines, sides):
        pieces[unit] += side > 0
    return part, [line for line, side in zip(lines, sides) if side == 0], pieces
