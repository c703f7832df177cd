"""Gates with knots before the judge: at every row, is each unit on the side of its knots that is claimed?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import UNIT, Ball, Loose, not_below, widened
from relu_regions.exactness.judge.hearing import Cells, Flips, Hearing
from relu_regions.exactness.judge.posts import BLOCK
from relu_regions.network.gates import Knots
from relu_regions.network.steps import GateStep

__all__ = ["hear_knots"]


def hear_knots(hearing: Hearing, number: int, step: GateStep, gate: Knots, ball: Ball) -> None:
    """Hear one gate: every line whose claims it does not confirm fails.

    Args:
        number: of the gate.
        ball: what it reads, ``(B * BLOCK, units)``.
    """
    flips = hearing.flips_of(number)
    pieces = hearing.pieces(number, flips, ball.radius.shape[1])
    hearing.fail_bends(flips.bend[(flips.after - flips.before).abs() != 1])
    sides, free = _Sides(hearing, step, gate, ball), []
    sides.find(flips)
    top, bottom = ball.high + sides.margin, ball.low - sides.margin
    for knot in range(len(gate.knots)):
        level = gate.knots[knot] * hearing.chunk.weight[:, None]
        # A number that is exactly its knot is below it.
        below, above = top <= level, pieces > knot
        if sides.ties:
            below |= (sides.ties.tables < 0)[sides.ties.between] & (level == 0)
        known = torch.where(above, bottom > level, below)
        own = flips if len(gate.knots) == 1 else flips.only(torch.minimum(flips.before, flips.after) == knot)
        known[own.row // BLOCK, own.unit] = False
        known |= hearing.settled[:, None]
        block, unit = known.logical_not_().nonzero(as_tuple=True)
        free.append(sides.look_closely(knot, block, unit, above[block, unit], own))
    _hear_infinity(hearing, pieces, sides)
    sides.let_loose(free[0] if len(free) == 1 else _Free(*(torch.cat(parts) for parts in zip(*free))))
    sides.place(flips, hearing.followed[number])


class _Free(NamedTuple):
    """Units at rows that are on no known side of a knot, ``(S,)`` each."""

    row: Tensor
    unit: Tensor
    knot: Tensor


def _hear_infinity(hearing: Hearing, pieces: Tensor, sides: _Sides) -> None:
    """A unit stays on its piece from the outermost post on if it does not grow towards a knot."""
    far, ball, last = hearing.chunk.far_block, sides.ball, sides.gate.piece_count - 1
    if not len(far):
        return
    low, high, margin, piece = ball.low[far], ball.high[far], sides.margin[far], pieces[far]
    still = margin == 0
    up, down = (low - margin > 0) | (still & (low >= 0)), (high + margin < 0) | (still & (high <= 0))
    stays = (up | (piece == 0)) & (down | (piece == last))
    if sides.ties:
        stays |= (sides.ties.tables < 0)[sides.ties.far]
    hearing.fail(hearing.chunk.line[far[~stays.all(1)]])


class _Sides:
    """A gate's units that are not certainly on the claimed side of a knot in a whole block.

    Attributes:
        ball: what the gate reads.
        margin: of a whole block, its radius with room for the rounding of sums.
        ties: what is equal of what the gate reads; None if nothing is.
    """

    def __init__(self, hearing: Hearing, step: GateStep, gate: Knots, ball: Ball) -> None:
        device = ball.value.device
        self.hearing, self.gate, self.ball, equal = hearing, gate, ball, hearing.equal
        self.margin = widened(ball.radius, ball.size)
        self.sources = equal.sources(step.inputs[0]).to(device)
        self.roots = equal.roots(step.inputs[0]).to(device)
        self.outputs = equal.sources(step.output).to(device)
        zeros = equal.zeros.get(step.inputs[0])
        self.zeros = None if zeros is None else zeros.to(device)
        # Numbers that flipping units have made, by row and unit: all of them, and those that are 0 at the breakpoint.
        self.ties, marks = hearing.ties_of(step.inputs[0]), hearing.marks(step.inputs[0])
        self.marked = None if marks is None else marks.at_rows(ball.value)

    def find(self, flips: Flips) -> None:
        """Find which breakpoints are at points where their first unit is 0 as a table says."""
        if self.ties:
            level = self._level_of(flips)
            self.hearing.is_there(flips, (level == 0) & (self.ties.here(flips.row, flips.unit) < 0))

    def look_closely(self, knot: int, block: Tensor, unit: Tensor, above: Tensor, flips: Flips) -> _Free:
        """Compare units with what is claimed, row by row. A line fails where one is not known to be so.

        Args:
            block, unit: which, ``(S,)`` each, in order.
            above: whether each is said to be above the knot just before its block, ``(S,)`` bool.
            flips: at this knot, all of them among these blocks and units, or on lines that have failed.

        Returns:
            Those that have no known side: that flip, or are 0 at the true breakpoint and don't.
        """
        hearing, units = self.hearing, len(self.sources)
        rows = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
        value, margin = self.ball.value[rows, unit[:, None]], self.margin[block, unit][:, None]
        if self.zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            exact = self.zeros[unit][:, None] & (value == 0)
            exact = exact if self.marked is None else exact & ~self.marked[0][rows, unit[:, None]]
            margin = margin.masked_fill(exact, 0.0)
        keys, wanted = block * units + unit, flips.row // BLOCK * units + flips.unit
        place = torch.searchsorted(keys, wanted).clamp_max(max(0, len(keys) - 1))
        there = keys[place] == wanted if len(keys) else torch.zeros_like(wanted, dtype=torch.bool)
        row, own, place = (part[there] for part in (flips.row, flips.unit, place))
        turns = torch.zeros_like(rows, dtype=torch.bool)
        turns[place, row % BLOCK] = True
        state = above[:, None] ^ (turns.cumsum(1, dtype=torch.int8) & 1).bool()
        level = self._level(knot, unit)[:, None]
        # These limits round by less than the margin has room for where they are no larger than twice the number. Where
        # they are, a number between them and the level is none.
        below = value <= level - margin
        if self.ties:
            below |= ((self.ties.everywhere(block, unit) < 0)[:, None]) & (level == 0)
        known = torch.where(state, value > level + margin, below) | turns
        at, column = known.logical_not_().nonzero(as_tuple=True)
        if len(at):
            others, unit = rows[at, column], unit[at]
            still = (level[at, 0] == 0) & self._is_zero(others, unit)
            hearing.fail_rows(others[~still])
            row, own = torch.cat([row, others[still]]), torch.cat([own, unit[still]])
        hearing.free(row, own, units)
        return _Free(row, own, torch.full_like(row, knot))

    def _is_zero(self, row: Tensor, unit: Tensor) -> Tensor:
        """Whether units are 0 at the true breakpoints that rows stand for, as flipping units have made them."""
        zero = torch.zeros_like(row, dtype=torch.bool) if self.marked is None else self.marked[1][row, unit]
        if self.ties:
            zero |= self.ties.is_there[row] & (self.ties.here(row, unit) < 0)
        return zero

    def _level(self, knot: int | Tensor, unit: Tensor) -> Tensor:
        return self._part(self.gate.knots, knot, unit)

    def _level_of(self, flips: Flips) -> Tensor:
        return self._level(torch.minimum(flips.before, flips.after).clamp_max(len(self.gate.knots) - 1), flips.unit)

    def _part(self, part: Tensor, row: int | Tensor, unit: Tensor) -> Tensor:
        """Numbers of a part of the gate that has a column for each unit, or one for all."""
        return part[row, unit] if part.shape[1] > 1 else part[row, torch.zeros_like(unit)]

    def let_loose(self, free: _Free) -> None:
        """Widen what the gate makes of these: it may be a little along either of the pieces that meet at the knot."""
        row, unit, knot = free
        value, radius = self.ball.value[row, unit], self.ball.radius[row // BLOCK, unit]
        if self.gate.is_relu:
            extra = value.abs()
            self.hearing.loose.append(Loose(row, unit, (radius + extra) * (1 + 16 * UNIT), extra))
        else:
            self.hearing.loose.append(self._loose(free, value, radius))
        if self.hearing.equal.shared:
            level, offsets = self._level(knot, unit), self._part(self.gate.offsets, knot, unit)
            bend, here = self.hearing.bend[row], level == 0
            self.hearing.note(bend, self.outputs[unit], here & (offsets == 0))
            self.hearing.note(bend[here], self.roots[unit[here]], here[here])

    def _loose(self, free: _Free, value: Tensor, radius: Tensor) -> Loose:
        row, unit, knot = free
        level = self._level(knot, unit)
        below, above = (self._part(self.gate.slopes, piece, unit) for piece in (knot, knot + 1))
        offset = torch.maximum(*(self._part(self.gate.offsets, piece, unit).abs() for piece in (knot, knot + 1)))
        steepest = not_below(torch.maximum(below.abs(), above.abs()))
        away = not_below((value - level).abs()) * not_below((above - below).abs())
        extra = (away + 8 * UNIT * (steepest * not_below(value.abs() + level.abs()) + offset)) * (1 + 16 * UNIT)
        exact = (radius == 0) & (value == level)
        wide = (not_below(radius) * steepest + extra) * (1 + 16 * UNIT)
        return Loose(row, unit, wide.masked_fill(exact, 0.0), extra.masked_fill(exact, 0.0))

    def place(self, flips: Flips, followed: bool) -> None:
        """Hear where the flips are: the first of a breakpoint says that, others must be tied to it.

        Args:
            followed: whether there are others.
        """
        if not len(flips.bend):
            return
        hearing, unit, first = self.hearing, flips.unit, flips.first
        level = self._level_of(flips)
        cause = flips.only(first) if followed else flips
        rows = torch.stack([cause.row - 1, cause.row, cause.row + 1])
        value, radius = self.ball.value[rows, cause.unit], self.ball.radius[rows // BLOCK, cause.unit]
        hearing.place(cause, Cells(value - level[first], radius), cause.after > cause.before)
        if not followed:
            return
        # Multiples of one number are 0 at once.
        ids = torch.where(level == 0, self.roots[unit], self.sources[unit])
        causes, knots = torch.zeros_like(hearing.cause), hearing.error.new_zeros(len(hearing.cause))
        causes[cause.bend], knots[cause.bend] = ids[first], level[first]
        theirs, knot = causes[flips.bend], knots[flips.bend]
        same = (theirs != 0) & (level == knot) & (ids == theirs)
        if self.ties:
            firsts = self.ties.everywhere(flips.row // BLOCK, unit)
            theirs = torch.full_like(hearing.cause, -2)
            theirs[cause.bend] = firsts[first]
            same |= (firsts == theirs[flips.bend]) & (level == knot)
        tied = same | ((level == 0) & self._is_zero(flips.row, unit))
        hearing.fail_bends(flips.bend[~(first | tied)])
