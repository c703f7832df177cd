"""Faces of planes cut in plain Python, slowly: what each function of a plane kernel does.

A sign is that of a form a + b s + c t at a corner of a true polygon, the crossing of two true lines. Of each of these
forms there are floats and a bound of their error, so a sign can be in doubt; then its face is, and has no parts.

A corner has a name, which all polygons that have the corner agree on. Where a line crosses an edge, the new corner's
name follows from the names of the edge's ends and the line's label. Where three inputs of a maximum meet in the inside
of a part, it follows from the names of the part's corners and the three inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from relu_regions.backends.plane_corners import (
    LARGEST,
    Corner,
    Doubt,
    Line,
    Name,
    Part,
    Plane,
    crossing_name,
    first_of,
    half_of,
    heights_of,
    inside_name,
    line_of,
    pair_label,
    pair_of,
    side_of,
)
from relu_regions.backends.plane_cuts import Cut, Inputs, Polygons
from relu_regions.backends.plane_forms import bend_relu, summands
from relu_regions.backends.plane_matching import number_corners, number_sides
from relu_regions.network.arrays import Floats, Integers, Numbers

__all__ = ["bend_relu", "cut_at_knots", "cut_by_leads", "number_corners", "number_sides", "summands"]


def cut_at_knots(polygons: Polygons, inputs: Inputs, knots: Floats, label: int) -> Cut:
    """Cut every face along the lines on which its units are on a knot.

    Args:
        polygons: F faces.
        inputs: of the gate on each; what is known of them is their piece.
        knots: ``(m, units)``.
        label: that of the first unit's first knot; the others follow.

    Returns:
        The parts, and which faces are in doubt.
    """
    forms, errors, known = inputs.forms, inputs.errors, inputs.known

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

    return _cut(polygons, inputs, parts_of, errors.shape[1])


def cut_by_leads(polygons: Polygons, inputs: Inputs, windows: Integers, origins: Numbers, label: int) -> Cut:
    """Cut every face into the parts on which each unit of a maximum is one input of its window.

    Of inputs that are equal the first in the window counts.

    Args:
        windows: ``(units, k)``, positions among the inputs.
        origins: ``(inputs,)`` uint64, the label of the edges on which an input that a ReLU has passed on is 0, 0 for
            all others; ``(0,)`` where all are others.
        label: the first of those of this gate.

    Other arguments and the result are as those of ``cut_at_knots``; pieces are places in the windows.
    """
    forms, errors, known = inputs.forms, inputs.errors, inputs.known

    def parts_of(face: int, polygon: Part, plane: Plane) -> Iterator[tuple[Part, list[int]]]:
        lines = [line_of(forms[face], errors[face], source, plane, 0) for source in range(errors.shape[1])]
        if plane.bounded and not all(line.error < LARGEST for line in lines):
            raise Doubt
        signs = known[face].tolist() if len(known) else [-1] * errors.shape[1]
        zero_on = origins.tolist() if len(origins) else [0] * errors.shape[1]
        gate = _Gate(lines, windows.tolist(), signs, zero_on, label, plane)
        leading = [gate.still_leading(polygon, unit, gate.candidates(unit)) for unit in range(len(windows))]
        row = [places[0] for places in leading]
        waiting = [(polygon, row, [unit for unit, places in enumerate(leading) if len(places) > 1])]
        while waiting:
            part, row, units = waiting.pop()
            places: list[int] = []
            while units and len(places := gate.still_leading(part, units[0], leading[units[0]])) == 1:
                row = [*row[: units[0]], places[0], *row[units[0] + 1 :]]
                units = units[1:]
            if not units:
                yield part, row
                continue
            (unit, *others) = units
            for place, region in gate.regions(part, unit, places):
                waiting.append((region, [*row[:unit], place, *row[unit + 1 :]], others))

    return _cut(polygons, inputs, parts_of, len(windows))


class _Gate(NamedTuple):
    """A maximum on one face, and how to name what it makes.

    Attributes:
        inputs: their forms.
        windows: which of them compete for each unit.
        signs: of the inputs, as far as they are known: 0, 1 or -1.
        zero_on: the label of the edges on which each input is 0, or 0.
        label: the first of the gate.
    """

    inputs: list[Line]
    windows: list[list[int]]
    signs: list[int]
    zero_on: list[int]
    label: int
    plane: Plane

    def candidates(self, unit: int) -> list[int]:
        """The places whose inputs can lead, each input once: of those that are 0 the first, none if one is above 0."""
        window = self.windows[unit]
        signs = [self.signs[source] for source in window]
        zero = next((place for place, sign in enumerate(signs) if sign == 0 and 1 not in signs), None)
        return [
            place
            for place, (source, sign) in enumerate(zip(window, signs))
            if (sign != 0 or place == zero) and window.index(source) == place
        ]

    def still_leading(self, part: Part, unit: int, places: list[int]) -> list[int]:
        """Those of the places that the one in front in the middle does not lead at all corners."""
        totals = [0.0] * len(places)
        for number, place in enumerate(places):
            line = self.inputs[self.windows[unit][place]]
            for corner in part:
                totals[number] += corner.s * line.b + corner.t * line.c
            totals[number] += len(part) * line.a
        # Of equal ones the first counts.
        leader = places[max(range(len(places)), key=lambda number: (totals[number] > -math.inf, totals[number]))]
        return [place for place in places if place == leader or not self._trails(part, unit, place, leader)]

    def regions(self, part: Part, unit: int, places: list[int]) -> Iterator[tuple[int, Part]]:
        """Where in a part each input leads."""
        for place in places:
            region = [corner._replace(side=number) for number, corner in enumerate(part)]
            for rival in places:
                if rival != place and region:
                    region = self._where_leading(part, region, unit, place, rival)
            if region:
                yield place, region

    def _trails(self, part: Part, unit: int, place: int, leader: int) -> bool:
        try:
            return side_of(self._heights(part, unit, leader, place), -1 if place < leader else 1) > 0
        except Doubt:
            return False

    def _lead(self, unit: int, place: int, rival: int) -> Line:
        window = self.windows[unit]
        one, other = self.inputs[window[place]], self.inputs[window[rival]]
        label = pair_label(self.label, unit, place, rival, len(window))
        return Line(one.a - other.a, one.b - other.b, one.c - other.c, one.error + other.error, label)

    def _pair_on(self, edge: int) -> frozenset[int]:
        """The two inputs that are equal on an edge, by its label, if this gate made it; none for other edges."""
        found = pair_of(self.label, edge, len(self.windows), len(self.windows[0]))
        if found is None:
            return frozenset()
        window = self.windows[found[0]]
        return frozenset((window[found[1]], window[found[2]]))

    def _heights(self, part: Part, unit: int, place: int, rival: int) -> list[float]:
        """By how much one input leads another at the corners of a part; 0 where the edges that meet there say so.

        That is where both come from ReLUs and are 0, and where a window has compared them, or each with a third one.
        """
        one, other = (self.windows[unit][number] for number in (place, rival))

        def are_equal(corner: Corner, before: Line) -> bool:
            edges = {before.label, corner.edge.label}
            if edges == {self.zero_on[one], self.zero_on[other]} - {0} and len(edges) == 2:
                return True
            pairs = [pair for edge in sorted(edges) if (pair := self._pair_on(edge))]
            return frozenset((one, other)) in [*pairs, *(pair ^ pairs[0] for pair in pairs[1:])]

        return heights_of(self._lead(unit, place, rival), part, self.plane, are_equal)

    def _where_leading(self, part: Part, region: Part, unit: int, place: int, rival: int) -> Part:
        line, heights = self._lead(unit, place, rival), self._heights(region, unit, place, rival)
        side = side_of(heights, 1 if place < rival else -1)
        if side:
            return region if side > 0 else []
        named = partial(self._name, part, unit, place, rival)
        half = half_of(region, line, heights, 1, self.plane, named)
        return [corner._replace(side=-1 - rival) if corner.edge is line else corner for corner in half]

    def _name(self, part: Part, unit: int, place: int, rival: int, corner: Corner) -> Name:
        """The name of where two inputs are equal on the edge that begins at a corner of the place's region."""
        width = len(self.windows[unit])
        if corner.side < 0:
            low, middle, high = sorted((place, rival, -1 - corner.side))
            number = (width + 2) ** 2 + (low * width + middle) * width + high
            return inside_name((end.name for end in part), first_of(self.label, unit, width) + number)
        # A neighbour names it alike, so that inputs that are equal on all of the edge go by one name: those that are 0
        # there, and two that a window has compared.
        start, end = part[corner.side], part[(corner.side + 1) % len(part)]
        pair = self._pair_on(start.edge.label)
        of_zero = any(self.signs[source] == 0 for source in pair)
        shared: list[int] = []
        for number in (place, rival):
            source = self.windows[unit][number]
            if self.signs[source] == 0 or self.zero_on[source] == start.edge.label or (of_zero and source in pair):
                shared.append(width)
            else:
                shared.append(width + 1 if source in pair else number)
        return crossing_name(start.name, end.name, pair_label(self.label, unit, shared[0], shared[1], width))


def _cut(
    polygons: Polygons,
    inputs: Inputs,
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
        plane = Plane(float(inputs.reach[face, 0]), float(inputs.reach[face, 1]), inputs.bounded)
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
