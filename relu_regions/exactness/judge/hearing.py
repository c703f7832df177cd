"""Hearing: what is known of a chunk of rows while the judge goes from gate to gate."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.judge.balls import UNIT, Ball
from relu_regions.exactness.judge.claims import Claims
from relu_regions.exactness.judge.posts import BLOCK, Chunk
from relu_regions.network.gates import Gate

__all__ = ["Cells", "Flips", "Hearing"]


class Flips(NamedTuple):
    """Claimed flips, ``(F,)`` int64 each; ``bend`` is the number of the breakpoint within the chunk."""

    bend: Tensor
    gate: Tensor
    unit: Tensor
    before: Tensor
    after: Tensor

    def only(self, chosen: Tensor) -> Flips:
        """Some of them."""
        return Flips(*(part[chosen] for part in self))


class Cells(NamedTuple):
    """Numbers at the post before, at the breakpoint, and at the post after of some cells, ``(3, F, …)`` each.

    Attributes:
        value: as computed.
        radius: how far it may be off.
    """

    value: Tensor
    radius: Tensor


class Hearing:
    """The state of a chunk.

    Attributes:
        failed: of each line of the claims, whether something stayed open, ``(N,)`` bool; changed in place.
        error: for each breakpoint of the chunk how far the true one may be from it, ``(K,)``; known once the gate of
            its first flip has been heard.
        share: the same relative to the distances to the posts before and after it, ``(2, K)``.
        cause: the gate of each breakpoint's first flip, ``(K,)`` int64.
    """

    def __init__(self, claims: Claims, chunk: Chunk, equal: EqualNumbers, failed: Tensor) -> None:
        self.claims, self.chunk, self.equal, self.failed = claims, chunk, equal, failed
        self.bend = chunk.bend.view(-1)
        self.flips, first = _flips_of(claims, chunk)
        self.is_first = first
        count = len(chunk.claimed)
        self.cause = torch.zeros(count, dtype=torch.int64, device=failed.device)
        self.cause[self.flips.bend[first]] = self.flips.gate[first]
        self.error = torch.zeros(count, dtype=torch.float64, device=failed.device)
        self.share = self.error.new_zeros(2, count)
        self._zeros: list[Tensor] = []
        self._sources = 1 + sum(equal.sizes.values())
        bare = torch.ones_like(self.cause, dtype=torch.bool)
        bare[self.flips.bend] = False
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

    @property
    def live(self) -> Tensor:
        """The blocks of lines that have not failed, ``(B,)`` bool."""
        return ~self.failed[self.chunk.line]

    # ------------------------------------------------------------ what a breakpoint adds to radii

    def shares(self, gate: int) -> Tensor:
        """How far from each row's number its true breakpoint's can be, relative to changes over the cell, ``(B,
        BLOCK)``.

        That is 0 at posts, and for breakpoints of this gate or a later one, where nothing bends within a cell.
        """
        share = torch.where(self.cause < gate, self.share.amax(0), 0.0)
        return torch.where(self.chunk.bend >= 0, torch.cat([share, share.new_zeros(1)])[self.chunk.bend], 0.0)

    def asked(self, gate: int) -> Tensor:
        """The rows whose signs count: posts, and breakpoints of earlier gates, ``(B, BLOCK)`` bool."""
        earlier = torch.cat([self.cause < gate, self.cause.new_ones(1, dtype=torch.bool)])
        return earlier[self.chunk.bend]

    def beside(self, numbers: Tensor) -> Tensor:
        """The largest of each block's number and those of the blocks beside it, ``(B,)``."""
        result = numbers.clone()
        result[1:] = torch.maximum(result[1:], numbers[:-1])
        result[:-1] = torch.maximum(result[:-1], numbers[1:])
        return result

    def cells(self, ball: Ball, bend: Tensor, unit: Tensor) -> Cells:
        """A ball's numbers around some breakpoints, of one unit each, or of several: ``(F,)`` or ``(F, k)``."""
        row = self.chunk.row[bend]
        rows = torch.stack([row - 1, row, row + 1])
        if unit.ndim == 2:
            rows = rows[:, :, None]
        return Cells(ball.value[rows, unit], ball.radius[rows // BLOCK, unit])

    def enclosures(self, cells: Cells, bend: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest that the numbers can be at the true breakpoints.

        A number is affine from the true breakpoint to the post on the other side of the computed one, so that it is
        that at the computed one and, times a share, what it changes from there to the post.
        """
        share = self.share[:, bend]
        if cells.value.ndim == 3:
            share = share[:, :, None]
        here, own = cells.value[1], cells.radius[1]
        posts, theirs = cells.value[::2], cells.radius[::2]
        away = (share * ((here - posts).abs() + own + theirs)).amax(0)
        margin = (own + away) * (1 + 32 * UNIT) + 8 * UNIT * torch.where(own + away > 0, here.abs(), 0.0)
        return here - margin, here + margin

    def place(self, flips: Flips, cells: Cells, rising: Tensor) -> None:
        """Where the zeros of numbers that are affine over their cells lie: the true breakpoints of the flips.

        Args:
            cells: of the numbers, one for each flip.
            rising: whether each is said to grow, ``(F,)`` bool.
        """
        value = torch.where(rising, cells.value, -cells.value)
        radius = cells.radius * (1 + 8 * UNIT) + 8 * UNIT * value.abs()
        opposite = (value[0] < -radius[0]) & (value[2] > radius[2])
        position = self.chunk.position.view(-1)
        row = self.chunk.row[flips.bend]
        before, here, after = (position[row + step] for step in (-1, 0, 1))
        rise = (value[2] - value[0]) * (1 - 8 * UNIT) - (radius[0] + radius[2]) * (1 + 8 * UNIT)
        # What is added is more than the products lose by underflow.
        error = (value[1].abs() + radius[1]) / rise * (after - before) * (1 + 32 * UNIT) + 2.0**-1022
        share = error / torch.stack([here - before, after - here]) * (1 + 32 * UNIT)
        # A rise that overflows would make the error 0.
        good = opposite & (rise > 0) & torch.isfinite(rise) & torch.isfinite(error) & torch.isfinite(share).all(0)
        self.fail_bends(flips.bend[~good])
        self.error[flips.bend] = torch.where(good, error, 0.0)
        self.share[:, flips.bend] = torch.where(good, share, 0.0)

    # ------------------------------------------------------------ what is 0 at a breakpoint

    def is_zero(self, bend: Tensor, sources: Tensor) -> Tensor:
        """Whether numbers with these sources are known to be 0 at the true breakpoints, bool of the same shape."""
        if not self._zeros or not sources.numel():
            return torch.zeros_like(sources, dtype=torch.bool)
        return torch.isin(bend * self._sources + sources.abs(), torch.cat(self._zeros))

    def note_zeros(self, bend: Tensor, sources: Tensor) -> None:
        """Note that numbers with these sources are 0 at the true breakpoints."""
        self._zeros.append(bend * self._sources + sources.abs())

    # ------------------------------------------------------------ patterns

    def first_pieces(self, gate: int) -> Tensor:
        """The pieces that are claimed where the parts start, ``(parts, units)``."""
        chunk, claims = self.chunk, self.claims
        pieces = claims.first_patterns[gate][chunk.part_line].clone()
        started = claims.offsets[chunk.part_line]
        for part in (chunk.part_first > started).nonzero()[:, 0].tolist():
            ends = torch.stack([started[part], chunk.part_first[part]])
            lower, upper = torch.searchsorted(claims.point, ends).tolist()
            own = claims.gate[lower:upper] == gate
            change = (claims.after - claims.before)[lower:upper][own]
            pieces[part].index_put_((claims.unit[lower:upper][own],), change, accumulate=True)
        return pieces

    def compare(self, found: Flips, claimed: Flips, gate: Gate) -> None:
        """Leave lines open whose pieces change from post to post otherwise than is claimed, at one gate."""
        pieces = gate.piece_count
        units = 1 + int(max(int(part.unit.max()) if len(part.unit) else 0 for part in (found, claimed)))
        keys = [((f.bend * units + f.unit) * pieces + f.before) * pieces + f.after for f in (found, claimed)]
        for flips, own, others in ((found, keys[0], keys[1]), (claimed, keys[1], keys[0])):
            self.fail_bends(flips.bend[~torch.isin(own, others)])
        twice = keys[1].sort()
        again = twice.indices[1:][twice.values.diff() == 0]
        self.fail_bends(claimed.bend[again])


def _flips_of(claims: Claims, chunk: Chunk) -> tuple[Flips, Tensor]:
    """The claimed flips at the breakpoints of a chunk, by breakpoint and gate, and which is the first at each."""
    claimed = chunk.claimed
    if not len(claimed) or not len(claims.point):
        none = claimed[:0]
        return Flips(none, none, none, none, none), none.bool()
    place = torch.searchsorted(claimed, claims.point).clamp_max(len(claimed) - 1)
    own = claimed[place] == claims.point
    flips = Flips(place, claims.gate, claims.unit, claims.before, claims.after).only(own)
    order = (
        torch.argsort(flips.bend * (1 + flips.gate.max()) + flips.gate, stable=True) if len(flips.bend) else place[:0]
    )
    flips = flips.only(order)
    first = torch.ones_like(flips.bend, dtype=torch.bool)
    first[1:] = flips.bend.diff() != 0
    return flips, first
