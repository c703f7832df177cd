"""Order statistics before the judge: the input that has a rank is compared with all others, on both sides of it.

It has the rank at a post if its sides are known, that is, which inputs are above it and which are below. It keeps the
rank from one place to another, between which all inputs are affine, if its sides are the same at both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import UNIT, Ball
from relu_regions.exactness.judge.hearing import Cells, Flips, Hearing
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
    chunk, bend = hearing.chunk, hearing.bend
    ranks = _Ranks(hearing, step, gate, ball, hearing.shares(number))
    piece, sides, open_ = ranks.piece, ranks.sides, ranks.open
    far = (chunk.weight == 0).repeat_interleave(BLOCK)
    hearing.fail_rows((open_.any(1) & (bend < 0) & ~far).nonzero()[:, 0])
    row = (bend >= 0).nonzero()[:, 0]
    before, after = piece[row - 1], piece[row + 1]
    at, unit = (before != after).nonzero(as_tuple=True)
    place = bend[row[at]]
    found = Flips(place, torch.full_like(place, number), unit, before[at, unit], after[at, unit])
    claimed = hearing.flips.only(hearing.flips.gate == number)
    hearing.compare(found, claimed, gate)
    keeps, passed = before == after, (sides[row - 1] != sides[row + 1]).any(-1)
    hearing.fail_bends(bend[row[(keeps & passed).any(1)]])
    _hear_cells_without_bends(hearing, torch.cat([sides, piece[..., None]], -1))
    ranks.place(claimed, hearing.is_first[hearing.flips.gate == number], number)
    moved = open_[row] | (piece[row] != before) | (sides[row] != sides[row - 1]).any(-1)
    at, unit = (hearing.asked(number).view(-1)[row][:, None] & keeps & moved).nonzero(as_tuple=True)
    same = before[at, unit]
    held = ranks.at_breakpoints(bend[row[at]], unit, same, same)
    hearing.fail_bends(bend[row[at]][~held])
    ranks.hear_infinity()
    wrong = (piece[chunk.part_block * BLOCK] != hearing.first_pieces(number)).any(1)
    hearing.fail(chunk.part_line[wrong])


def _hear_cells_without_bends(hearing: Hearing, sides: Tensor) -> None:
    """In a block that holds no breakpoint nothing changes from post to post."""
    posts = sides.view(-1, BLOCK, *sides.shape[1:])[:, ::2]
    moves = (posts != posts[:, :1]).flatten(1).any(1)
    hearing.fail(hearing.chunk.line[(hearing.chunk.bend < 0).all(1) & moves])


class _Ranks:
    """The inputs of the windows of a gate, and on which side of them the input of the rank is.

    Attributes:
        piece: the input of the rank at each row, ``(rows, units)`` int64, of equals the first.
        sides: 1 where it is above an input of its window, -1 where it is below it, 0 where they are equal by
            construction or exact numbers, ``(rows, units, k)`` int64.
        open: whether some side is not known, ``(rows, units)`` bool.
    """

    def __init__(self, hearing: Hearing, step: GateStep, gate: OrderStatistic, ball: Ball, shares: Tensor) -> None:
        """Args:
        shares: as `Hearing.shares`.
        """
        device = ball.value.device
        self.hearing, self.windows = hearing, gate.windows
        equal, name = hearing.equal, step.inputs[0]
        self.sources = equal.sources(name).to(device)[gate.windows]
        radius = ball.radius.repeat_interleave(BLOCK, 0)
        zeros = equal.zeros.get(name)
        if zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            radius = radius.masked_fill(zeros.to(device) & (ball.value == 0), 0.0)
        self.value, self.radius = ball.value, radius
        self.piece = gate.pieces_beside(ball.value, ball.value)
        value, radius = self.value[:, self.windows], self.radius[:, self.windows]
        chosen, shares = self.piece[..., None], shares.view(-1, 1, 1)
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        change = (value.abs() + radius).amax((1, 2), keepdim=True)
        size = change.clone()
        change[1:] = torch.maximum(change[1:], size[:-1])
        change[:-1] = torch.maximum(change[:-1], size[1:])
        exact = (error == 0) & (shares == 0)
        error = error * (1 + 16 * UNIT) + torch.where(shares > 0, 8 * shares * change, 0.0)
        sources = self.sources.expand_as(value)
        same = sources == sources.gather(-1, chosen)
        self.sides = lead.sign().long().masked_fill(same, 0)
        self.open = ~((lead.abs() > error) | same | exact).all(-1)

    def place(self, flips: Flips, first: Tensor, number: int) -> None:
        """Hear the flips of the gate: the first of a breakpoint says where it is, others must be of the same inputs."""
        if not len(flips.bend):
            return
        hearing, causes = self.hearing, flips.only(first)
        before, after = (self._cells(causes.bend, self.windows[causes.unit, p]) for p in (causes.before, causes.after))
        difference = Cells(after.value - before.value, after.radius + before.radius)
        hearing.place(causes, difference, difference.value[2] > difference.value[0])
        pairs = self.sources.new_full((len(hearing.cause), 2), -1)
        pairs[causes.bend] = self._pairs(causes)
        tied = (hearing.cause[flips.bend] == number) & (self._pairs(flips) == pairs[flips.bend]).all(1)
        held = self.at_breakpoints(flips.bend, flips.unit, flips.before, flips.after)
        hearing.fail_bends(flips.bend[~(tied & held)])

    def _pairs(self, flips: Flips) -> Tensor:
        """The two numbers that change places, in either order, ``(F, 2)``."""
        pairs = torch.stack([self.sources[flips.unit, piece] for piece in (flips.before, flips.after)], 1)
        return pairs.sort(1).values

    def _cells(self, bend: Tensor, inputs: Tensor) -> Cells:
        row = self.hearing.chunk.row[bend]
        rows = torch.stack([row - 1, row, row + 1])
        rows = rows[:, :, None] if inputs.ndim == 2 else rows
        return Cells(self.value[rows, inputs], self.radius[rows, inputs])

    def at_breakpoints(self, bend: Tensor, unit: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Whether inputs have at the true breakpoints the sides that they have at the posts beside, ``(F,)`` bool.

        On either side of one they are affine, so that they have them up to there.

        Args:
            before, after: positions within the windows; these two may meet there.
        """
        hearing, sources = self.hearing, self.sources[unit]
        low, high = hearing.enclosures(self._cells(bend, self.windows[unit]), bend)
        zero = hearing.is_zero(bend[:, None], sources)
        low, high = low.masked_fill(zero, 0.0), high.masked_fill(zero, 0.0)
        row, known = hearing.chunk.row[bend], torch.ones_like(zero)
        meet = torch.zeros_like(zero)
        for piece in (before, after):
            meet |= sources == sources.gather(1, piece[:, None])
        for piece, post in ((before, row - 1), (after, row + 1)):
            chosen, sides = piece[:, None], self.sides[post, unit]
            above, below = low.gather(1, chosen) >= high, high.gather(1, chosen) <= low
            known &= (above | (sides < 0)) & (below | (sides > 0))
        return (known | meet).all(1)

    def hear_infinity(self) -> None:
        """What has the rank at the outermost post keeps it if it grows away from all others, or as they do."""
        chunk = self.hearing.chunk
        if not len(chunk.far_block):
            return
        row, chosen, sides = chunk.far_block * BLOCK, self.piece[chunk.far_row][..., None], self.sides[chunk.far_row]
        value, radius = self.value[row][:, self.windows], self.radius[row][:, self.windows]
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        away = sides * lead
        sources = self.sources.expand_as(value)
        stays = sources == sources.gather(-1, chosen)
        stays |= (away > error * (1 + 16 * UNIT)) | ((error == 0) & (away >= 0) & ((sides != 0) | (lead == 0)))
        self.hearing.fail(chunk.line[chunk.far_block[~stays.flatten(1).all(1)]])
