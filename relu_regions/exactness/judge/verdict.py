"""judge(): whether claims about the breakpoints of lines are true, by an evaluation of the network of its own.

The argument, gate by gate in the network's order. Take a cell: two posts and the claimed breakpoint t between them.
Let u be the unit that is said to flip there, in gate g, and let all gates before the one at hand have their claimed
pieces on the whole cell: the same on all of it for gates before g, and from g on one set of pieces before some t* and
another one after it.

- Up to gate g everything is affine on the cell. A unit with the same sign at both posts keeps it, and u, with
  opposite signs, has one
  zero: t*. Its value at t and its slope say how far t* can be from t.
- Behind gate g everything is affine from the post before to t*, and from t* to the post after. So a unit with one
  sign at both posts and at t* keeps it. The value at t* follows from those at t and at the post on t's own side.
- Two units that flip at one t* are possible only if they are tied: copies of one number, or zeros that the first flip
  makes.

Then the cell has exactly the claimed breakpoint, and as t* lies strictly between posts, breakpoints are in their
claimed order. From the outermost posts to infinity every unit must grow to its own side, or not at all: the signs of
the network without biases along d say so. A sign counts as known only if the computed number is farther from 0 than
its radius (`relu_regions.exactness.judge.balls`). docs/exactness.md has the proof.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from relu_regions.exactness.can_tie import can_tie
from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.judge.balls import UNIT, Ball, Evaluation, Rows, widened
from relu_regions.exactness.judge.claims import Claims
from relu_regions.exactness.judge.digits import DigitBounds
from relu_regions.exactness.judge.evaluations import Evaluator, in_float64
from relu_regions.exactness.judge.hearing import Hearing
from relu_regions.exactness.judge.knots import hear_knots
from relu_regions.exactness.judge.maxima import hear_maximum
from relu_regions.exactness.judge.neighbours import parted, unchained
from relu_regions.exactness.judge.posts import BLOCK, Chunk, chunks, rows_of
from relu_regions.exactness.judge.ranks import hear_order_statistic
from relu_regions.exactness.judge.ties import ChunkTies, special_points
from relu_regions.exactness.resolving import Heard, without_limit
from relu_regions.network.gates import Knots, Maximum, OrderStatistic
from relu_regions.network.network import Network
from relu_regions.network.plan import folded
from relu_regions.network.steps import GateStep, Step

__all__ = ["Verdict", "judge"]

# Of a chunk's widest value; so many blocks are worth more, since all else of a chunk costs as much for one.
_CHUNK_BYTES = 8 << 20
_WORTH_BLOCKS, _MOST_BYTES = 4, 16 << 20
# A chunk takes so many times the memory of its widest value, at most.
_VALUES = 24


@dataclass(frozen=True)
class Verdict:
    """What the judge says.

    Attributes:
        confirmed: ``(N,)`` bool, whether all that is claimed of a line is proven. False says nothing.
        t_error: ``(K,)`` float64, for the breakpoints of confirmed lines how far they can be from the true ones; 0
            for others.
        leader: ``(N,)`` int64, the input of the last gate's one window that is ahead of all others at t = 0 if the line
            is confirmed; -1 where that is not proven.
    """

    confirmed: Tensor
    t_error: Tensor
    leader: Tensor


def judge(
    network: Network,
    claims: Claims,
    heard: Heard = without_limit,
    evaluation: Evaluator = in_float64,
    memory: int | None = None,
    at_x: bool = False,
) -> Verdict:
    """Decide which claims are true of the real-valued network.

    Args:
        network: in float64, on the device of the claims.
        heard: told how many lines are done; False, where time is up, leaves the others unconfirmed.
        evaluation: how it is evaluated; see `relu_regions.exactness.judge.evaluations`.
        memory: bytes that a chunk of rows may take, but for a single block; None for what is fastest.
        at_x: whether to say what leads at t = 0, in all ranges; the last gate is a maximum of one window.
    """
    as_read, network = network, folded(network)
    failed = _malformed(network, claims)
    error, leader = torch.zeros_like(claims.t), torch.full_like(claims.offsets[1:], -1)
    gates = [step.gate for step in network.gates if isinstance(step.gate, Knots)]
    if not network.derived("continuous gates", lambda: all(map(_is_continuous, gates))):
        return Verdict(torch.zeros_like(failed), error, leader)
    claims = _without(claims, failed)
    failed |= unchained(claims)
    equal = EqualNumbers.of(network)
    posts, special = parted(network, equal, claims), None
    if can_tie(as_read):
        special = special_points(as_read, claims)
        # More may tie there than units that flip.
        posts |= special[1] > 0
        posts[1:] |= special[1][:-1] > 0
    rows, open_ = rows_of(claims, posts, at_x, special is not None)
    failed[open_] = True
    bounds = evaluation(as_read, claims.x, claims.d)
    # Up to the first gate only x and d go through the network.
    blocks = _blocks(8 * BLOCK * _widest(network.steps[max(0, bounds.first_gate - 1) :]), memory)
    kept = [line for line, bad in zip(rows, failed[[line.line for line in rows]].tolist()) if not bad]
    ties, in_time = None, True
    for chunk in chunks(kept, blocks, claims.t.device):
        in_time = in_time and heard(int(chunk.line[0]))
        failed[chunk.line] |= not in_time
        if bool(failed[chunk.line].all()):
            continue
        before, noted, rows_at = failed.clone(), leader.clone(), chunk
        # Where a line fails, its rows may be too far from its breakpoints; float64 says that no better than a walk.
        for again in (isinstance(bounds, DigitBounds), False):
            ties = ChunkTies(as_read, claims, special, rows_at, ties) if special else None
            hearing = Hearing(claims, rows_at, equal, failed, ties)
            _hear(hearing, bounds, again, leader if at_x else None)
            if not again or not bool((failed & ~before)[chunk.line].any()):
                break
            rows_at = hearing.nearer(special[1] if special else None)
            failed.copy_(before)
            leader.copy_(noted)
        away = (rows_at.position - chunk.position).view(-1)[chunk.row].abs()
        error[chunk.claimed] = (hearing.error.amax(0) + away) * (1 + 8 * UNIT)
    counts = claims.offsets.diff()
    return Verdict(~failed, error.masked_fill(failed.repeat_interleave(counts), 0.0), leader.masked_fill(failed, -1))


def _hear(hearing: Hearing, bounds: Evaluation[Any], to_the_end: bool, leader: Tensor | None) -> None:
    """Hear the gates of a chunk, all of them or until all of its lines have failed.

    Args:
        leader: where to note what leads at t = 0; None for nowhere.
    """
    chunk = hearing.chunk
    for number, step, ball in bounds.through(Rows(chunk.line, chunk.position, chunk.weight), hearing.loose):
        if isinstance(step.gate, Knots):
            hear_knots(hearing, number, step, step.gate, ball)
        elif isinstance(step.gate, Maximum):
            hear_maximum(hearing, number, step, step.gate, ball)
        else:
            hear_order_statistic(hearing, number, step, step.gate, ball)
        if leader is not None and step is bounds.network.gates[-1] and isinstance(step.gate, Maximum):
            _note_leaders(leader, chunk, step.gate, ball)
        if not to_the_end and bool(hearing.failed[chunk.line].all()):
            break
    hearing.conclude()


def _blocks(size: int, memory: int | None) -> int:
    """How many blocks of such a size in bytes go through the network together."""
    fastest = max(_CHUNK_BYTES // size, min(_WORTH_BLOCKS, _MOST_BYTES // size))
    return max(1, fastest if memory is None else min(fastest, memory // (_VALUES * size)))


def _widest(steps: Sequence[Step]) -> int:
    """Numbers of the widest value, or of all windows of an order statistic, where sides are kept for each."""
    widths = [math.prod(step.shape) for step in steps]
    gates = (step.gate for step in steps if isinstance(step, GateStep))
    return max([1, *widths, *(gate.windows.numel() for gate in gates if isinstance(gate, OrderStatistic))])


def _malformed(network: Network, claims: Claims) -> Tensor:
    """The lines whose claims name units, pieces or breakpoints that there are not."""
    failed = torch.zeros(len(claims), dtype=torch.bool, device=claims.t.device)
    gates = network.gates
    for step, first in zip(gates, claims.first_patterns):
        failed |= ((first < 0) | (first >= step.gate.piece_count)).any(1)
    units = torch.tensor([step.units for step in gates] or [0], device=failed.device)
    pieces = torch.tensor([step.gate.piece_count for step in gates] or [0], device=failed.device)
    place = claims.gate.clamp(0, max(0, len(gates) - 1))
    bad = (claims.gate < 0) | (claims.gate >= len(gates)) | (claims.unit < 0) | (claims.unit >= units[place])
    for piece in (claims.before, claims.after):
        bad |= (piece < 0) | (piece >= pieces[place])
    bad[1:] |= claims.point.diff() < 0
    bad |= (claims.point < 0) | (claims.point >= len(claims.t))
    failed[torch.bucketize(claims.point[bad], claims.offsets[1:], right=True).clamp_max(len(failed) - 1)] = True
    return failed


def _without(claims: Claims, failed: Tensor) -> Claims:
    """The claims without the flips of some lines."""
    own = ~failed[torch.bucketize(claims.point, claims.offsets[1:], right=True).clamp_max(len(failed) - 1)]
    flips = {name: getattr(claims, name)[own] for name in ("point", "gate", "unit", "before", "after")}
    return replace(claims, **flips)


def _is_continuous(gate: Knots) -> bool:
    """Whether neighbouring pieces meet exactly at their knot."""
    parts = (gate.knots, gate.slopes[:-1], gate.slopes[1:], gate.offsets[:-1], gate.offsets[1:])
    width = max(part.shape[1] for part in parts)
    numbers = torch.stack([part.expand(len(gate.knots), width) for part in parts], -1).view(-1, len(parts))
    for row in torch.unique(numbers, dim=0).tolist():
        knot, before, after, below, above = map(Fraction, row)
        if before * knot + below != after * knot + above:
            return False
    return True


def _note_leaders(leader: Tensor, chunk: Chunk, gate: Maximum, ball: Ball) -> None:
    """Note which input of one window is ahead of all others at t = 0, line by line."""
    (row,) = ((chunk.position == 0) & (chunk.weight > 0)[:, None]).view(-1).nonzero(as_tuple=True)
    line, block = chunk.line[row // BLOCK], row // BLOCK
    value, radius = (
        gate.candidates(part)[:, 0] for part in (ball.value[row], widened(ball.radius[block], ball.size[block]))
    )
    best = value.argmax(1, keepdim=True)
    rivals = (value + radius).scatter(1, best, -torch.inf)
    sure = (value - radius).gather(1, best)[:, 0] > rivals.amax(1)
    leader[line[sure]] = best[sure, 0]
