"""What is equal on the lines of a chunk, as equal patches of an image are, and at single points of them.

It comes from x, d and the steps alone (`relu_regions.exactness.equal_on_lines`). Numbers that are equal at one point,
such as t = 0 where x is blank, say where a breakpoint is: if the two that change places there, or the unit and 0, are
equal at that point, it is the point, and all that is equal there ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from relu_regions.exactness.equal_inputs import AT_INFINITY, AT_ONE, AT_X, KINDS
from relu_regions.exactness.equal_on_lines import equal_on_lines
from relu_regions.exactness.judge.claims import Claims
from relu_regions.exactness.judge.posts import BLOCK, Chunk
from relu_regions.exactness.meeting_points import Meetings, meeting_points
from relu_regions.network.equal_grids import full
from relu_regions.network.network import Network

__all__ = ["ChunkTies", "TiesOf", "special_points"]


def special_points(network: Network, claims: Claims) -> tuple[Meetings | None, Tensor]:
    """Where patches meet on the lines, and which breakpoints are at points where more may be equal than beside them:
    0 for none, AT_X, AT_ONE, or KINDS and the number of a meeting; ``(K,)`` int64.

    Args:
        network: as it was read.
    """
    kind = torch.where(claims.t == 0, AT_X, 0).masked_fill(claims.t == 1, AT_ONE)
    meetings = meeting_points(network, claims.x, claims.d)
    if meetings is None or not len(meetings.t) or not len(claims.t):
        return meetings, kind
    line = torch.bucketize(torch.arange(len(claims.t), device=kind.device), claims.offsets[1:], right=True)
    found, place = (meetings.by_line.to(claims.t.device)[line] == claims.t[:, None]).max(1)
    number = torch.tensor(meetings.offsets[:-1], device=kind.device)[line] + place
    return meetings, torch.where(found & (kind == 0), KINDS + number, kind)


@dataclass(frozen=True)
class TiesOf:
    """What is equal of the numbers that a gate reads: for each the first that it is equal to, -1 where it is 0.

    Attributes:
        tables: ``(T, numbers)`` int64.
        between: that of each block, of what is equal everywhere on its line, ``(B,)``.
        far: those at infinity, of the blocks there, ``(E,)``.
        at: that of each row, ``(rows,)``.
        is_there: whether a row, or its true breakpoint, is known to be where its table says, ``(rows,)`` bool.
    """

    tables: Tensor
    between: Tensor
    far: Tensor
    at: Tensor
    is_there: Tensor

    def everywhere(self, block: Tensor, number: Tensor) -> Tensor:
        """The first equal ones of numbers on the lines of blocks."""
        return self.tables[self.between[block], number]

    def here(self, row: Tensor, number: Tensor) -> Tensor:
        """The same at rows, which must be where their tables say."""
        return self.tables[self.at[row], number]


class ChunkTies:
    """The tables of the lines of a chunk.

    Args:
        network: as it was read.
        claims: of all lines.
        special: as `special_points` has it.
        known: those of the chunk before, which may be of the same line.
    """

    def __init__(
        self,
        network: Network,
        claims: Claims,
        special: tuple[Meetings | None, Tensor],
        chunk: Chunk,
        known: ChunkTies | None = None,
    ) -> None:
        meetings, kind = special
        first, stop = int(chunk.line[0]), int(chunk.line[-1]) + 1
        own, self._lines = meetings.of(first, stop) if meetings is not None else None, (first, stop)
        self._tables: dict[str, Tensor]
        if known is not None and known._lines == self._lines:
            self._tables = known._tables
        else:
            made = equal_on_lines(network, claims.x[first:stop], claims.d[first:stop], own)
            self._tables = {name: full(table) for name, table in made.items()}
        count, begun = stop - first, meetings.offsets[first] if meetings is not None else 0
        self._line, position = chunk.line - first, chunk.position.view(-1)
        # Ends of the range are posts, and may be at x or at x + d.
        of_row = torch.where(position == 0, AT_X, 0).masked_fill(position == 1, AT_ONE)
        of_row = of_row.masked_fill(chunk.weight.repeat_interleave(BLOCK) == 0, 0)
        of_row[chunk.row] = kind[chunk.claimed]
        line = self._line.repeat_interleave(BLOCK)
        self._at = torch.where(of_row >= KINDS, KINDS * count + of_row - KINDS - begun, of_row * count + line)
        self.is_there = (of_row > 0) & (chunk.bend.view(-1) < 0)
        self.may_be_there = of_row > 0
        self._far = AT_INFINITY * count + self._line[chunk.far_block]

    def of(self, name: str) -> TiesOf | None:
        """What ties of the value that a gate reads; None if nothing does."""
        if name not in self._tables:
            return None
        table = self._tables[name].to(self._line.device)
        return TiesOf(table, self._line, self._far, self._at, self.is_there)
