"""Where the judge evaluates the network: at the claimed breakpoints, and at posts between them.

The rows of a line are ``post, breakpoint, post, …, breakpoint, post``. The first and the last post are the ends of
the range, or numbers beyond the outermost breakpoints where it has no end. Two neighbouring posts and the breakpoint
between them are a *cell*. Long lines are cut into parts at posts; both parts have the post, so that each can be
judged by itself.

Rows lie in blocks of BLOCK neighbours of one line, for which one row of radii is kept. Parts begin a block, so that
posts lie at the even places of a block; the last block is filled up with the last post. An infinite end of a line is
a block of its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from relu_regions.exactness.judge.claims import Claims

__all__ = ["BLOCK", "Chunk", "LineRows", "chunks", "rows_of"]

BLOCK = 16

Floats = NDArray[np.float64]


class LineRows(NamedTuple):
    """The finite rows of a line, an odd number.

    Attributes:
        line: which.
        t: of the rows, ``(2 cells + 1,)``.
        first: the number of the first breakpoint among all claims.
        bends: whether the cells have breakpoints: False where a line without any stands as one cell.
        infinite: whether the line has no lower end, and no upper end.
    """

    line: int
    t: Floats
    first: int
    bends: bool
    infinite: tuple[bool, bool]

    @property
    def cells(self) -> int:
        """How many cells."""
        return len(self.t) // 2


@dataclass(frozen=True)
class Chunk:
    """Parts of lines that go through the network together, B blocks of them.

    Attributes:
        line: of each block, ``(B,)`` int64.
        position: of each row, ``(B, BLOCK)``: t, or ±1 at infinity.
        weight: of each block, ``(B,)``: 0 at infinity, else 1.
        bend: the breakpoint that each row stands for, numbered within the chunk, ``(B, BLOCK)`` int64; -1 for posts.
        linked: whether the next block goes on where a block ends, ``(B - 1,)`` bool.
        claimed: the number of each breakpoint of the chunk among all claims, ``(K,)`` int64, increasing.
        row: its row among all ``B * BLOCK``, ``(K,)`` int64; the posts of its cell are the rows beside it.
        part_block, part_line, part_first: each part's first block, its line, and its first breakpoint among all claims.
        far_block, far_row: the blocks at infinity, and the row of the post next to each, ``(E,)`` int64.
    """

    line: Tensor
    position: Tensor
    weight: Tensor
    bend: Tensor
    linked: Tensor
    claimed: Tensor
    row: Tensor
    part_block: Tensor
    part_line: Tensor
    part_first: Tensor
    far_block: Tensor
    far_row: Tensor

    @property
    def bend_line(self) -> Tensor:
        """The line of each breakpoint, ``(K,)`` int64."""
        return self.line[self.row // BLOCK]


def rows_of(claims: Claims) -> tuple[list[LineRows], list[int]]:
    """The rows of all lines, and the numbers of those that can't be judged: without a float between two breakpoints."""
    t, low, high = (part.cpu().numpy() for part in (claims.t, claims.low, claims.high))
    offsets = claims.offsets.tolist()
    rows, left = [], []
    for line, (first, stop) in enumerate(pairwise(offsets)):
        infinite = (math.isinf(low[line]), math.isinf(high[line]))
        found = _finite_rows(t[first:stop], float(low[line]), float(high[line]))
        if np.isfinite(found).all() and (np.diff(found)[0 if first < stop else 1 :] > 0).all():
            rows.append(LineRows(line, found, first, first < stop, infinite))
        else:
            left.append(line)
    return rows, left


def _finite_rows(t: Floats, low: float, high: float) -> Floats:
    if len(t) == 0:
        if math.isinf(low) and math.isinf(high):
            return np.zeros(1)
        if math.isinf(low) or math.isinf(high):
            return np.array([high if math.isinf(low) else low])
        return np.array([low, low, high])  # a cell without a breakpoint
    with np.errstate(over="ignore", invalid="ignore"):
        away = max(abs(t[0]), abs(t[-1]), t[-1] - t[0]) or 1.0
        first, last = (t[0] - away if math.isinf(low) else low), (t[-1] + away if math.isinf(high) else high)
        rows = np.empty(2 * len(t) + 1)
        rows[0], rows[1::2], rows[2:-1:2], rows[-1] = first, t, t[:-1] / 2 + t[1:] / 2, last
    return rows


class _Part(NamedTuple):
    rows: LineRows
    start: int  # cells
    stop: int

    @property
    def blocks(self) -> int:
        own = -(-(2 * (self.stop - self.start) + 1) // BLOCK)
        return own + self.starts_at_infinity + self.ends_at_infinity

    @property
    def starts_at_infinity(self) -> bool:
        return self.start == 0 and self.rows.infinite[0]

    @property
    def ends_at_infinity(self) -> bool:
        return self.stop == self.rows.cells and self.rows.infinite[1]


def chunks(lines: list[LineRows], blocks: int, device: torch.device) -> Iterator[Chunk]:
    """The rows of lines in chunks of at most so many blocks, or of one part where that alone takes more."""
    waiting: list[_Part] = []
    cells = max(1, (blocks * BLOCK - 1) // 2)
    for rows in lines:
        for start in range(0, max(1, rows.cells), cells):
            part = _Part(rows, start, min(rows.cells, start + cells))
            if waiting and sum(other.blocks for other in waiting) + part.blocks > blocks:
                yield _chunk(waiting, device)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _chunk(waiting, device)


def _chunk(parts: list[_Part], device: torch.device) -> Chunk:
    line: list[int] = []
    position: list[Floats] = []
    bend: list[NDArray[np.int64]] = []
    weight: list[float] = []
    linked: list[bool] = []
    part_block: list[int] = []
    far: list[tuple[int, int]] = []

    def at_infinity(of: int, sign: float, row: int) -> None:
        far.append((len(line), row))
        line.append(of)
        weight.append(0.0)
        linked.append(False)
        position.append(np.full(BLOCK, sign))
        bend.append(np.full(BLOCK, -1))

    for part in parts:
        rows, own = part.rows, part.rows.t[2 * part.start : 2 * part.stop + 1]
        if part.starts_at_infinity:
            at_infinity(rows.line, -1.0, (len(line) + 1) * BLOCK)
        blocks = -(-len(own) // BLOCK)
        part_block.append(len(line))
        position.append(np.concatenate([own, np.full(blocks * BLOCK - len(own), own[-1])]))
        points = np.full(blocks * BLOCK, -1)
        if rows.bends:
            points[1 : len(own) : 2] = rows.first + np.arange(part.start, part.stop)
        bend.append(points)
        line += [rows.line] * blocks
        weight += [1.0] * blocks
        linked += [True] * (blocks - 1) + [False]
        if part.ends_at_infinity:
            at_infinity(rows.line, 1.0, len(line) * BLOCK - 2)
    bends = np.concatenate(bend)
    row = (bends >= 0).nonzero()[0]
    claimed = bends[row]
    bends[row] = np.arange(len(row))

    def integers(numbers: object) -> Tensor:
        return torch.as_tensor(numbers, dtype=torch.int64, device=device)

    return Chunk(
        line=integers(line),
        position=torch.as_tensor(np.concatenate(position), device=device).view(-1, BLOCK),
        weight=torch.tensor(weight, dtype=torch.float64, device=device),
        bend=integers(bends).view(-1, BLOCK),
        linked=torch.tensor(linked[:-1], dtype=torch.bool, device=device),
        claimed=integers(claimed),
        row=integers(row),
        part_block=integers(part_block),
        part_line=integers([part.rows.line for part in parts]),
        part_first=integers([part.rows.first + part.start for part in parts]),
        far_block=integers([block for block, _ in far]),
        far_row=integers([row for _, row in far]),
    )
