"""Gates with knots before the judge: on which side of its knots every unit lies, at posts, breakpoints and infinity."""

from __future__ import annotations

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import Ball, widened
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
    chunk = hearing.chunk
    asked, shares = hearing.asked(number), hearing.shares(number)
    # No number changes over a cell by more than twice the largest; what this leaves open is looked at more closely.
    size = ball.size
    change = 2 * hearing.beside((size + ball.radius).amax(1))
    extra = torch.where(shares > 0, shares * change[:, None], 0.0)
    margin = widened(ball.radius + extra.amax(1, keepdim=True), size)
    constant = _constant(hearing, ball)
    claimed = hearing.flips.only(hearing.flips.gate == number)
    upper = torch.maximum(claimed.before, claimed.after)
    steep = (claimed.after - claimed.before).abs() != 1
    hearing.fail_bends(claimed.bend[steep])
    pieces = ball.radius.new_zeros(len(chunk.part_block), ball.radius.shape[1], dtype=torch.int64)
    found: list[Flips] = []
    for knot in range(len(gate.knots)):
        level = gate.knots[knot] * chunk.weight[:, None]
        above = ball.low - margin > level
        below = ball.high + margin < level
        if constant is not None:
            below |= constant & (ball.high <= level)
        block, unit = (~(above | below) & hearing.live[:, None]).nonzero(as_tuple=True)
        last = above.clone()
        side = _Sides(hearing, number, step, gate, knot, ball, asked, extra)
        above[block, unit], last[block, unit] = side.look_closely(block, unit, found)
        block, unit = ((chunk.linked & hearing.live[1:])[:, None] & (last[:-1] != above[1:])).nonzero(as_tuple=True)
        side.note_changes(found, block * BLOCK + BLOCK - 1, unit, above[block + 1, unit])
        _hear_infinity(hearing, ball, level, knot, above, last)
        pieces += above[chunk.part_block]
        chosen = claimed.only(upper == knot + 1)
        side.place(chosen, hearing.is_first[hearing.flips.gate == number][upper == knot + 1])
    hearing.compare(_joined(found, claimed), claimed, gate)
    wrong = (pieces != hearing.first_pieces(number)).any(1)
    hearing.fail(chunk.part_line[wrong])


def _constant(hearing: Hearing, ball: Ball) -> Tensor | None:
    """The units that are exactly one number throughout a block and the one it is linked to, ``(B, units)`` bool.

    None if there is none.
    """
    exact = ball.radius == 0
    if not exact.any():
        return None
    constant = exact & (ball.low == ball.high)
    linked = hearing.chunk.linked[:, None]
    constant[:-1] &= ~linked | (constant[1:] & (ball.low[1:] == ball.low[:-1]))
    return constant


def _joined(found: list[Flips], like: Flips) -> Flips:
    return Flips(*(torch.cat(parts) for parts in zip(*found))) if found else like.only(like.bend < 0)


def _hear_infinity(hearing: Hearing, ball: Ball, level: Tensor, knot: int, first: Tensor, last: Tensor) -> None:
    """A unit stays on its side of a knot from the outermost post on if it does not grow towards the other side."""
    far, row = hearing.chunk.far_block, hearing.chunk.far_row
    if not len(far):
        return
    post = row // BLOCK
    above = torch.where((row % BLOCK == 0)[:, None], first[post], last[post])
    low, high, margin = ball.low[far], ball.high[far], widened(ball.radius[far], ball.size[far])
    still = margin == 0
    stays = torch.where(above, (low - margin > 0) | (still & (low >= 0)), (high + margin < 0) | (still & (high <= 0)))
    hearing.fail(hearing.chunk.line[far[~stays.all(1)]])


class _Sides:
    """One knot of one gate: units that are not certainly on one side of it in a whole block."""

    def __init__(
        self,
        hearing: Hearing,
        number: int,
        step: GateStep,
        gate: Knots,
        knot: int,
        ball: Ball,
        asked: Tensor,
        extra: Tensor,
    ) -> None:
        self.hearing, self.number, self.gate, self.knot, self.ball = hearing, number, gate, knot, ball
        self.asked, self.extra = asked, extra
        self.sources = hearing.equal.sources(step.inputs[0]).to(ball.value.device)
        zeros = hearing.equal.zeros.get(step.inputs[0])
        self.zeros = None if zeros is None else zeros.to(ball.value.device)
        self.outputs = hearing.equal.sources(step.output).to(ball.value.device)

    def level(self, unit: Tensor) -> Tensor:
        """The knot of units."""
        knots = self.gate.knots[self.knot]
        return knots[unit] if len(knots) > 1 else knots.expand(unit.shape)

    def look_closely(self, block: Tensor, unit: Tensor, found: list[Flips]) -> tuple[Tensor, Tensor]:
        """Whether units are above the knot at the first and at the last post of a block, ``(S,)`` bool each.

        Notes changes from post to post. A line fails where a post is open, or a breakpoint that stays so.
        """
        hearing, chunk = self.hearing, self.hearing.chunk
        rows = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
        value = self.ball.value[rows, unit[:, None]]
        margin = widened(self.ball.radius[block, unit][:, None] + self.extra[block], value.abs())
        if self.zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            margin = margin.masked_fill(self.zeros[unit][:, None] & (value == 0), 0.0)
        level = (self.level(unit) * chunk.weight[block])[:, None]
        above = value - margin > level
        open_ = ~(above | (value + margin < level) | ((margin == 0) & (value <= level)))
        bends, asked = chunk.bend[block], self.asked[block]
        post = bends < 0
        far = chunk.weight[block] == 0
        hearing.fail(chunk.line[block[(open_ & post).any(1) & ~far]])
        posts = above[:, ::2]
        which, place = (posts[:, 1:] != posts[:, :-1]).nonzero(as_tuple=True)
        self.note_changes(found, rows[which, 2 * place + 1], unit[which], posts[which, place + 1])
        other = ~post & asked & (open_ | (above != posts.repeat_interleave(2, 1)))
        which, place = other.nonzero(as_tuple=True)
        self._hear_breakpoints(bends[which, place], unit[which], posts[which, place // 2])
        return above[:, 0], above[:, BLOCK - 2]

    def note_changes(self, found: list[Flips], row: Tensor, unit: Tensor, rising: Tensor) -> None:
        """Note that units change their side in the cells of these rows."""
        bend = self.hearing.bend[row]
        nowhere = bend < 0
        self.hearing.fail_rows(row[nowhere])
        before = torch.where(rising, self.knot, self.knot + 1)
        gate = torch.full_like(bend, self.number)
        found.append(Flips(bend, gate, unit, before, 2 * self.knot + 1 - before).only(~nowhere))

    def _hear_breakpoints(self, bend: Tensor, unit: Tensor, above: Tensor) -> None:
        """Units that leave open, at the computed breakpoint of an earlier gate, on which side they are at the true one.

        Args:
            above: whether they are above the knot at the post before.
        """
        level = self.level(unit)
        low, high = self.hearing.enclosures(self.hearing.cells(self.ball, bend, unit), bend)
        stays = torch.where(above, low > level, high < level)
        stays |= (level == 0) & self.hearing.is_zero(bend, self.sources[unit])
        flips = self.hearing.flips
        units = len(self.sources)
        own = flips.bend[flips.gate == self.number] * units + flips.unit[flips.gate == self.number]
        # Those that are claimed to flip are heard by themselves.
        stays |= torch.isin(bend * units + unit, own)
        self.hearing.fail_bends(bend[~stays])

    def place(self, flips: Flips, first: Tensor) -> None:
        """Hear the flips at this knot: the first of a breakpoint says where it is, others must be tied to it.

        Args:
            first: whether each is the first of its breakpoint, ``(F,)`` bool.
        """
        if not len(flips.bend):
            return
        hearing, unit = self.hearing, flips.unit
        level = self.level(unit)
        cells = hearing.cells(self.ball, flips.bend, unit)
        value, radius = cells.value - level, cells.radius
        rising = flips.after > flips.before
        hearing.place(flips.only(first), Cells(value[:, first], radius[:, first]), rising[first])
        cause, knots = torch.zeros_like(hearing.cause), torch.zeros_like(hearing.error)
        cause[flips.bend[first]], knots[flips.bend[first]] = self.sources[unit[first]], level[first]
        source, theirs, knot = self.sources[unit], cause[flips.bend], knots[flips.bend]
        same = (theirs != 0) & (level == knot) & ((source == theirs) | ((source == -theirs) & (level == 0)))
        tied = same | ((level == 0) & hearing.is_zero(flips.bend, source))
        hearing.fail_bends(flips.bend[~(first | tied)])
        offsets = self.gate.offsets[self.knot]
        offset = offsets[unit] if len(offsets) > 1 else offsets.expand(unit.shape)
        zero = (level == 0) & (offset == 0)
        hearing.note_zeros(flips.bend[zero], self.outputs[unit[zero]])
