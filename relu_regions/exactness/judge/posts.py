"""Where the judge evaluates the network: at the claimed breakpoints, and at a few posts.

The rows of a line are ``post, breakpoint, …, breakpoint, post``. The first and the last post are the ends of the range,
or numbers beyond the outermost breakpoints where it has no end. There is a post between two neighbouring breakpoints
only where one unit flips at both, beside points where much may tie, and where a long line is cut into parts: both parts
have that post, so that each can be judged by itself.

Rows lie in blocks of BLOCK neighbours of one part, for which one row of radii is kept; the last block is filled up with
the last post. An infinite end of a line is a block of its own.
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

BLOCK = 32

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class LineRows(NamedTuple):
    """The finite rows of a line, or of a part of one.

    Attributes:
        line: which.
        t: of the rows, ``(R,)``, increasing.
        bend: the number of each row's breakpoint among all claims, -1 for posts, ``(R,)``; the ends are posts.
        infinite: whether there is no lower end, and no upper end.
        first: the number of the first breakpoint that is not before these rows.
    """

    line: int
    t: Floats
    bend: Integers
    infinite: tuple[bool, bool]
    first: int

    @property
    def blocks(self) -> int:
        """How many blocks these are."""
        return -(-len(self.t) // BLOCK) + sum(self.infinite)


@dataclass(frozen=True)
class Chunk:
    """Parts of lines that go through the network together, B blocks of them.

    Attributes:
        line: of each block, ``(B,)`` int64.
        part: of each block, ``(B,)`` int64.
        position: of each row, ``(B, BLOCK)``: t, or ±1 at infinity.
        weight: of each block, ``(B,)``: 0 at infinity, else 1.
        bend: the breakpoint that each row stands for, numbered within the chunk, ``(B, BLOCK)`` int64; -1 for posts.
        claimed: the number of each breakpoint of the chunk among all claims, ``(K,)`` int64, increasing.
        row: its row among all ``B * BLOCK``, ``(K,)`` int64; the rows beside it are its neighbours on the line.
        part_block, part_line, part_first: each part's first block that is not at infinity, its line, and the first
            breakpoint among all claims that is not before it.
        far_block, far_row: the blocks at infinity, and the row of the post next to each, ``(E,)`` int64.
    """

    line: Tensor
    part: Tensor
    position: Tensor
    weight: Tensor
    bend: Tensor
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


def rows_of(claims: Claims, parted: Tensor, at_x: bool, tied: bool) -> tuple[list[LineRows], list[int]]:
    """The rows of all lines, and the numbers of those that can't be judged: their breakpoints are not in order, or have
    no float between them where a post is needed.

    Args:
        parted: the breakpoints that need a post before them, ``(K,)`` bool.
        at_x: whether there is to be a row at t = 0.
        tied: whether more may be equal there than beside it.
    """
    t, low, high, posts = (part.cpu().numpy() for part in (claims.t, claims.low, claims.high, parted))
    offsets = claims.offsets.tolist()
    rows, left = [], []
    for line, (first, stop) in enumerate(pairwise(offsets)):
        infinite = (math.isinf(low[line]), math.isinf(high[line]))
        found = _outer_posts(t[first:stop], float(low[line]), float(high[line]))
        bend = np.full(len(found), -1)
        bend[1 : 1 + stop - first] = np.arange(first, stop)
        before = 1 + posts[first:stop].nonzero()[0]
        before = before[before > 1]
        # At x and at x + d much may be equal that is nowhere else: there is a post beside an end that lies there.
        ends = [
            place for place, end in ((1, found[0]), (len(found) - 1, found[-1])) if end in (0, 1) and len(found) > 1
        ]
        before = np.unique(np.concatenate([before, ends])).astype(np.int64)
        found = np.insert(found, before, found[before - 1] / 2 + found[before] / 2)
        bend = np.insert(bend, before, -1)
        if at_x and 0 not in found:
            found, bend = _with_zero(found, bend, tied)
        if np.isfinite(found).all() and (np.diff(found) > 0).all():
            rows.append(LineRows(line, found, bend, infinite, first))
        else:
            left.append(line)
    return rows, left


def _with_zero(t: Floats, bend: Integers, tied: bool) -> tuple[Floats, Integers]:
    """Rows with a post at 0, between two others if it is tied."""
    place = int(np.searchsorted(t, 0.0))
    zero = np.zeros(1)
    posts = np.concatenate([t[:place][-1:] / 2, zero, t[place:][:1] / 2]) if tied else zero
    return np.insert(t, place, posts), np.insert(bend, place, np.full(len(posts), -1))


def _outer_posts(t: Floats, low: float, high: float) -> Floats:
    """The breakpoints between two posts; one post may do where there is none."""
    if len(t) == 0:
        ends = [end for end in (low, high) if math.isfinite(end)]
        return np.array(sorted({*ends}) or [0.0])
    with np.errstate(over="ignore", invalid="ignore"):
        away = max(abs(t[0]), abs(t[-1]), t[-1] - t[0]) or 1.0
        first, last = (t[0] - away if math.isinf(low) else low), (t[-1] + away if math.isinf(high) else high)
    return np.concatenate([[first], t, [last]])


def chunks(lines: list[LineRows], blocks: int, device: torch.device) -> Iterator[Chunk]:
    """The rows of lines in chunks of at most so many blocks, or of one part where that alone takes more."""
    waiting: list[LineRows] = []
    for rows in lines:
        for part in _parts(rows, blocks * BLOCK):
            if waiting and sum(other.blocks for other in waiting) + part.blocks > blocks:
                yield _chunk(waiting, device)
                waiting = []
            waiting.append(part)
    if waiting:
        yield _chunk(waiting, device)


def _parts(rows: LineRows, most: int) -> Iterator[LineRows]:
    """A line cut at posts, into parts of so many rows at most."""
    t, bend, starts, first = rows.t, rows.bend, rows.infinite[0], rows.first
    while len(t) > most:
        cut = most - 1
        if bend[cut] >= 0 and bend[cut - 1] >= 0:
            between = t[cut - 1] / 2 + t[cut] / 2
            if not t[cut - 1] < between < t[cut]:
                # No float lies between these two: a longer part.
                most += 1
                continue
            t, bend = np.insert(t, cut, between), np.insert(bend, cut, -1)
        elif bend[cut] >= 0:
            cut -= 1
        yield LineRows(rows.line, t[: cut + 1], bend[: cut + 1], (starts, False), first)
        first += int((bend[:cut] >= 0).sum())
        t, bend, starts = t[cut:], bend[cut:], False
    yield LineRows(rows.line, t, bend, (starts, rows.infinite[1]), first)


def _chunk(parts: list[LineRows], device: torch.device) -> Chunk:
    line: list[int] = []
    part_of: list[int] = []
    position: list[Floats] = []
    bend: list[Integers] = []
    weight: list[float] = []
    part_block: list[int] = []
    far: list[tuple[int, int]] = []

    def add(number: int, blocks: int, at: Floats, points: Integers, share: float) -> None:
        line.extend([parts[number].line] * blocks)
        part_of.extend([number] * blocks)
        weight.extend([share] * blocks)
        position.append(at)
        bend.append(points)

    def at_infinity(number: int, sign: float) -> None:
        far.append((len(line), len(line) * BLOCK + (BLOCK if sign < 0 else -1)))
        add(number, 1, np.full(BLOCK, sign), np.full(BLOCK, -1), 0.0)

    for number, part in enumerate(parts):
        if part.infinite[0]:
            at_infinity(number, -1.0)
        part_block.append(len(line))
        blocks = -(-len(part.t) // BLOCK)
        filling = blocks * BLOCK - len(part.t)
        at, points = np.pad(part.t, (0, filling), mode="edge"), np.pad(part.bend, (0, filling), mode="edge")
        add(number, blocks, at, points, 1.0)
        if part.infinite[1]:
            at_infinity(number, 1.0)
    bends = np.concatenate(bend)
    row = (bends >= 0).nonzero()[0]
    claimed = bends[row]
    bends[row] = np.arange(len(row))

    def integers(numbers: object) -> Tensor:
        return torch.as_tensor(numbers, dtype=torch.int64, device=device)

    return Chunk(
        line=integers(line),
        part=integers(part_of),
        position=torch.as_tensor(np.concatenate(position), device=device).view(-1, BLOCK),
        weight=torch.tensor(weight, dtype=torch.float64, device=device),
        bend=integers(bends).view(-1, BLOCK),
        claimed=integers(claimed),
        row=integers(row),
        part_block=integers(part_block),
        part_line=integers([part.line for part in parts]),
        part_first=integers([part.first for part in parts]),
        far_block=integers([block for block, _ in far]),
        far_row=integers([row for _, row in far]),
    )
