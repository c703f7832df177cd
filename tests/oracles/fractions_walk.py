"""The exact walk along one segment in plain fractions: slow, obvious, and sharing nothing with the library.

A network is a list of layers. Value 0 is the input; layer number k, counted from 1, makes value k. A layer is one of

- ``("affine", weight, bias)``: weight is a list of rows, bias a list or None for zeros;
- ``("knots", knots, slopes, offsets)``: an elementwise continuous function. On its piece p, between the knots p - 1 and
  p, it is ``slopes[p] * z + offsets[p]``. Each of the three is a list for all units, or a list of such lists, one a
  unit;
- ``("maximum", windows)``: output unit u is the largest of the inputs that ``windows[u]`` lists;
- ``("order", windows, ranks)``: output unit u is the one that ``ranks[u]`` others come before if those inputs are in
  falling order;
- ``("add", sources)`` and ``("concatenate", sources)``: of the values with these numbers.

All but the last two read the value just before; ``("concatenate", [k])`` takes up an earlier one. The last value is
the logits. Numbers are ints, floats or Fractions, and floats are taken for exactly what they are. Knots, maximum
and order layers are gates, counted from 0 in the order of the list.

The method: keep the list of intervals of t, with every unit an affine function of t on each of them. A gate cuts an
interval wherever a unit passes a knot, a window's upper envelope bends, or a rank becomes another input's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from operator import mul
from typing import Any, NamedTuple

__all__ = ["Breakpoint", "Flip", "Interval", "Layers", "Region", "Walk", "affine", "evaluate", "exact_interval", "walk"]

Number = int | float | Fraction
Layers = Sequence[tuple[Any, ...]]
Pattern = tuple[tuple[int, ...], ...]
End = Fraction | float  # a float only where it is infinite


class Flip(NamedTuple):
    """A unit of a gate that has another piece after a breakpoint than before it."""

    gate: int
    unit: int
    before: int
    after: int


class Breakpoint(NamedTuple):
    """A t at which at least one unit changes its piece; flips are in order of gate and unit."""

    t: Fraction
    flips: tuple[Flip, ...]
    logits: tuple[Fraction, ...]


class Region(NamedTuple):
    """An open interval of t on which no unit changes its piece: the logits there are ``intercept + slope * t``.

    pattern gives for each gate the piece of every unit. A unit that lies on a knot throughout has the piece below the
    knot. For a maximum the piece is the first position in the window whose input is the largest throughout, for an
    order statistic the first whose input is it throughout.
    """

    lo: End
    hi: End
    pattern: Pattern
    intercept: tuple[Fraction, ...]
    slope: tuple[Fraction, ...]

    def logits(self, t: Number) -> tuple[Fraction, ...]:
        return tuple(a + b * Fraction(t) for a, b in zip(self.intercept, self.slope))


class Walk(NamedTuple):
    """All regions of a segment in order, and the breakpoints between them."""

    regions: tuple[Region, ...]
    breakpoints: tuple[Breakpoint, ...]

    @property
    def first_pattern(self) -> Pattern:
        return self.regions[0].pattern


class Interval(NamedTuple):
    """The exact generalization interval; labels just beyond its ends are -1 where the range ended first."""

    lo: End
    hi: End
    label: int
    label_lo: int
    label_hi: int
    tied: bool


def walk(layers: Layers, x: Sequence[Number], d: Sequence[Number], lo: Number, hi: Number) -> Walk:
    """Every breakpoint on ``x + t d`` strictly between lo and hi, which may be infinite, and every region.

    Raises:
        ValueError: for a description that does not fit together, or an empty range.
    """
    first, last = _end(lo), _end(hi)
    if not first < last or len(x) != len(d):
        raise ValueError(f"expected lo < hi and x as long as d, not {lo}, {hi} and lengths {len(x)}, {len(d)}")
    denominator, numbers = _integers([*x, *d])
    line = _Lines(denominator, list(zip(numbers[: len(x)], numbers[len(x) :])))
    stretches = [_Stretch(first, last, (line,), ())]
    for layer in _prepared(layers, len(x)):
        stretches = [part for stretch in stretches for part in layer.applied(stretch)]
    regions = tuple(_region(stretch) for stretch in stretches)
    return Walk(regions, tuple(_breakpoint(*pair) for pair in pairwise(regions)))


def exact_interval(
    layers: Layers,
    x: Sequence[Number],
    d: Sequence[Number],
    lo: Number,
    hi: Number,
    classes: Sequence[int] | None = None,
) -> Interval:
    """The connected set around t = 0 on which the label of x has a logit that no other exceeds.

    The label is the first of the largest logits; ``classes`` are the logits that compete, all by default. A network
    with one output f competes with 0: its logits are ``[0, f]``.

    Raises:
        ValueError: if 0 is not in the range.
    """
    if not lo <= 0 <= hi:
        raise ValueError(f"expected a range around 0, not {lo} to {hi}")
    regions = [_competing(region) for region in walk(layers, x, d, lo, hi).regions]
    chosen = sorted(classes) if classes is not None else range(len(regions[0].slope))
    at_x = next(region for region in regions if region.lo <= 0 <= region.hi).logits(0)
    label = max(chosen, key=lambda k: at_x[k])
    tied = sum(at_x[k] == at_x[label] for k in chosen) > 1
    end_hi, label_hi = _half_line(regions, label, chosen)
    mirrored = [
        Region(-region.hi, -region.lo, region.pattern, region.intercept, tuple(-slope for slope in region.slope))
        for region in reversed(regions)
    ]
    end_lo, label_lo = _half_line(mirrored, label, chosen)
    return Interval(-end_lo, end_hi, label, label_lo, label_hi, tied)


def affine(
    weight: Sequence[Sequence[Number]], bias: Sequence[Number] | None, below: Sequence[Fraction]
) -> list[Fraction]:
    """``weight @ below + bias``."""
    products = [sum((Fraction(w) * z for w, z in zip(row, below)), Fraction(0)) for row in weight]
    return [p + Fraction(b) for p, b in zip(products, bias or [0] * len(weight))]


def evaluate(layers: Layers, point: Sequence[Number]) -> tuple[tuple[Fraction, ...], Pattern]:
    """The logits and the pattern at one point, straight from the description."""
    values, pattern = [[Fraction(number) for number in point]], []
    for kind, *numbers in layers:
        below = values[-1]
        if kind == "affine":
            values.append(affine(*numbers, below))
        elif kind == "knots":
            knots, slopes, offsets = (_per_unit(given, len(below)) for given in numbers)
            pieces = [sum(knot < z for knot in of_unit) for of_unit, z in zip(knots, below)]
            values.append([s[p] * z + o[p] for s, o, p, z in zip(slopes, offsets, pieces, below)])
            pattern.append(tuple(pieces))
        elif kind == "maximum":
            windows = [[below[index] for index in window] for window in numbers[0]]
            values.append([max(window) for window in windows])
            pattern.append(tuple(window.index(max(window)) for window in windows))
        elif kind == "order":
            windows = [[below[index] for index in window] for window in numbers[0]]
            values.append([sorted(window)[-1 - rank] for window, rank in zip(windows, numbers[1])])
            pattern.append(tuple(window.index(z) for window, z in zip(windows, values[-1])))
        elif kind == "add":
            values.append([sum(column) for column in zip(*(values[source] for source in numbers[0]))])
        elif kind == "concatenate":
            values.append([z for source in numbers[0] for z in values[source]])
    return tuple(values[-1]), tuple(pattern)


# ---------------------------------------------------------------- intervals of t and what the layers make of them


class _Lines(NamedTuple):
    """Unit u is ``(pairs[u][0] + pairs[u][1] * t) / denominator``, in integers: fractions without the reducing."""

    denominator: int
    pairs: list[tuple[int, int]]


class _Stretch(NamedTuple):
    """An open interval of t, and on it every value so far and every gate's pieces so far."""

    lo: End
    hi: End
    values: tuple[_Lines, ...]
    pattern: Pattern

    def extended(self, lines: _Lines) -> list[_Stretch]:
        return [self._replace(values=(*self.values, lines))]

    def cut(self, at: Iterator[Fraction]) -> Iterator[_Stretch]:
        """The parts between the numbers given, those of them that are inside."""
        ends = [self.lo, *sorted({t for t in at if self.lo < t < self.hi}), self.hi]
        return (self._replace(lo=lo, hi=hi) for lo, hi in pairwise(ends))

    def through_gate(self, pieces: Sequence[int], lines: _Lines) -> _Stretch:
        return self._replace(values=(*self.values, lines), pattern=(*self.pattern, tuple(pieces)))

    @property
    def inside(self) -> Fraction:
        return _inside(self.lo, self.hi)


class _Affine:
    def __init__(self, width: int, weight: Sequence[Sequence[Number]], bias: Sequence[Number] | None) -> None:
        bias = [0] * len(weight) if bias is None else bias
        if any(len(row) != width for row in weight) or len(bias) != len(weight):
            raise ValueError(f"an affine layer on {width} units needs rows of {width} and a bias for each row")
        self.width = len(weight)
        self.scale, numbers = _integers([number for row in weight for number in row] + list(bias))
        self.rows = [numbers[start : start + width] for start in range(0, width * len(weight), width)]
        self.bias = numbers[width * len(weight) :]

    def applied(self, stretch: _Stretch) -> list[_Stretch]:
        denominator, pairs = stretch.values[-1]
        intercepts, slopes = ([pair[side] for pair in pairs] for side in (0, 1))
        made = [
            (sum(map(mul, row, intercepts)) + bias * denominator, sum(map(mul, row, slopes)))
            for row, bias in zip(self.rows, self.bias)
        ]
        return stretch.extended(_Lines(denominator * self.scale, made))


class _Knots:
    def __init__(self, width: int, *numbers: Sequence[Any]) -> None:
        self.width = width
        self.knots, self.slopes, self.offsets = (_per_unit(given, width) for given in numbers)
        for knots, slopes, offsets in zip(self.knots, self.slopes, self.offsets):
            if not len(knots) + 1 == len(slopes) == len(offsets) or any(a >= b for a, b in pairwise(knots)):
                raise ValueError(f"{len(knots)} increasing knots need one slope and offset more; knots {knots}")
            for p, knot in enumerate(knots):
                if slopes[p] * knot + offsets[p] != slopes[p + 1] * knot + offsets[p + 1]:
                    raise ValueError(f"the function jumps at its knot {knot}; write such slopes as Fractions")
        both = [number for unit in (*self.slopes, *self.offsets) for number in unit]
        self.scale = math.lcm(*(number.denominator for number in both))

    def applied(self, stretch: _Stretch) -> Iterator[_Stretch]:
        denominator, pairs = stretch.values[-1]
        crossings = (
            (knot * denominator - a) / b for (a, b), knots in zip(pairs, self.knots) if b != 0 for knot in knots
        )
        for part in stretch.cut(crossings):
            t = part.inside
            values = [(a + b * t) / denominator for a, b in pairs]
            # On a knot throughout is below it: only the knots strictly under the value are passed.
            pieces = [sum(knot < value for knot in knots) for value, knots in zip(values, self.knots)]
            made = []
            for (a, b), piece, slopes, offsets in zip(pairs, pieces, self.slopes, self.offsets):
                slope, offset = (int(of_unit[piece] * self.scale) for of_unit in (slopes, offsets))
                made.append((slope * a + offset * denominator, slope * b))
            yield part.through_gate(pieces, _Lines(denominator * self.scale, made))


class _Maximum:
    def __init__(self, width: int, windows: Sequence[Sequence[int]]) -> None:
        if any(not window or not all(0 <= index < width for index in window) for window in windows):
            raise ValueError(f"the windows of a maximum on {width} units must list some of 0 to {width - 1}")
        self.width, self.windows = len(windows), windows

    def applied(self, stretch: _Stretch) -> Iterator[_Stretch]:
        denominator, pairs = stretch.values[-1]
        windows = [[pairs[index] for index in window] for window in self.windows]
        for part in stretch.cut(t for window in windows for t in _envelope_bends(window)):
            t = part.inside
            heights = [[a + b * t for a, b in window] for window in windows]
            # Two lines that meet inside a part are one line there, so the first that is largest here is so throughout.
            pieces = [height.index(max(height)) for height in heights]
            made = [window[piece] for window, piece in zip(windows, pieces)]
            yield part.through_gate(pieces, _Lines(denominator, made))


def _envelope_bends(window: Sequence[tuple[int, int]]) -> Iterator[Fraction]:
    """Where two lines of different slope are both the largest."""
    for (a, b), (c, e) in combinations(set(window), 2):
        if b != e:
            t = Fraction(a - c, e - b)
            if all(f + g * t <= a + b * t for f, g in window):
                yield t


class _Order:
    def __init__(self, width: int, windows: Sequence[Sequence[int]], ranks: Sequence[int]) -> None:
        if any(not 0 <= rank < len(window) for window, rank in zip(windows, ranks)) or len(windows) != len(ranks):
            raise ValueError(f"ranks {ranks} do not fit windows of {[len(window) for window in windows]}")
        self.width, self.windows, self.ranks = len(windows), windows, ranks

    def applied(self, stretch: _Stretch) -> Iterator[_Stretch]:
        denominator, pairs = stretch.values[-1]
        units = [([pairs[index] for index in window], rank) for window, rank in zip(self.windows, self.ranks)]
        for part in stretch.cut(t for unit in units for t in _rank_bends(*unit, stretch)):
            # Between two neighbouring crossings nothing is passed, wherever nothing is cut.
            pieces = [_with_rank(window, rank, part.lo, part.hi) for window, rank in units]
            made = [window[piece] for (window, _), piece in zip(units, pieces)]
            yield part.through_gate(pieces, _Lines(denominator, made))


def _rank_bends(window: Sequence[tuple[int, int]], rank: int, stretch: _Stretch) -> Iterator[Fraction]:
    """The crossings of any two lines where another one has the rank before than behind."""
    inside = [t for t in _crossings(window) if stretch.lo < t < stretch.hi]
    ends = [stretch.lo, *inside, stretch.hi]
    pieces = [_with_rank(window, rank, *pair) for pair in pairwise(ends)]
    yield from (t for t, (before, after) in zip(inside, pairwise(pieces)) if before != after)


def _with_rank(window: Sequence[tuple[int, int]], rank: int, lo: End, hi: End) -> int:
    """The first position of the line that has the rank just behind lo."""
    t = _inside(lo, min([hi, *(t for t in _crossings(window) if t > lo)]))
    heights = [a + b * t for a, b in window]
    return heights.index(sorted(heights)[-1 - rank])


def _crossings(window: Sequence[tuple[int, int]]) -> list[Fraction]:
    """Where two lines of different slope meet, in order."""
    pairs = combinations(set(window), 2)
    return sorted({Fraction(a - c, e - b) for (a, b), (c, e) in pairs if b != e})


class _Add:
    def __init__(self, widths: Sequence[int], sources: Sequence[int]) -> None:
        if not sources or len({widths[source] for source in sources}) != 1:
            raise ValueError(f"values to add must be of one width, not {[widths[source] for source in sources]}")
        self.width, self.sources = widths[sources[0]], sources

    def applied(self, stretch: _Stretch) -> list[_Stretch]:
        denominator, parts = _on_one_denominator(stretch, self.sources)
        made = [(sum(a for a, _ in column), sum(b for _, b in column)) for column in zip(*parts)]
        return stretch.extended(_Lines(denominator, made))


class _Concatenate:
    def __init__(self, widths: Sequence[int], sources: Sequence[int]) -> None:
        self.width, self.sources = sum(widths[source] for source in sources), sources

    def applied(self, stretch: _Stretch) -> list[_Stretch]:
        denominator, parts = _on_one_denominator(stretch, self.sources)
        return stretch.extended(_Lines(denominator, [pair for part in parts for pair in part]))


def _on_one_denominator(stretch: _Stretch, sources: Sequence[int]) -> tuple[int, list[list[tuple[int, int]]]]:
    chosen = [stretch.values[source] for source in sources]
    common = math.lcm(*(lines.denominator for lines in chosen))
    factors = [common // lines.denominator for lines in chosen]
    return common, [[(a * f, b * f) for a, b in lines.pairs] for f, lines in zip(factors, chosen)]


def _prepared(layers: Layers, width: int) -> list[Any]:
    """The layers with their numbers as integers, once for all intervals."""
    simple = {"affine": _Affine, "knots": _Knots, "maximum": _Maximum, "order": _Order}
    joining = {"add": _Add, "concatenate": _Concatenate}
    widths, prepared = [width], []
    for number, (kind, *arguments) in enumerate(layers, 1):
        if kind in simple:
            prepared.append(simple[kind](widths[-1], *arguments))
        elif kind in joining:
            if not all(0 <= source < number for source in arguments[0]):
                raise ValueError(f"layer {number} can read the values 0 to {number - 1}, not {arguments[0]}")
            prepared.append(joining[kind](widths, *arguments))
        else:
            raise ValueError(f"layer {number} is {kind!r}; expected one of {[*simple, *joining]}")
        widths.append(prepared[-1].width)
    return prepared


# ---------------------------------------------------------------- from intervals to the answer


def _region(stretch: _Stretch) -> Region:
    denominator, pairs = stretch.values[-1]
    intercept, slope = (tuple(Fraction(pair[side], denominator) for pair in pairs) for side in (0, 1))
    return Region(stretch.lo, stretch.hi, stretch.pattern, intercept, slope)


def _breakpoint(before: Region, after: Region) -> Breakpoint:
    flips = tuple(
        Flip(gate, unit, old, new)
        for gate, pieces in enumerate(zip(before.pattern, after.pattern))
        for unit, (old, new) in enumerate(zip(*pieces))
        if old != new
    )
    t = Fraction(after.lo)
    return Breakpoint(t, flips, after.logits(t))


def _competing(region: Region) -> Region:
    if len(region.slope) > 1:
        return region
    return region._replace(intercept=(Fraction(0), *region.intercept), slope=(Fraction(0), *region.slope))


def _half_line(regions: Sequence[Region], label: int, chosen: Sequence[int]) -> tuple[End, int]:
    """Going up from t = 0: where a rival first overtakes the label, and the largest logit just beyond."""
    for region in regions:
        if region.hi <= 0:
            continue
        ends = []
        for rival in chosen:
            lead = region.intercept[label] - region.intercept[rival]
            growth = region.slope[label] - region.slope[rival]
            if growth < 0:  # The lead is not negative where the region is entered, and will be after its zero.
                ends.append(-lead / growth)
        if ends and min(ends) < region.hi:
            end = min(ends)
            height = region.logits(end)
            return end, max(chosen, key=lambda k: (height[k], region.slope[k]))
    return regions[-1].hi, -1


# ---------------------------------------------------------------- numbers


def _integers(numbers: Sequence[Number]) -> tuple[int, list[int]]:
    """A common denominator, and the numbers times it."""
    exact = [Fraction(number) for number in numbers]
    common = math.lcm(*(number.denominator for number in exact))
    return common, [number.numerator * (common // number.denominator) for number in exact]


def _per_unit(given: Sequence[Any], width: int) -> list[list[Fraction]]:
    each = list(given) if isinstance(given[0], (list, tuple)) else [given] * width
    if len(each) != width:
        raise ValueError(f"a gate on {width} units was given numbers for {len(each)}")
    return [[Fraction(number) for number in of_unit] for of_unit in each]


def _end(number: Number) -> End:
    return number if isinstance(number, float) and math.isinf(number) else Fraction(number)


def _inside(lo: End, hi: End) -> Fraction:
    """Some number strictly between."""
    if isinstance(lo, Fraction) and isinstance(hi, Fraction):
        return (lo + hi) / 2
    if isinstance(lo, Fraction):
        return lo + 1
    return hi - 1 if isinstance(hi, Fraction) else Fraction(0)
