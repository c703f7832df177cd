"""Maximum gates before the judge: the input that leads every window is compared with all others, at both ends and
where it changes."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import UNIT, Ball
from relu_regions.exactness.judge.hearing import Cells, Flips, Hearing
from relu_regions.exactness.judge.posts import BLOCK
from relu_regions.network.gates import Maximum
from relu_regions.network.steps import GateStep

__all__ = ["hear_maximum"]


def hear_maximum(hearing: Hearing, number: int, step: GateStep, gate: Maximum, ball: Ball) -> None:
    """Hear one gate: every line whose claims it does not confirm fails.

    Args:
        number: of the gate.
        ball: what it reads, ``(B * BLOCK, inputs)``.
    """
    chunk = hearing.chunk
    leads = _Leads(hearing, step, gate, ball)
    winner, open_ = leads.winners(hearing.shares(number))
    asked, post = hearing.asked(number).view(-1, 1), (hearing.bend < 0)[:, None]
    far = (chunk.weight == 0).repeat_interleave(BLOCK)[:, None]
    hearing.fail_rows((open_ & post & ~far).any(1).nonzero()[:, 0])
    claimed = hearing.flips.only(hearing.flips.gate == number)
    row, unit = ((hearing.bend >= 0)[:, None][1:-1] & (winner[:-2] != winner[2:])).nonzero(as_tuple=True)
    bend = hearing.bend[row + 1]
    found = Flips(bend, torch.full_like(bend, number), unit, winner[row, unit], winner[row + 2, unit])
    hearing.compare(found, claimed, gate)
    _hear_cells_without_bends(hearing, winner)
    leads.place(claimed, hearing.is_first[hearing.flips.gate == number], number)
    moved = torch.zeros_like(open_)
    moved[1:] = winner[1:] != winner[:-1]
    row, unit = (asked & ~post & (open_ | moved)).nonzero(as_tuple=True)
    before, after = winner[row - 1, unit], winner[row + 1, unit]
    bend = hearing.bend[row]
    hearing.fail_bends(bend[~leads.at_breakpoints(bend, unit, before, after, tied=False)])
    leads.hear_infinity(winner)
    wrong = (winner[chunk.part_block * BLOCK] != hearing.first_pieces(number)).any(1)
    hearing.fail(chunk.part_line[wrong])


def _hear_cells_without_bends(hearing: Hearing, winner: Tensor) -> None:
    """A block that holds no breakpoint has one pattern."""
    chunk = hearing.chunk
    bare = (chunk.bend < 0).all(1)
    pieces = winner.view(-1, BLOCK, winner.shape[1])
    moves = (pieces[:, ::2] != pieces[:, :1]).flatten(1).any(1)
    hearing.fail(chunk.line[bare & moves])


class _Leads:
    """The inputs of the windows of a gate, and by how much one leads another."""

    def __init__(self, hearing: Hearing, step: GateStep, gate: Maximum, ball: Ball) -> None:
        device = ball.value.device
        self.hearing, self.windows = hearing, gate.windows
        equal, name = hearing.equal, step.inputs[0]
        self.sources = equal.sources(name).to(device)[gate.windows]
        self.outputs = equal.sources(step.output).to(device)
        radius = ball.radius.repeat_interleave(BLOCK, 0)
        zeros = equal.zeros.get(name)
        if zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            radius = radius.masked_fill(zeros.to(device) & (ball.value == 0), 0.0)
        self.ball, self.value, self.radius = ball, ball.value, radius

    def winners(self, shares: Tensor) -> tuple[Tensor, Tensor]:
        """The input that leads each window at each row, and whether that is open; ``(rows, units)`` each.

        Args:
            shares: as `Hearing.shares`.
        """
        shares, size = shares.view(-1), (self.value.abs() + self.radius).amax(1)
        change = size.clone()
        change[1:] = torch.maximum(change[1:], size[:-1])
        change[:-1] = torch.maximum(change[:-1], size[1:])
        added = torch.where(shares > 0, 8 * shares * change, 0.0).view(-1, BLOCK)
        winner, sure = self._in_whole_blocks(added.amax(1))
        winner, open_ = winner.repeat_interleave(BLOCK, 0), torch.zeros_like(sure).repeat_interleave(BLOCK, 0)
        block, unit = (~sure).nonzero(as_tuple=True)
        rows = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
        winner[rows, unit[:, None]], open_[rows, unit[:, None]] = self._row_by_row(rows, unit, added[block])
        return winner, open_

    def _in_whole_blocks(self, added: Tensor) -> tuple[Tensor, Tensor]:
        """The input whose least number in a block is the largest, and whether it leads throughout, ``(B, units)`` each.

        Args:
            added: to what an error may be in each block, ``(B,)``.
        """
        low, high, radius = (part[:, self.windows] for part in (self.ball.low, self.ball.high, self.ball.radius))
        winner = low.argmax(-1)
        chosen = winner[..., None]
        error = (radius.gather(-1, chosen) + radius) * (1 + 16 * UNIT) + added[:, None, None]
        sources = self.sources.expand_as(low)
        leads = (low.gather(-1, chosen) - high > error) | (sources == sources.gather(-1, chosen))
        return winner, leads.all(-1)

    def _row_by_row(self, rows: Tensor, unit: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """The same of some units at the rows of some blocks, and whether that is open; ``(S, BLOCK)`` each.

        Args:
            rows: ``(S, BLOCK)``; unit: ``(S,)``; added: to what an error may be, ``(S, BLOCK)``.
        """
        inputs = self.windows[unit][:, None]
        value, radius = self.value[rows[..., None], inputs], self.radius[rows[..., None], inputs]
        winner = value.argmax(-1)  # of equals the first
        chosen = winner[..., None]
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        error = error * (1 + 16 * UNIT) + added[..., None]
        sources = self.sources[unit][:, None].expand_as(value)
        later = torch.arange(value.shape[-1], device=winner.device) > chosen
        same = sources == sources.gather(-1, chosen)
        exact = (radius.gather(-1, chosen) == 0) & (radius == 0) & later
        return winner, ~((lead > error) | same | (exact & (lead >= 0))).all(-1)

    def place(self, flips: Flips, first: Tensor, number: int) -> None:
        """Hear the flips of the gate: the first of a breakpoint says where it is, others must be tied to it.

        So they are where the same two numbers meet in another window, or where zeros tie.
        """
        if not len(flips.bend):
            return
        hearing, causes = self.hearing, flips.only(first)
        before, after = (self._cells(causes, piece) for piece in (causes.before, causes.after))
        difference = Cells(after.value - before.value, after.radius + before.radius)
        hearing.place(causes, difference, torch.ones_like(causes.bend, dtype=torch.bool))
        own = self.at_breakpoints(causes.bend, causes.unit, causes.before, causes.after, tied=True)
        hearing.fail_bends(causes.bend[~own])
        others = flips.only(~first)
        here = hearing.cause[others.bend] == number
        same = here & self._meet_as_their_cause(others, causes)
        tied = self.at_breakpoints(others.bend, others.unit, others.before, others.after, tied=False) & ~here
        tied |= same & self.at_breakpoints(others.bend, others.unit, others.before, others.after, tied=True)
        hearing.fail_bends(others.bend[~tied])
        zero = hearing.is_zero(others.bend, self.sources[others.unit, others.before])
        hearing.note_zeros(others.bend[zero], self.outputs[others.unit[zero]])

    def _meet_as_their_cause(self, others: Flips, causes: Flips) -> Tensor:
        """Whether the numbers that change places are those of the cause of the same breakpoint, ``(F,)`` bool."""
        pairs = self.sources.new_zeros(len(self.hearing.cause), 2)
        pairs[causes.bend] = self._pairs(causes)
        return (self._pairs(others) == pairs[others.bend]).all(1)

    def _pairs(self, flips: Flips) -> Tensor:
        return torch.stack([self.sources[flips.unit, piece] for piece in (flips.before, flips.after)], 1)

    def _cells(self, flips: Flips, piece: Tensor) -> Cells:
        row = self.hearing.chunk.row[flips.bend]
        rows, inputs = torch.stack([row - 1, row, row + 1]), self.windows[flips.unit, piece]
        return Cells(self.value[rows, inputs], self.radius[rows, inputs])

    def at_breakpoints(self, bend: Tensor, unit: Tensor, before: Tensor, after: Tensor, *, tied: bool) -> Tensor:
        """Whether inputs lead their windows at the true breakpoints, ``(F,)`` bool: both that before and that after.

        Args:
            before, after: positions within the windows.
            tied: whether the two are equal there, because that is what the breakpoint is.
        """
        hearing, inputs = self.hearing, self.windows[unit]
        row = hearing.chunk.row[bend]
        rows = torch.stack([row - 1, row, row + 1])[:, :, None]
        low, high = hearing.enclosures(Cells(self.value[rows, inputs], self.radius[rows, inputs]), bend)
        sources = self.sources[unit]
        zero = hearing.is_zero(bend[:, None], sources)
        low, high = low.masked_fill(zero, 0.0), high.masked_fill(zero, 0.0)
        leads = []
        alike = torch.zeros_like(zero)
        for piece in (before, after):
            chosen = piece[:, None]
            alike |= sources == sources.gather(1, chosen)
            leads.append(low.gather(1, chosen) >= high)
        if tied:
            return (leads[0] | leads[1] | alike).all(1)
        same = [sources == sources.gather(1, piece[:, None]) for piece in (before, after)]
        return ((leads[0] | same[0]) & (leads[1] | same[1])).all(1)

    def hear_infinity(self, winner: Tensor) -> None:
        """What leads at the outermost post goes on to lead if no other input grows faster."""
        chunk = self.hearing.chunk
        if not len(chunk.far_block):
            return
        row, chosen = chunk.far_block * BLOCK, winner[chunk.far_row][..., None]
        value, radius = self.value[row][:, self.windows], self.radius[row][:, self.windows]
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        sources = self.sources.expand_as(value)
        stays = (lead > error * (1 + 16 * UNIT)) | ((error == 0) & (lead >= 0))
        stays |= sources == sources.gather(-1, chosen)
        self.hearing.fail(chunk.line[chunk.far_block[~stays.flatten(1).all(1)]])
