"""The faces of a network in a plane in plain fractions: slow, obvious, and sharing nothing with the library.

A network is a list of layers in the form of ``fractions_walk``. The method differs from the library's: the polygon is
cut unit by unit, a corner is the fraction of a side at which a number passes a level, and every cut counts on the whole
polygon that it meets. Such polygons are often smaller than the faces. What is answered is the area of each activation
pattern, which is added up from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

__all__ = ["PatternArea", "areas_of_classes", "areas_of_patterns"]

Number = int | float | Fraction
Pattern = tuple[tuple[int, ...], ...]
Point = tuple[Fraction, Fraction]
# A value of the network at each corner of a part, where it is affine.
Corners = list[list[Fraction]]


class PatternArea(NamedTuple):
    """The part of the plane on which the units have one pattern: its area, and the logits at each corner cut there."""

    area: Fraction
    logits: dict[Point, tuple[Fraction, ...]]


class _Part(NamedTuple):
    """A convex polygon, every value so far at each of its corners, and every gate's pieces so far."""

    corners: list[Point]
    values: list[Corners]
    pattern: Pattern

    def halves(self, heights: Sequence[Fraction]) -> list[_Part]:
        """The parts where an affine function, given at the corners, is at most 0 and at least 0."""
        if min(heights) >= 0 or max(heights) <= 0:
            return [self]
        return [self._half(heights), self._half([-height for height in heights])]

    def _half(self, heights: Sequence[Fraction]) -> _Part:
        ends = range(-1, len(heights) - 1)
        mixes: list[tuple[int, int, Fraction]] = []
        for place in ends:
            here, there = heights[place], heights[place + 1]
            if here >= 0:
                mixes.append((place, place, Fraction(0)))
            if here * there < 0:
                mixes.append((place, place + 1, here / (here - there)))

        def mixed(numbers: Any) -> list[Any]:
            return [[a + share * (b - a) for a, b in zip(numbers[i], numbers[j])] for i, j, share in mixes]

        corners = [(s, t) for s, t in mixed(self.corners)]
        return _Part(corners, [mixed(value) for value in self.values], self.pattern)

    @property
    def area(self) -> Fraction:
        pairs = pairwise([*self.corners, self.corners[0]])
        return abs(sum((s * next_t - t * next_s for (s, t), (next_s, next_t) in pairs), Fraction(0))) / 2


def areas_of_patterns(
    layers: Sequence[tuple[Any, ...]],
    x: Sequence[Number],
    u: Sequence[Number],
    v: Sequence[Number],
    polygon: Sequence[tuple[Number, Number]],
) -> dict[Pattern, PatternArea]:
    """For each activation pattern in the plane ``x + s u + t v``, (s, t) in a convex polygon, what it covers."""
    found: dict[Pattern, PatternArea] = {}
    for part in _parts(layers, x, u, v, polygon):
        area, logits = found.get(part.pattern, PatternArea(Fraction(0), {}))
        here = {corner: tuple(value) for corner, value in zip(part.corners, part.values[-1])}
        found[part.pattern] = PatternArea(area + part.area, {**logits, **here})
    return found


def areas_of_classes(
    layers: Sequence[tuple[Any, ...]],
    x: Sequence[Number],
    u: Sequence[Number],
    v: Sequence[Number],
    polygon: Sequence[tuple[Number, Number]],
) -> list[Fraction]:
    """For each class the area where its logit is the first of the largest; one output competes with 0."""
    areas: dict[int, Fraction] = {}
    classes = 0
    for part in _parts(layers, x, u, v, polygon):
        logits = part.values[-1]
        if len(logits[0]) == 1:
            part = part._replace(values=[[[Fraction(0), *value] for value in logits]])
        classes = len(part.values[-1][0])
        for piece, winner in _by_winner(part, list(range(classes))):
            areas[winner] = areas.get(winner, Fraction(0)) + piece.area
    return [areas.get(label, Fraction(0)) for label in range(classes)]


def _parts(
    layers: Sequence[tuple[Any, ...]],
    x: Sequence[Number],
    u: Sequence[Number],
    v: Sequence[Number],
    polygon: Sequence[tuple[Number, Number]],
) -> list[_Part]:
    corners = [(Fraction(s), Fraction(t)) for s, t in polygon]
    start = [[Fraction(a) + s * Fraction(b) + t * Fraction(c) for a, b, c in zip(x, u, v)] for s, t in corners]
    parts = [_Part(corners, [start], ())]
    for layer in layers:
        parts = [behind for part in parts for behind in _through(layer, part)]
    return parts


def _through(layer: tuple[Any, ...], part: _Part) -> Iterator[_Part]:
    kind, *numbers = layer
    if kind == "knots":
        yield from _through_knots(*numbers, part)
    elif kind == "maximum":
        yield from _through_maximum(numbers[0], part)
    else:
        made = [_affine(layer, [value[corner] for value in part.values]) for corner in range(len(part.corners))]
        yield part._replace(values=[*part.values, made])


def _affine(layer: tuple[Any, ...], values: list[list[Fraction]]) -> list[Fraction]:
    """What a layer that does not bend makes of the values at one point."""
    kind, *numbers = layer
    if kind == "affine":
        weight, bias = numbers
        products = [sum((Fraction(w) * z for w, z in zip(row, values[-1])), Fraction(0)) for row in weight]
        return [product + Fraction(b) for product, b in zip(products, bias or [0] * len(weight))]
    if kind == "add":
        return [sum(column, Fraction(0)) for column in zip(*(values[source] for source in numbers[0]))]
    assert kind == "concatenate"
    return [z for source in numbers[0] for z in values[source]]


def _through_knots(knots: Any, slopes: Any, offsets: Any, part: _Part) -> Iterator[_Part]:
    units = len(part.values[-1][0])
    each = [
        numbers if isinstance(numbers[0], (list, tuple)) else [numbers] * units for numbers in (knots, slopes, offsets)
    ]
    parts = [part]
    for unit, of_unit in enumerate(each[0]):
        for knot in map(Fraction, of_unit):
            parts = [half for whole in parts for half in whole.halves([z[unit] - knot for z in whole.values[-1]])]
    for cut in parts:
        # Above a knot somewhere is above it throughout, but for corners on it.
        pieces = [
            sum(max(z[unit] for z in cut.values[-1]) > Fraction(knot) for knot in each[0][unit])
            for unit in range(units)
        ]
        made = [
            [
                Fraction(each[1][unit][piece]) * z[unit] + Fraction(each[2][unit][piece])
                for unit, piece in enumerate(pieces)
            ]
            for z in cut.values[-1]
        ]
        yield _Part(cut.corners, [*cut.values, made], (*cut.pattern, tuple(pieces)))


def _through_maximum(windows: Sequence[Sequence[int]], part: _Part) -> Iterator[_Part]:
    parts = [(part, ())]
    for window in windows:
        parts = [(piece, (*winners, winner)) for whole, winners in parts for piece, winner in _by_winner(whole, window)]
    for cut, winners in parts:
        made = [[z[window[winner]] for window, winner in zip(windows, winners)] for z in cut.values[-1]]
        yield _Part(cut.corners, [*cut.values, made], (*cut.pattern, winners))


def _by_winner(part: _Part, window: Sequence[int]) -> Iterator[tuple[_Part, int]]:
    """Cut until one of the last value's numbers is the largest at all corners; with its first place in the window."""
    heights = [[z[place] for place in window] for z in part.values[-1]]
    for winner in range(len(window)):
        if all(height[winner] == max(height) for height in heights):
            yield part, winner
            return
    # As no number is largest at all corners, two are at different ones: cut where they are equal.
    first, second = next(
        (i, j)
        for i in range(len(window))
        for j in range(i)
        if min(h[i] - h[j] for h in heights) < 0 < max(h[i] - h[j] for h in heights)
        and any(h[i] == max(h) for h in heights)
        and any(h[j] == max(h) for h in heights)
    )
    for half in part.halves([height[first] - height[second] for height in heights]):
        yield from _by_winner(half, window)
