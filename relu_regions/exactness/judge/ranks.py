"""Order statistics before the judge: the input that is said to have a rank is compared with all others, at every row.

It has the rank at a row if its sides are known, that is, which inputs are above it and which are below. It keeps the
rank from one row to the next, between which all inputs are affine, if its sides are the same at both.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import UNIT, Ball, Loose
from relu_regions.exactness.judge.hearing import Flips, Hearing
from relu_regions.exactness.judge.posts import BLOCK
from relu_regions.network.gates import OrderStatistic
from relu_regions.network.steps import GateStep

__all__ = ["hear_order_statistic"]


def hear_order_statistic(hearing: Hearing, number: int, step: GateStep, gate: OrderStatistic, ball: Ball) -> None:
    """Hear one gate: every line whose claims it does not confirm fails.

    Args:
        number: of the gate.
        ball: what it reads, ``(B * BLOCK, inputs)``.
    """
    flips, ranks = hearing.flips_of(number), _Ranks(hearing, step, gate, ball)
    before, after = _at_rows(hearing.pieces(number, flips, len(gate.windows)), flips)
    ranks.hear_rows(before, after)
    ranks.hear_infinity(before)
    ranks.place(flips)


def _at_rows(pieces: Tensor, flips: Flips) -> tuple[Tensor, Tensor]:
    """The pieces that are claimed before and after each row, ``(rows, units)`` each, from those before the blocks."""
    turns = pieces.new_zeros(len(pieces) * BLOCK, pieces.shape[1])
    turns[flips.row, flips.unit] = flips.after - flips.before
    after = (turns.view(-1, BLOCK, pieces.shape[1]).cumsum(1) + pieces[:, None]).flatten(0, 1)
    return after - turns, after


class _Sides(NamedTuple):
    """On which side of the others of a window an input is, ``(rows, units, k)`` each.

    Attributes:
        side: 1 where it is above another input, -1 where it is below it, 0 where they are equal by construction or
            exact numbers.
        known: whether that is certain.
        zero: whether both are 0 at the true breakpoint that the row stands for.
    """

    side: Tensor
    known: Tensor
    zero: Tensor


class _Ranks:
    """The inputs of the windows of a gate at all rows, ``(rows, units, k)``."""

    def __init__(self, hearing: Hearing, step: GateStep, gate: OrderStatistic, ball: Ball) -> None:
        device = ball.value.device
        self.hearing, self.gate, self.ball, self.windows = hearing, gate, ball, gate.windows
        equal, name = hearing.equal, step.inputs[0]
        numbers = equal.sources(name).to(device)
        self.outputs, self.sources = equal.sources(step.output).to(device), numbers[gate.windows]
        radius = ball.radius.repeat_interleave(BLOCK, 0)
        marks, zeros = hearing.marks(name), equal.zeros.get(name)
        none = torch.zeros_like(ball.value, dtype=torch.bool)
        marked, zero = (none, none) if marks is None else marks.at_rows(ball.value)
        if zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            exact = zeros.to(device) & (ball.value == 0) & ~marked
            radius, zero = radius.masked_fill(exact, 0.0), zero | exact
        self.value, self.radius = ball.value[:, gate.windows], radius[:, gate.windows]
        self.marked, self.zero = marked[:, gate.windows], zero[:, gate.windows]

    def sides(self, piece: Tensor) -> _Sides:
        """Those of the inputs at positions within the windows, ``(rows, units)``."""
        chosen = piece[..., None]
        lead = self.value.gather(-1, chosen) - self.value
        error = (self.radius.gather(-1, chosen) + self.radius) * (1 + 16 * UNIT)
        sources = self.sources.expand_as(self.value)
        same = sources == sources.gather(-1, chosen)
        zero = self.zero & self.zero.gather(-1, chosen) & (self.marked | self.marked.gather(-1, chosen))
        known = (lead.abs() > error) | same | ((error == 0) & (lead == lead))
        return _Sides(lead.sign().long().masked_fill(same, 0), known, zero & ~known)

    def hear_rows(self, before: Tensor, after: Tensor) -> None:
        """Hear whether inputs have their ranks at all rows, and keep them in between.

        Args:
            before, after: the inputs that are said to have them before and after each row, ``(rows, units)``.
        """
        hearing, flipping = self.hearing, before != after
        bend = (hearing.bend >= 0)[:, None]
        ends, wild = [self.sides(before), self.sides(after)], []
        for sides, other in zip(ends, (after, before)):
            # The two that change places have no known side of each other at that row.
            beside = torch.zeros_like(sides.known).scatter_(-1, other[..., None], True) & flipping[..., None]
            free = beside | (sides.zero & bend[..., None])
            sources = self.sources.expand_as(self.value)
            free |= flipping[..., None] & (sources == sources.gather(-1, other[..., None]))
            wild.append(free)
            hearing.fail_rows((~self._skipped() & ~(sides.known | free).all(-1).all(1)).nonzero()[:, 0])
        still = flipping | wild[0].any(-1)
        holds = still | (self.gate.pieces_beside(self.ball.value, self.ball.value) == before)
        hearing.fail_rows((~self._skipped() & ~holds.all(1)).nonzero()[:, 0])
        part = hearing.chunk.part.repeat_interleave(BLOCK)
        moves = (ends[1].side[:-1] != ends[0].side[1:]) & ~wild[1][:-1] & ~wild[0][1:]
        inside = (part.diff() == 0) & ~self._skipped()[1:] & ~self._skipped()[:-1]
        hearing.fail_rows((inside & moves.flatten(1).any(1)).nonzero()[:, 0])
        row, unit = still.nonzero(as_tuple=True)
        hearing.free(row, unit, len(self.windows))
        self._let_loose(row, unit, torch.stack([before[row, unit], after[row, unit]], 1))
        made = [part.gather(2, p[..., None])[..., 0] for part in (self.marked, self.zero) for p in (before, after)]
        row, unit = (bend & (still | made[0] | made[1])).nonzero(as_tuple=True)
        hearing.note(hearing.bend[row], self.outputs[unit], (made[2] & made[3])[row, unit])

    def _skipped(self) -> Tensor:
        return (self.hearing.chunk.weight == 0).repeat_interleave(BLOCK)

    def _let_loose(self, row: Tensor, unit: Tensor, ends: Tensor) -> None:
        """Widen what the gate makes where another input may have the rank."""
        values = self.value[row, unit].gather(1, ends)
        made = self.gate.apply(self.ball.value)[row, unit]
        extra = (made[:, None] - values).abs().amax(1) * (1 + 8 * UNIT)
        wide = (extra + self.radius[row, unit].gather(1, ends).amax(1)) * (1 + 8 * UNIT)
        self.hearing.loose.append(Loose(row, unit, wide, extra))

    def place(self, flips: Flips) -> None:
        """Hear where the flips are: the first of a breakpoint says that, others must be of the same inputs."""
        if not len(flips.bend):
            return
        hearing, causes = self.hearing, flips.only(flips.first)
        hearing.place_meetings(causes, self.windows, self.ball, always_rising=False)
        pairs = self.sources.new_full((len(hearing.cause), 2), -1)
        pairs[causes.bend] = self._pairs(causes)
        tied = (hearing.cause[flips.bend] == flips.gate) & (self._pairs(flips) == pairs[flips.bend]).all(1)
        hearing.fail_bends(flips.bend[~tied])

    def _pairs(self, flips: Flips) -> Tensor:
        """The two numbers that change places, in either order, ``(F, 2)``."""
        pairs = torch.stack([self.sources[flips.unit, piece] for piece in (flips.before, flips.after)], 1)
        return pairs.sort(1).values

    def hear_infinity(self, before: Tensor) -> None:
        """What has the rank at the outermost post keeps it if it grows away from all others, or as they do."""
        chunk = self.hearing.chunk
        if not len(chunk.far_block):
            return
        row, piece = chunk.far_block * BLOCK, before[chunk.far_row]
        chosen = piece[..., None]
        at_post = self.value[chunk.far_row]
        sources = self.sources.expand_as(at_post)
        same = sources == sources.gather(-1, chosen)
        sides = (at_post.gather(-1, chosen) - at_post).sign().long().masked_fill(same, 0)
        value, radius = self.value[row], self.radius[row]
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        away = sides * lead
        stays = same | (away > error * (1 + 16 * UNIT))
        stays |= (error == 0) & (away >= 0) & ((sides != 0) | (lead == 0))
        self.hearing.fail(chunk.line[chunk.far_block[~stays.flatten(1).all(1)]])
