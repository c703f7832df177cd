"""Hearing: what is known of a chunk of rows while the judge goes from gate to gate."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import EqualNumbers, matches
from relu_regions.exactness.judge.balls import UNIT, Ball, Loose
from relu_regions.exactness.judge.claims import Claims
from relu_regions.exactness.judge.posts import BLOCK, Chunk
from relu_regions.exactness.judge.ties import ChunkTies, TiesOf

__all__ = ["Cells", "Flips", "Hearing", "Marks"]


class Flips(NamedTuple):
    """Claimed flips, ``(F,)`` each; ``bend`` is the number of the breakpoint within the chunk, ``row`` its row.

    ``first`` is whether a flip is the first of its breakpoint, its *cause*.
    """

    bend: Tensor
    row: Tensor
    gate: Tensor
    unit: Tensor
    before: Tensor
    after: Tensor
    first: Tensor

    def only(self, chosen: Tensor) -> Flips:
        """Some of them."""
        return Flips(*(part[chosen] for part in self))


class Cells(NamedTuple):
    """Numbers at the row before a breakpoint, at its own, and at the row after it, ``(3, F)`` each.

    Attributes:
        value: as computed.
        radius: how far it may be off.
    """

    value: Tensor
    radius: Tensor


class Marks(NamedTuple):
    """Numbers of a value that flipping units have made, each at the row of its breakpoint; ``(M,)`` each.

    Attributes:
        row, number: which.
        zero: whether it is 0 at the true breakpoint.
    """

    row: Tensor
    number: Tensor
    zero: Tensor

    def at_rows(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Which numbers of a value are among them, and which of these are 0: bool, of the value's shape."""
        found, zero = (torch.zeros_like(like, dtype=torch.bool) for _ in range(2))
        found[self.row, self.number] = True
        zero[self.row[self.zero], self.number[self.zero]] = True
        return found, zero


class Hearing:
    """The state of a chunk.

    Attributes:
        failed: of each line of the claims, whether something stayed open, ``(N,)`` bool; changed in place.
        ties: what is equal on the lines; None if nothing can be.
        loose: what the gate that is heard leaves without a piece at rows.
        error: for each breakpoint of the chunk how far the true one may lie below it and above it, ``(2, K)``; known
            once all is heard.
        cause: the gate of each breakpoint's first flip, ``(K,)`` int64.
        followed: for each gate, whether some of its breakpoints have flips of this gate behind the first.
        zero: where the zero of each breakpoint's first flip seems to be, ``(K,)``, once all is heard; the claimed place
            where that is not known better.
    """

    def __init__(
        self, claims: Claims, chunk: Chunk, equal: EqualNumbers, failed: Tensor, ties: ChunkTies | None = None
    ) -> None:
        self.ties = ties
        self.claims, self.chunk, self.equal, self.failed = claims, chunk, equal, failed
        self.bend = chunk.bend.view(-1)
        self._flips = flips = _flips_of(claims, chunk)
        count, first = len(chunk.claimed), flips.first
        gates = torch.arange(len(claims.first_patterns) + 1, device=failed.device)
        order = flips.gate.argsort(stable=True)
        self._by_gate = flips.only(order)
        self._starts = torch.searchsorted(self._by_gate.gate, gates).tolist()
        self.followed = (torch.bincount(flips.gate[~first], minlength=len(gates)) > 0).tolist()
        self.cause = torch.zeros(count, dtype=torch.int64, device=failed.device)
        self.cause[self._flips.bend[first]] = self._flips.gate[first]
        self.error = torch.zeros(2, count, dtype=torch.float64, device=failed.device)
        self.zero = chunk.position.view(-1)[chunk.row]
        self.loose: list[Loose] = []
        self._noted: list[tuple[Tensor, Tensor, Tensor]] = []
        self._placed: list[tuple[Flips, Cells, Tensor]] = []
        self._free: list[Tensor] = []
        self._units = 0
        bare = torch.ones_like(self.cause, dtype=torch.bool)
        bare[self._flips.bend] = False
        self.fail(chunk.bend_line[bare])

    # ------------------------------------------------------------ lines

    def fail(self, lines: Tensor) -> None:
        """Leave these lines open."""
        self.failed[lines] = True

    def fail_bends(self, bends: Tensor) -> None:
        """Leave the lines of these breakpoints open."""
        self.fail(self.chunk.bend_line[bends])

    def fail_rows(self, rows: Tensor) -> None:
        """Leave the lines of these rows open."""
        self.fail(self.chunk.line[rows // BLOCK])

    @cached_property
    def _begun(self) -> list[int]:
        """The parts that have breakpoints of their line before them."""
        chunk = self.chunk
        return (chunk.part_first > self.claims.offsets[chunk.part_line]).nonzero()[:, 0].tolist()

    @property
    def settled(self) -> Tensor:
        """The blocks that are not looked at row by row: at infinity, or of lines that have failed; ``(B,)`` bool."""
        return self.failed[self.chunk.line] | (self.chunk.weight == 0)

    # ------------------------------------------------------------ what is claimed

    def flips_of(self, gate: int) -> Flips:
        """The claimed flips of a gate."""
        own = slice(self._starts[gate], self._starts[gate + 1])
        return Flips(*(part[own] for part in self._by_gate))

    def pieces(self, gate: int, flips: Flips, units: int) -> Tensor:
        """The pieces that are claimed just before the first row of each block, ``(B, units)`` int64.

        Args:
            flips: of this gate.
        """
        chunk = self.chunk
        turns = torch.zeros(len(chunk.line) + 1, units, dtype=torch.int64, device=self.failed.device)
        place = flips.row // BLOCK + 1, flips.unit
        turns.index_put_(place, flips.after - flips.before, accumulate=True)
        turned = turns.cumsum_(0)[:-1] if len(flips.row) else turns[:-1]
        first = self._first_pieces(gate) - turned[chunk.part_block]
        return first[chunk.part] + turned

    def _first_pieces(self, gate: int) -> Tensor:
        """The pieces that are claimed where the parts start, ``(parts, units)``."""
        chunk, claims = self.chunk, self.claims
        pieces = claims.first_patterns[gate][chunk.part_line]
        for part in self._begun:
            ends = torch.stack([claims.offsets[chunk.part_line[part]], chunk.part_first[part]])
            lower, upper = torch.searchsorted(claims.point, ends).tolist()
            own = claims.gate[lower:upper] == gate
            change = (claims.after - claims.before)[lower:upper][own]
            pieces[part].index_put_((claims.unit[lower:upper][own],), change, accumulate=True)
        return pieces

    def ties_of(self, name: str) -> TiesOf | None:
        """What is equal of a value that a gate reads; None if nothing is."""
        return self.ties.of(name) if self.ties else None

    def is_there(self, flips: Flips, equal: Tensor) -> None:
        """Note which first flips are at the single points where, as tables say, what meets there is equal.

        Args:
            equal: whether it is, ``(F,)`` bool.
        """
        if self.ties:
            there = flips.row[equal & flips.first]
            self.ties.is_there[there] = self.ties.may_be_there[there]

    # ------------------------------------------------------------ where the true breakpoints lie

    def place(self, flips: Flips, cells: Cells, rising: Tensor) -> None:
        """Where the zeros of numbers that are affine around their breakpoints lie: the true ones.

        Args:
            cells: of the numbers, one for each flip.
            rising: whether each is said to grow, ``(F,)`` bool.
        """
        # All of a chunk at once, as that costs no more than those of one gate.
        self._placed.append((flips, cells, rising))

    def _hear_places(self) -> None:
        if not self._placed:
            return
        bend, row = (torch.cat([getattr(flips, name) for flips, _, _ in self._placed]) for name in ("bend", "row"))
        values, radii = (torch.cat([part[n] for _, part, _ in self._placed], 1) for n in range(2))
        rising = torch.cat([part for _, _, part in self._placed])
        value = torch.where(rising, values, -values)
        radius = radii * (1 + 8 * UNIT) + 8 * UNIT * value.abs()
        # A number that is so far from 0 at a neighbour, and so close to it here, passes it between.
        far = torch.stack([-value[0] - radius[0], value[2] - radius[2]])
        near = (value[1].abs() + radius[1]) * (1 + 8 * UNIT)
        position = self.chunk.position.view(-1)
        before, here, after = (position[row + step] for step in (-1, 0, 1))
        rise, run = value.diff(dim=0), torch.stack([here - before, after - here])
        # What is added is more than the products lose by underflow.
        share = near / (near + far)
        error = share * run * (1 + 32 * UNIT) + 2.0**-1022
        good = ((far > 0) & torch.isfinite(near + far) & torch.isfinite(error)).all(0)
        self.fail_bends(bend[~good])
        self.error[:, bend] = torch.where(good, error, 0.0)
        move = -value[1] * torch.where(value[1] < 0, run[1] / rise[1], run[0] / rise[0])
        # Two neighbours that move by less than a quarter of the way to each other stay in order.
        moves = move.abs() < run.amin(0) / 4
        self.zero[bend] = torch.where(moves, here + move, here)

    def nearer(self, special: Tensor | None) -> Chunk:
        """The chunk with its rows of breakpoints moved to where the zeros of their first flips seem to be.

        Args:
            special: those of all claims that stay where they are, not 0, ``(K,)``; None for none.
        """
        chunk, position = self.chunk, self.chunk.position.clone()
        own = torch.ones_like(chunk.claimed, dtype=torch.bool) if special is None else special[chunk.claimed] == 0
        position.view(-1)[chunk.row[own]] = self.zero[own]
        return replace(chunk, position=position)

    def place_meetings(self, flips: Flips, windows: Tensor, ball: Ball, always_rising: bool) -> None:
        """Where two inputs of a window change places: the zero of their difference.

        Args:
            windows: ``(units, k)``, numbers of the inputs.
            always_rising: whether the later leader must come from below; else it may come from either side.
        """
        rows = torch.stack([flips.row - 1, flips.row, flips.row + 1])
        before, after = (windows[flips.unit, piece] for piece in (flips.before, flips.after))
        value, radius = ball.value, ball.radius
        difference = value[rows, after] - value[rows, before]
        cells = Cells(difference, radius[rows // BLOCK, after] + radius[rows // BLOCK, before])
        rising = torch.ones_like(flips.first) if always_rising else difference[2] > difference[0]
        self.place(flips, cells, rising)

    def conclude(self) -> None:
        """Hear what is left when all gates have been heard."""
        self._hear_places()
        self._hear_neighbours()
        self._hear_order()

    def _hear_order(self) -> None:
        """The true breakpoints are in the claimed order, as no two of their enclosures meet, nor those and a post."""
        below, above = torch.nn.functional.pad(self.error, (0, 1))
        position = self.chunk.position.view(-1)
        gap = position.diff() * (1 - 8 * UNIT)
        apart = (above[self.bend[:-1]] + below[self.bend[1:]]) * (1 + 8 * UNIT) < gap
        # Posts that fill up a block, and what follows one part, is beside no breakpoint.
        self.fail_rows(((self.bend[:-1] >= 0) & ~apart).nonzero()[:, 0])
        self.fail_rows(((self.bend[1:] >= 0) & ~apart).nonzero()[:, 0])

    # ------------------------------------------------------------ numbers that flipping units have made

    def note(self, bend: Tensor, sources: Tensor, zero: Tensor) -> None:
        """Note what flipping units make at breakpoints, by its sources, and whether it is 0 at the true one; posts, -1,
        are left out.
        """
        if not self.equal.shared:
            return
        own = bend >= 0
        if own.any():
            self._noted.append((bend[own], sources[own].abs(), zero[own]))

    def marks(self, name: str) -> Marks | None:
        """Those that a value that a gate reads has; None if there are none."""
        if not self._noted or name not in self.equal.shared:
            return None
        bend, source, zero = (torch.cat(parts) for parts in zip(*self._noted))
        each, place = matches(*self.equal.roots(name).to(self.failed.device).sort(), source)
        if not len(each):
            return None
        return Marks(self.chunk.row[bend[each]], place, zero[each])

    def free(self, rows: Tensor, unit: Tensor, count: int) -> None:
        """Note units that have no known side at rows; lines are left open where one has none at two neighbouring rows
        of a part.

        Args:
            rows, unit: ``(S,)`` each.
            count: how many units there are.
        """
        self._free.append((self._units + unit) * (len(self.bend) + 1) + rows)
        self._units += count

    def _hear_neighbours(self) -> None:
        if not self._free:
            return
        keys = torch.cat(self._free).sort().values
        rows = keys[:-1][keys.diff() == 1] % (len(self.bend) + 1)
        position, part = self.chunk.position.view(-1), self.chunk.part
        # What fills up a block is the same post again.
        moves = position[rows] != position[rows + 1]
        self.fail_rows(rows[moves & (part[rows // BLOCK] == part[(rows + 1) // BLOCK])])


def _flips_of(claims: Claims, chunk: Chunk) -> Flips:
    """The claimed flips at the breakpoints of a chunk, by breakpoint and gate."""
    claimed = chunk.claimed
    if not len(claimed) or not len(claims.point):
        none = claimed[:0]
        return Flips(none, none, none, none, none, none, none.bool())
    place = torch.searchsorted(claimed, claims.point).clamp_max(len(claimed) - 1)
    own = claimed[place] == claims.point
    bend, gate = place[own], claims.gate[own]
    order = torch.argsort(bend * (1 + gate.max()) + gate, stable=True) if len(bend) else bend
    bend = bend[order]
    first = torch.ones_like(bend, dtype=torch.bool)
    first[1:] = bend.diff() != 0
    unit, before, after = (part[own][order] for part in (claims.unit, claims.before, claims.after))
    return Flips(bend, chunk.row[bend], gate[order], unit, before, after, first)
