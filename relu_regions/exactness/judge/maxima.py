"""Maximum gates before the judge: at every row, does the input that is said to lead each window lead all others?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import matches
from relu_regions.exactness.judge.balls import UNIT, Ball, Loose
from relu_regions.exactness.judge.hearing import Flips, Hearing
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
    flips, leads = hearing.flips_of(number), _Leads(hearing, step, gate, ball)
    leads.find(flips)
    pieces = hearing.pieces(number, flips, len(gate.windows))
    known = leads.in_whole_blocks(pieces)
    known[flips.row // BLOCK, flips.unit] = False
    row, unit = leads.marked_windows
    known[row // BLOCK, unit] = False
    block, unit = (~known & ~hearing.settled[:, None]).nonzero(as_tuple=True)
    leads.look_closely(block, unit, pieces[block, unit], flips)
    leads.hear_infinity(pieces)
    leads.place(flips)


class _Window(NamedTuple):
    """The inputs of some windows at some rows, ``(S, R, k)`` each.

    Attributes:
        value, radius: as those of a ball.
        source: as `relu_regions.exactness.equal_by_construction.EqualNumbers.sources`.
        marked, zero: as `relu_regions.exactness.judge.hearing.Marks`.
        everywhere, here: by number what is equal on the line, and at the breakpoint that a row stands for.
    """

    value: Tensor
    radius: Tensor
    source: Tensor
    marked: Tensor
    zero: Tensor
    everywhere: Tensor
    here: Tensor

    def leads(self, piece: Tensor, beside: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whether one input leads each other one, and whether that is so only because two are equal at the breakpoint;
        ``(S, R)`` bool each.

        Args:
            piece: the input, a position within the window, ``(S, R)``.
            beside: another input that changes places with it; the two are not compared.
        """
        chosen = piece[..., None]
        lead = self.value.gather(-1, chosen) - self.value
        own, source = self.radius.gather(-1, chosen), self.source.gather(-1, chosen)
        # Of equal inputs the first leads.
        place = torch.arange(self.value.shape[-1], device=piece.device)
        later = place >= chosen
        sure = lead > (own + self.radius) * (1 + 16 * UNIT)
        same = (self.source == source) | (self.everywhere == self.everywhere.gather(-1, chosen))
        sure |= later & (same | ((own == 0) & (self.radius == 0) & (lead >= 0)))
        if beside is not None:
            other = beside[..., None]
            sure |= same | (self.source == self.source.gather(-1, other))
            sure |= self.everywhere == self.everywhere.gather(-1, other)
        meet = self.zero & self.zero.gather(-1, chosen) & (self.marked | self.marked.gather(-1, chosen))
        meet |= self.here == self.here.gather(-1, chosen)
        return (sure | meet).all(-1), ~sure.all(-1)


class _Leads:
    """The inputs of the windows of a gate, and by how much one leads another."""

    def __init__(self, hearing: Hearing, step: GateStep, gate: Maximum, ball: Ball) -> None:
        device = ball.value.device
        self.hearing, self.windows, self.ball = hearing, gate.windows, ball
        equal, name = hearing.equal, step.inputs[0]
        numbers = equal.sources(name).to(device)
        self.sources = numbers[gate.windows]
        self.outputs = equal.sources(step.output).to(device)
        zeros = equal.zeros.get(name)
        self.zeros = None if zeros is None else zeros.to(device)
        self.ties, marks, none = hearing.ties_of(name), hearing.marks(name), numbers[:0]
        self.marked_windows = none, none
        self.marked = None if marks is None else marks.at_rows(ball.value)
        if marks is not None:
            each, place = matches(*gate.windows.flatten().sort(), marks.number)
            # The windows that have inputs that flipping units have made, by row.
            self.marked_windows = marks.row[each], place // gate.windows.shape[1]

    def in_whole_blocks(self, pieces: Tensor) -> Tensor:
        """Whether the input that is said to lead a window before a block leads it throughout, ``(B, units)`` bool."""
        low, high, radius = (part[:, self.windows] for part in (self.ball.low, self.ball.high, self.ball.radius))
        chosen = pieces[..., None]
        error = (radius.gather(-1, chosen) + radius) * (1 + 16 * UNIT)
        sources = self.sources.expand_as(low)
        later = torch.arange(low.shape[-1], device=low.device) >= chosen
        lead = low.gather(-1, chosen) - high
        # Numbers that are exact in the whole block, as those of inactive ReLUs are, may be equal.
        tied = (sources == sources.gather(-1, chosen)) | ((error == 0) & (lead >= 0))
        if self.ties:
            firsts = self.ties.tables[:, self.windows][self.ties.between]
            tied |= firsts == firsts.gather(-1, chosen)
        return ((lead > error) | (tied & later)).all(-1)

    def _windows(self, rows: Tensor, unit: Tensor) -> _Window:
        """Windows at rows, ``(S, R)`` and ``(S,)``."""
        inputs = self.windows[unit][:, None].expand(-1, rows.shape[1], -1)
        value, radius = self.ball.value[rows[..., None], inputs], self.ball.radius[rows[..., None] // BLOCK, inputs]
        none = torch.zeros_like(value, dtype=torch.bool)
        marked, zero = (part[rows[..., None], inputs] for part in self.marked) if self.marked else (none, none)
        if self.zeros is not None:
            # A ReLU's 0 is 0 whatever the radius of the block, if its sign there is certain; else the line fails.
            exact = self.zeros[inputs] & (value == 0) & ~marked
            radius, zero = radius.masked_fill(exact, 0.0), zero | exact
        # No two are equal where there is no table.
        everywhere = here = torch.arange(inputs.shape[-1], device=inputs.device).expand_as(inputs)
        if self.ties:
            everywhere = self.ties.everywhere(rows[..., None] // BLOCK, inputs)
            there, firsts = self.ties.is_there[rows][..., None], self.ties.here(rows[..., None], inputs)
            here, zero = torch.where(there, firsts, here), zero | (there & (firsts < 0))
        sources = self.sources[unit][:, None].expand_as(inputs)
        return _Window(value, radius, sources, marked, zero, everywhere, here)

    def find(self, flips: Flips) -> None:
        """Find which breakpoints are at points where the first two that meet are equal as a table says."""
        if self.ties:
            firsts = [self.ties.here(flips.row, self.windows[flips.unit, p]) for p in (flips.before, flips.after)]
            self.hearing.is_there(flips, firsts[0] == firsts[1])

    def look_closely(self, block: Tensor, unit: Tensor, piece: Tensor, flips: Flips) -> None:
        """Compare windows with what is claimed, row by row. A line fails where one is not known to be so.

        Args:
            block, unit: which, ``(S,)`` each, in order.
            piece: what is said to lead just before each block, ``(S,)``.
            flips: of the gate, all of them among these blocks and units, or on lines that have failed.
        """
        hearing, units = self.hearing, len(self.windows)
        rows = block[:, None] * BLOCK + torch.arange(BLOCK, device=block.device)
        keys, wanted = block * units + unit, flips.row // BLOCK * units + flips.unit
        place = torch.searchsorted(keys, wanted).clamp_max(max(0, len(keys) - 1))
        there = keys[place] == wanted if len(keys) else torch.zeros_like(wanted, dtype=torch.bool)
        turns = torch.zeros_like(rows)
        turns[place[there], flips.row[there] % BLOCK] = (flips.after - flips.before)[there]
        after = piece[:, None] + turns.cumsum(1)
        before, flipping = after - turns, turns != 0
        windows = self._windows(rows, unit)
        sure, still = windows.leads(before)
        at, column = flipping.nonzero(as_tuple=True)
        if len(at):
            here = _Window(*(part[at, column][:, None] for part in windows))
            pieces = before[at, column][:, None], after[at, column][:, None]
            both = [here.leads(one, other) for one, other in (pieces, pieces[::-1])]
            sure[at, column], still[at, column] = (both[0][0] & both[1][0])[:, 0], True
        hearing.fail_rows(rows[~sure])
        self._let_loose(windows, (sure & still).nonzero(as_tuple=True), rows, unit, (before, after))
        made = [
            part.gather(2, p[..., None])[..., 0] for part in (windows.marked, windows.zero) for p in (before, after)
        ]
        at, column = (sure & (still | made[0] | made[1])).nonzero(as_tuple=True)
        zero = (made[2] & made[3])[at, column]
        hearing.note(hearing.bend[rows[at, column]], self.outputs[unit[at]], zero)

    def _let_loose(
        self,
        windows: _Window,
        places: tuple[Tensor, ...],
        rows: Tensor,
        unit: Tensor,
        pieces: tuple[Tensor, Tensor],
    ) -> None:
        """Widen what the gate makes of windows without a known leader; these have one in the rows beside."""
        at, column = places
        row, own = rows[at, column], unit[at]
        self.hearing.free(row, own, len(self.windows))
        value, radius = windows.value[at, column], windows.radius[at, column]
        ends = torch.stack([piece[at, column] for piece in pieces], 1)
        extra = (value.amax(1, keepdim=True) - value.gather(1, ends)).amax(1) * (1 + 8 * UNIT)
        wide = (extra + radius.gather(1, ends).amax(1)) * (1 + 8 * UNIT)
        self.hearing.loose.append(Loose(row, own, wide, extra))

    def place(self, flips: Flips) -> None:
        """Hear where the flips are: the first of a breakpoint says that, others must be tied to it.

        So they are where the same two numbers meet in another window, or where zeros tie.
        """
        if not len(flips.bend):
            return
        hearing, causes = self.hearing, flips.only(flips.first)
        hearing.place_meetings(causes, self.windows, self.ball, always_rising=True)
        pairs = self.sources.new_full((len(hearing.cause), 2), -1)
        pairs[causes.bend] = self._pairs(causes)
        tied = (self._pairs(flips) == pairs[flips.bend]).all(1)
        window = self._windows(flips.row[:, None], flips.unit)
        ends = [piece[:, None, None] for piece in (flips.before, flips.after)]
        zero, here = ([part.gather(2, end)[:, 0, 0] for end in ends] for part in (window.zero, window.here))
        tied |= (zero[0] & zero[1]) | (here[0] == here[1])
        if self.ties:
            firsts = torch.stack([window.everywhere.gather(2, end)[:, 0, 0] for end in ends], 1)
            pairs[causes.bend] = firsts[flips.first]
            tied |= (hearing.cause[flips.bend] == flips.gate) & (firsts == pairs[flips.bend]).all(1)
        hearing.fail_bends(flips.bend[~(flips.first | tied)])

    def _pairs(self, flips: Flips) -> Tensor:
        return torch.stack([self.sources[flips.unit, piece] for piece in (flips.before, flips.after)], 1)

    def hear_infinity(self, pieces: Tensor) -> None:
        """What leads in the outermost region goes on to lead if no other input grows faster."""
        chunk = self.hearing.chunk
        far, chosen = chunk.far_block, pieces[chunk.far_block][..., None]
        if not len(far):
            return
        value, radius = self.ball.value[far * BLOCK][:, self.windows], self.ball.radius[far][:, self.windows]
        lead, error = value.gather(-1, chosen) - value, radius.gather(-1, chosen) + radius
        sources = self.sources.expand_as(value)
        stays = (lead > error * (1 + 16 * UNIT)) | ((error == 0) & (lead >= 0))
        stays |= sources == sources.gather(-1, chosen)
        if self.ties:
            firsts = self.ties.tables[:, self.windows][self.ties.far]
            stays |= firsts == firsts.gather(-1, chosen)
        self.hearing.fail(chunk.line[far[~stays.flatten(1).all(1)]])
