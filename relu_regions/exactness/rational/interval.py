"""The generalization interval with exact ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from jaxtyping import Float
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.paths import RationalPath
from relu_regions.exactness.rational.stretch import Stretch, on_line
from relu_regions.exactness.rational.walk import ExactLines, ExactModel, ExactRange
from relu_regions.lines.decision import Decision
from relu_regions.lines.line_batch import Array

__all__ = ["RationalInterval", "end_between", "exact_interval", "interval_on", "interval_within"]

# How many regions of the first gate go on together from x outwards, before the class is looked at.
_WINDOW = 16


@dataclass(frozen=True)
class RationalInterval:
    """The generalization interval of one line (paper, equation 6), exactly.

    Attributes:
        lo, hi: ends of the largest interval of t around 0 on which the class of x has the largest logit; the
            range's end where that came first (±inf if the class never changes on an unbounded line).
        label: the class at x.
        label_lo, label_hi: the class just beyond each end; -1 where the range ends first.
        tied: whether several classes share the largest logit at x. The class is then the first of them, and the
            interval may have length 0 on a side.
    """

    lo: Fraction | float
    hi: Fraction | float
    label: int
    label_lo: int
    label_hi: int
    tied: bool

    @property
    def length(self) -> Fraction | float:
        """``hi - lo``."""
        return self.hi - self.lo


def exact_interval(
    model: ExactModel,
    x: Float[Array, " N *shape"],
    d: Float[Array, " ..."],
    t_range: ExactRange = (-math.inf, math.inf),
    decision: Sequence[int] | None = None,
) -> list[RationalInterval]:
    """How far along ``x + t d`` the class of x holds (paper, equation 6), in exact rational arithmetic.

    The same question as ``relu_regions.exact_interval``; see there and ``relu_regions.rational.walk`` for the
    arguments and errors.

    Returns:
        An interval for each line.
    """
    lines = ExactLines.of(model, x, d, t_range)
    between = Decision.of(lines.network.network.output_shape, decision)
    return [
        interval_on(lines.network, x_row, d_row, low, high, between)
        for x_row, d_row, low, high in zip(lines.x, lines.d, lines.low, lines.high)
    ]


def interval_on(
    network: ExactNetwork, x: Tensor, d: Tensor, low: Point, high: Point, decision: Decision
) -> RationalInterval:
    """The interval of one line: x and d of shape ``input_shape``, float64; the other arguments checked already."""
    up = _half_line(network, x, d, high, decision)
    down = _half_line(network, x, -d, Point(-low.numerator, low.denominator), decision)
    return RationalInterval(-down.end.t, up.end.t, up.label, down.beyond, up.beyond, up.tied)


def interval_within(path: RationalPath, decision: Decision, range_ends: tuple[bool, bool]) -> RationalInterval | None:
    """The interval of a line that has been walked around 0, or None where it goes on beyond what was walked.

    Args:
        path: between two points around 0.
        decision: the logits that compete.
        range_ends: whether the range that was asked for ends with the path, below and above.
    """
    zero, stretch = Point(0, 1), path.stretch
    up: list[tuple[_Logits, Point]] = []
    down: list[tuple[_Logits, Point]] = []
    for left, (logits, right) in zip(stretch.ends, _regions(stretch, path.output_name, decision)):
        if zero < right:
            up.append((logits, right))
        if left < zero:
            mirrored = {c: (intercept, -slope) for c, (intercept, slope) in logits.items()}
            down.insert(0, (mirrored, Point(-left.numerator, left.denominator)))
    label, tied = _class_at_x((up or down)[0][0])
    ends = []
    for regions, is_end, last in ((down, range_ends[0], stretch.low), (up, range_ends[1], stretch.high)):
        losses = (_loss(logits, label, right) for logits, right in regions)
        lost = next((loss for loss in losses if loss is not None), None)
        if lost is None and not is_end:
            return None
        ends.append(lost or (Point(abs(last.numerator), last.denominator), -1))
    (lower, label_lo), (upper, label_hi) = ends
    return RationalInterval(-lower.t, upper.t, label, label_lo, label_hi, tied)


def end_between(
    network: ExactNetwork, x: Tensor, d: Tensor, start: Point, stop: Point, label: int, decision: Decision
) -> tuple[Point, int] | None:
    """Where, going from start to stop, the class first ends, and the class beyond.

    Args:
        x, d: of one line, ``input_shape``, float64.
        start, stop: from 0 on; stop lies beyond start.
        label: the class.

    Returns:
        None if the class does not have the largest logit at start, or keeps it up to stop.
    """
    begun = False
    for part in on_line(network, x, d, start, stop).through(network, _WINDOW):
        for logits, right in _regions(part, network.network.output_name, decision):
            if not begun:
                here = {c: value * start.denominator + slope * start.numerator for c, (value, slope) in logits.items()}
                if here[label] < max(here.values()):
                    return None
                begun = True
            lost = _loss(logits, label, right)
            if lost is not None:
                return lost
    return None


@dataclass(frozen=True)
class _HalfLine:
    """What was found going from x in one direction."""

    end: Point
    label: int
    beyond: int
    tied: bool


# The logits that compete on one region: intercept and slope of each, by class.
_Logits = dict[int, tuple[int, int]]


def _half_line(network: ExactNetwork, x: Tensor, d: Tensor, end: Point, decision: Decision) -> _HalfLine:
    """Follow the half-line from x until the label changes."""
    zero = Point(0, 1)
    far = end if zero < end else Point(1, 1)  # the class at x is wanted even where the range ends there
    label, tied = -1, False
    for part in on_line(network, x, d, zero, far).through(network, _WINDOW):
        for logits, right in _regions(part, network.network.output_name, decision):
            if label < 0:
                label, tied = _class_at_x(logits)
                if end == zero:
                    return _HalfLine(zero, label, -1, tied)
            lost = _loss(logits, label, right)
            if lost is not None:
                return _HalfLine(lost[0], label, lost[1], tied)
    return _HalfLine(end, label, -1, tied)


def _class_at_x(logits: _Logits) -> tuple[int, bool]:
    """The first class of the largest logit at 0, and whether there are others, on a region that holds 0."""
    largest = max(intercept for intercept, _ in logits.values())
    first, *others = (c for c, (intercept, _) in logits.items() if intercept == largest)
    return first, bool(others)


def _regions(part: Stretch, name: str, decision: Decision) -> Iterator[tuple[_Logits, Point]]:
    """The logits that compete on each region, and the region's right end."""
    outputs = part.values[name]
    for (intercepts, slopes), right in zip(outputs.pieces(part.points), part.ends[1:]):
        yield decision.competing(list(zip(intercepts, slopes)), (0, 0)), right


def _loss(logits: _Logits, label: int, right: Point) -> tuple[Point, int] | None:
    """Where on a region, whose left end it leads at, the label first falls behind, and to which class."""
    intercept, slope = logits[label]
    ahead: list[tuple[Point, int]] = []
    for rival, (rival_intercept, rival_slope) in logits.items():
        lead, growth = intercept - rival_intercept, slope - rival_slope
        if growth < 0 and lead * right.denominator + growth * right.numerator < 0:
            ahead.append((Point(lead, -growth), rival))
    if not ahead:
        return None
    crossing = min((point for point, _ in ahead), key=lambda point: point.order)
    # Of several that overtake at one point the steepest leads beyond it, and of equals the first.
    return crossing, max((rival for point, rival in ahead if point == crossing), key=lambda rival: logits[rival][1])
