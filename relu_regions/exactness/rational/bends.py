"""What a gate makes of exact functions of t: where each unit bends, its pieces, and its output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from relu_regions.exactness.rational.arithmetic import Point, SparseVector
from relu_regions.exactness.rational.coefficients import ExactKnots, ExactMaximum, ExactOrderStatistic, Piecewise
from relu_regions.exactness.rational.functions import Functions

__all__ = ["Bent", "Change", "Crossing", "bend"]


class Change(NamedTuple):
    """A unit that changes its piece."""

    unit: int
    before: int
    after: int


class Crossing(NamedTuple):
    """A new breakpoint: a unit changes its piece inside a region; jump is that of its output."""

    point: Point
    change: Change
    jump: int


@dataclass
class Bent:
    """What a gate makes of functions on the stretch of the line between low and high.

    Attributes:
        output: the gate's output as far as it bends at the breakpoints there were.
        first: the piece of each unit in the first region.
        changes: for each breakpoint there was, the units that change their piece there.
        crossings: the new bends, not in order.
    """

    output: Functions
    first: list[int]
    changes: list[list[Change]]
    crossings: list[Crossing] = field(default_factory=list)

    @classmethod
    def empty(cls, size: int, exponent: int, points: list[Point]) -> Bent:
        """Nothing yet."""
        jumps: list[SparseVector] = [{} for _ in points]
        return cls(Functions(size, exponent, {}, {}, jumps), [0] * size, [[] for _ in points])

    def start(self, unit: int, piece: int, intercept: int, slope: int) -> None:
        """Note a unit's output in the first region."""
        self.first[unit] = piece
        if intercept:
            self.output.intercept[unit] = intercept
        if slope:
            self.output.slope[unit] = slope

    def pass_point(self, k: int, change: Change, jump: int) -> None:
        """Note what a unit does at a breakpoint there was."""
        if jump:
            self.output.jumps[k][change.unit] = jump
        if change.before != change.after:
            self.changes[k].append(change)


def bend(
    gate: ExactKnots | ExactMaximum | ExactOrderStatistic,
    inputs: Functions,
    low: Point,
    high: Point,
    points: list[Point],
) -> Bent:
    """Find every bend of a gate between low and high.

    Args:
        inputs: the gate's inputs, which bend at the points.
        low, high: ends of the stretch, finite or not.
        points: the breakpoints there are, strictly between low and high.
    """
    if isinstance(gate, ExactKnots):
        return _bend_at_knots(gate, inputs, low, high, points)
    return _bend_selection(gate, inputs, low, high, points)


# ---------------------------------------------------------------- knots


def _bend_at_knots(gate: ExactKnots, inputs: Functions, low: Point, high: Point, points: list[Point]) -> Bent:
    inputs = inputs.lifted(gate.input_exponent(inputs.exponent))
    tables = gate.at(inputs.exponent)
    bent = Bent.empty(gate.size, inputs.exponent + gate.slope_exponent, points)
    ends = [*points, high]
    for unit, bends in enumerate(inputs.bends()):
        table = tables[unit if len(tables) > 1 else 0]
        line = inputs.intercept.get(unit, 0), inputs.slope.get(unit, 0)
        _follow_unit(bent, unit, table, line, low, ends, bends)
    return bent


def _follow_unit(
    bent: Bent,
    unit: int,
    table: Piecewise,
    line: tuple[int, int],
    low: Point,
    ends: list[Point],
    bends: list[tuple[int, int]],
) -> None:
    """Follow one unit from stretch to stretch of its input; on each the input is affine."""
    intercept, slope = line
    slopes = table.slopes
    piece = _piece_beside(table, line, low, intercept * low.denominator + slope * low.numerator, 1)
    bent.start(unit, piece, slopes[piece] * intercept + table.offsets[piece], slopes[piece] * slope)
    for k, jump in [*bends, (len(ends) - 1, 0)]:
        point = ends[k]
        # The same on both sides of the point.
        value = intercept * point.denominator + slope * point.numerator
        goal = _piece_beside(table, (intercept, slope), point, value, -1)
        while piece != goal:
            following = piece + 1 if goal > piece else piece - 1
            crossing = Point(table.knots[min(piece, following)] - intercept, slope)
            bends_by = (slopes[following] - slopes[piece]) * slope // crossing.denominator
            bent.crossings.append(Crossing(crossing, Change(unit, piece, following), bends_by))
            piece = following
        if not jump:
            return
        before = slope
        intercept -= jump * point.numerator
        slope += jump * point.denominator
        following = _piece_beside(table, (intercept, slope), point, value, 1)
        bends_by = slopes[piece] * jump
        if following != piece:
            bends_by = (slopes[following] * slope - slopes[piece] * before) // point.denominator
        bent.pass_point(k, Change(unit, piece, following), bends_by)
        piece = following


def _piece_beside(table: Piecewise, line: tuple[int, int], point: Point, value: int, side: int) -> int:
    """The piece just left (side -1) or right (side 1) of a point: the number of knots that the input is above there.

    Args:
        line: intercept and slope of the input on that side.
        value: of the input at the point, times the point's denominator.
    """
    piece = 0
    for knot in table.knots:
        level = knot * point.denominator
        if value > level:
            piece += 1
        elif value == level:
            # At the knot itself the slope decides, and at infinity where the slope is 0 the constant.
            rise = side * line[1]
            piece += rise > 0 or (rise == 0 and line[0] > knot)
    return piece


# ---------------------------------------------------------------- maximum and order statistics


class _Candidate(NamedTuple):
    """One of the inputs that compete, on a stretch where it is affine."""

    position: int
    intercept: int
    slope: int

    def crossing(self, other: _Candidate) -> Point:
        """Where it meets one of another slope."""
        return Point(self.intercept - other.intercept, other.slope - self.slope)

    def just_right_of(self, point: Point) -> tuple[int, int, int]:
        """What orders affine functions there: the value, then the slope, then (at -infinity) the intercept."""
        return self.intercept * point.denominator + self.slope * point.numerator, self.slope, self.intercept


def _bend_selection(
    gate: ExactMaximum | ExactOrderStatistic, inputs: Functions, low: Point, high: Point, points: list[Point]
) -> Bent:
    bent = Bent.empty(gate.size, inputs.exponent, points)
    bends = inputs.bends()
    ends = [*points, high]
    for unit, window in enumerate(gate.windows):
        contest = _Envelope() if isinstance(gate, ExactMaximum) else _Ranking(gate.ranks[unit])
        _follow_window(bent, unit, window, contest, inputs, low, ends, bends)
    return bent


def _follow_window(
    bent: Bent,
    unit: int,
    window: tuple[tuple[int, int], ...],
    contest: _Envelope | _Ranking,
    inputs: Functions,
    low: Point,
    ends: list[Point],
    bends: list[list[tuple[int, int]]],
) -> None:
    """Follow the winner among one unit's inputs from stretch to stretch; on each they all are affine."""
    lines = [_Candidate(position, inputs.intercept.get(i, 0), inputs.slope.get(i, 0)) for position, i in window]
    jumps: dict[int, list[tuple[int, int]]] = {}
    for place, (_, i) in enumerate(window):
        for k, jump in bends[i]:
            jumps.setdefault(k, []).append((place, jump))
    winner = contest.winner_after(lines, low)
    bent.start(unit, winner.position, winner.intercept, winner.slope)
    start, last = low, len(ends) - 1
    for k in [*sorted(jumps), last]:
        point = ends[k]
        for crossing, following in contest.turns(lines, winner, start, point):
            change = Change(unit, winner.position, following.position)
            bent.crossings.append(Crossing(crossing, change, (following.slope - winner.slope) // crossing.denominator))
            winner = following
        if k == last:
            return
        for place, jump in jumps[k]:
            position, intercept, slope = lines[place]
            moved = intercept - jump * point.numerator, slope + jump * point.denominator
            lines[place] = _Candidate(position, *moved)
        following = contest.winner_after(lines, point)
        change = Change(unit, winner.position, following.position)
        bent.pass_point(k, change, (following.slope - winner.slope) // point.denominator)
        winner, start = following, point


class _Envelope:
    """Of affine functions the largest."""

    def winner_after(self, lines: list[_Candidate], point: Point) -> _Candidate:
        """The largest just right of a point; of equals the first."""
        return max(lines, key=lambda line: line.just_right_of(point))

    def turns(
        self, lines: list[_Candidate], winner: _Candidate, start: Point, end: Point
    ) -> Iterator[tuple[Point, _Candidate]]:
        """Every point up to another where the largest becomes another one, and that one."""
        while True:
            best = winner.intercept * end.denominator + winner.slope * end.numerator
            ahead = [
                line
                for line in lines
                if line.slope > winner.slope and line.intercept * end.denominator + line.slope * end.numerator > best
            ]
            if not ahead:
                return
            overtaking = [(winner.crossing(line), line) for line in ahead]
            crossing = min((point for point, _ in overtaking), key=lambda point: point.order)
            # Of several that overtake at one point the steepest leads, and of equals the first.
            winner = max((line for point, line in overtaking if point == crossing), key=lambda line: line.slope)
            yield crossing, winner


class _Ranking(NamedTuple):
    """Of affine functions the one of a rank: how many others, in falling order, come before it."""

    rank: int

    def winner_after(self, lines: list[_Candidate], point: Point) -> _Candidate:
        """The one of the rank just right of a point; of equals the first."""
        keys = [line.just_right_of(point) for line in lines]
        return lines[keys.index(sorted(keys, reverse=True)[self.rank])]

    def turns(
        self, lines: list[_Candidate], winner: _Candidate, start: Point, end: Point
    ) -> Iterator[tuple[Point, _Candidate]]:
        """Every point strictly between two where the rank becomes another one's, and that one."""
        while True:
            crossings = (winner.crossing(line) for line in lines if line.slope != winner.slope)
            ahead = [point for point in crossings if start < point < end]
            if not ahead:
                return
            start = min(ahead, key=lambda point: point.order)
            following = self.winner_after(lines, start)
            if following != winner:
                winner = following
                yield start, winner
