"""Differences from an anchor: one row of each block has exact digits, and the others a float64 difference from it.

Rows of a block are neighbours on a line, so that what a number changes from the block's *anchor* to another row is
small, and so is what it rounds: an affine step multiplies the change by its coefficients, without the bias, with the
errors of `relu_regions.exactness.judge.balls`, which are relative to the change.

A ReLU makes of a number z at the anchor and a change c the change c where both rows are active, 0 where both are
inactive, and relu(z + c) - relu(z) else, where z is no larger than c, so that what its float64 rounds is small again. A
maximum makes max over k of (z_k - max z) + c_k, its first part a difference of digits. Other gates make the difference
of two float64.

What is read is the sum of both, a float64 number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from relu_regions.exactness.judge.balls import (
    SMALL,
    UNIT,
    Ball,
    Evaluation,
    Loose,
    Rows,
    RunningBounds,
    bent,
    least,
    looser,
    norm_of,
    not_below,
    untouched,
    widened,
)
from relu_regions.exactness.judge.carried import Carried
from relu_regions.exactness.judge.digits import DigitBounds
from relu_regions.network.gates import Knots, Maximum, flattened
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep

__all__ = ["Anchored", "DifferenceBounds"]


@dataclass(frozen=True)
class Anchored:
    """A value at rows of blocks.

    Attributes:
        anchor: the value at one row of each block.
        change: what it differs from there, at all rows of the block.
        beside: behind a maximum how far the sum may be from the largest sum, ``(B, units)``; None elsewhere.
    """

    anchor: Carried
    change: Ball
    beside: Tensor | None = None

    @cached_property
    def ball(self) -> Ball:
        """The float64 sums, with one dimension of numbers."""
        here, change = self.anchor.settled().ball.flat(), self.change.flat()
        low, high = here.value + change.low, here.value + change.high
        room = 2 * UNIT * torch.maximum(high, -low).masked_fill((change.high == 0) & (change.low == 0), 0.0)
        radius = (here.radius + change.radius + room) * (1 + 8 * UNIT)
        good = torch.isfinite(high - low)
        radius = radius if good.all() else torch.where(good, radius, torch.inf)
        sums = here.value[:, None] + change.value.view(len(low), -1, low.shape[1])
        return Ball(sums.view(change.value.shape), radius, low, high, here.norm + change.norm + norm_of(room))


class DifferenceBounds(Evaluation[Anchored]):
    """Takes anchors and differences from them through the steps of a network.

    Args:
        network: in float64, as it was read.
        folded: the same with batch norms folded.
        x, d: the lines, ``(N, *input_shape)``.
        count: of the anchors' digits.
    """

    def __init__(self, network: Network, folded: Network, x: Tensor, d: Tensor, count: int) -> None:
        super().__init__(folded, x, d)
        self.digits = DigitBounds(network, folded, x, d, count)
        bare = folded.derived("without biases", lambda: _without_biases(folded))
        self.steps = {step.output: step for step in bare.steps if isinstance(step, AffineStep)}
        self.linear = RunningBounds(bare, x, d, folded)

    def starts(self, rows: Rows) -> dict[str, Anchored]:
        """x and d themselves have digits."""
        ends, line = self.digits.at_ends(rows)
        middle = rows.position.shape[1] // 2
        anchors = Rows(rows.line, rows.position[:, middle : middle + 1], rows.weight)
        return {
            name: Anchored(
                self.digits.on_lines(value, line, anchors), _along(value, line, rows.position, anchors.position)
            )
            for name, value in ends.items()
        }

    def exactly(self, numbers: Tensor) -> Anchored:
        """The numbers, a block each, without errors."""
        zeros = torch.zeros_like(numbers)
        return Anchored(self.digits.exactly(numbers), Ball.of(zeros, zeros))

    def on_lines(self, ends: Anchored, line: Tensor, rows: Rows) -> Anchored:
        """The starts are made of digits."""
        raise NotImplementedError("starts() takes its ends from DigitBounds")

    def affine(self, step: AffineStep, inputs: list[Anchored], weight: Tensor) -> Anchored:
        """What a step makes of anchors, and of changes without its bias."""
        anchor = self.digits.affine(step, [value.anchor for value in inputs], weight)
        changes = [value.change for value in inputs]
        return Anchored(anchor, self.linear.affine(self.steps[step.output], changes, torch.ones_like(weight)))

    def read(self, value: Anchored) -> Ball:
        """The float64 sums."""
        return value.ball

    def loosened(self, value: Anchored, loose: Loose, per_row: int) -> Anchored:
        """As of balls: the change has what the sum may be off, and the anchor."""
        start = flattened(value.anchor.settled().ball.radius)[loose.row // per_row, loose.unit]
        room = start + 4 * UNIT * flattened(value.change.value)[loose.row, loose.unit].abs()
        if value.beside is not None:
            room = room + value.beside[loose.row // per_row, loose.unit]
        wider = loose.wider(room * (1 + 8 * UNIT))
        radius, norm = looser(value.change.radius, value.change.norm, wider, per_row)
        return replace(value, change=value.change._replace(radius=radius, norm=norm))

    def bent(self, step: GateStep, value: Anchored, weight: Tensor) -> Anchored:
        """What a gate makes of anchors, and of changes."""
        read, change, here = value.ball, value.change.flat(), value.anchor.settled()
        here = here.shaped((math.prod(here.rest.shape[1:]),))
        anchor = self.digits.bent(step, value.anchor, weight).settled()
        after, beside = anchor.shaped((step.units,)), None
        if isinstance(step.gate, Maximum):
            made, beside = _maximum(step.gate, read, change, here, after)
        elif isinstance(step.gate, Knots):
            made = _knots(step, step.gate, weight, read, change, here.ball, after.ball)
        else:
            made = _of_sums(step, weight, read, after.ball)
        shaped = (part.view(len(part), *step.shape) for part in made[:4])
        return Anchored(anchor, made._replace(**dict(zip(Ball._fields, shaped))), beside)


def _without_biases(network: Network) -> Network:
    steps = (replace(s, bias=None, fused=None) if isinstance(s, AffineStep) else s for s in network.steps)
    return replace(network, steps=tuple(steps))


def _along(ends: Carried, line: Tensor, position: Tensor, anchor: Tensor) -> Ball:
    """What t adds from the anchor's to a row's own: their difference times what is made along d."""
    ball, count = ends.settled().ball, len(ends.rest) // 2
    column = (-1, *[1] * (ball.value.ndim - 1))
    along, radius = ball.value[count:], ball.radius[count:]
    distance = position - anchor
    value = along[line.repeat_interleave(position.shape[1])] * distance.view(column)
    reach = distance.abs().amax(1).view(column) * (1 + 4 * UNIT)
    slope = radius + 8 * UNIT * not_below(along.abs())
    moves = (slope[line] > 0) & (reach > 0)
    made = (reach * slope[line] + moves * reach.new_tensor(SMALL)) * (1 + 8 * UNIT)
    return Ball.of(value, made)


def _knots(step: GateStep, gate: Knots, weight: Tensor, read: Ball, change: Ball, here: Ball, after: Ball) -> Ball:
    """The change behind a gate with knots: a multiple of that before it where a block lies on one piece.

    Args:
        read: what the gate reads; here: the same at the anchors; after: what it makes of these.
    """
    touched = [~untouched(gate, piece, read, weight) for piece in range(gate.piece_count)]
    slope, pieces = torch.zeros_like(read.radius), torch.zeros_like(read.radius)
    for inside, slopes in zip(touched, gate.slopes):
        slope, pieces = torch.where(inside, slopes, slope), pieces + inside
    one_piece = pieces == 1
    plain = ((slope == 0) | (slope == 1)) & one_piece
    blocks, per_row = len(slope), len(read.value) // len(slope)
    value = (change.value.view(blocks, per_row, -1) * slope[:, None]).view(change.value.shape)
    size = not_below(slope.abs())
    made = torch.where(plain, 0.0, 4 * UNIT * size * not_below(change.size + change.radius))
    radius = (not_below(change.radius) * size).masked_fill(slope == 0, 0.0)
    radius = torch.where(slope == 1, change.radius, radius * (1 + 8 * UNIT)) + made
    block, unit = (~one_piece).nonzero(as_tuple=True)
    rows = block[:, None] * per_row + torch.arange(per_row, device=block.device)
    places = (rows, unit[:, None])
    steepest = not_below(gate.slopes.abs()).amax(0).expand(slope.shape[1])[unit]
    own, extra = change.radius[block, unit], here.radius[block, unit]
    if gate.is_relu:
        z, start, moved = read.value[places], here.value[block, unit][:, None], change.value[places]
        both = (z > 0) & (start > 0)
        value[places] = torch.where(both, moved, z.clamp_min(0) - start.clamp_min(0))
        extra = extra + 4 * UNIT * change.size[block, unit]
    else:
        value[places], rounded = _differences(step, gate, weight, read, after, block, unit)
        extra = steepest * extra + rounded
    found = torch.zeros_like(slope).index_put_((block, unit), extra * (1 + 8 * UNIT))
    radius = radius.index_put_((block, unit), (steepest * own + extra) * (1 + 8 * UNIT))
    most = not_below(gate.slopes.abs()).max()
    norm = (change.norm * most + norm_of(torch.maximum(found, made))) * (1 + 16 * UNIT)
    return _bounded(value, radius, norm)


def _differences(
    step: GateStep, gate: Knots, weight: Tensor, read: Ball, after: Ball, block: Tensor, unit: Tensor
) -> tuple[Tensor, Tensor]:
    """What some units make of the sums, less what they make at the anchors, and what that rounds."""
    sums = gate.apply(read.value, weight.repeat_interleave(len(read.value) // len(weight))[:, None])
    sums = sums.view(len(weight), -1, step.units)[block, :, unit]
    start = after.value[block, unit]
    # Of a sum that a slope multiplies and an offset takes off again little may be left, but not of what it rounds.
    slope, offset = (part.abs().amax(0).expand(step.units)[unit] for part in (gate.slopes, gate.offsets))
    rounded = 8 * UNIT * not_below(not_below(slope) * not_below(read.size[block, unit]) + offset + start.abs())
    start = start[:, None]
    return _signed(sums, sums - start, start), rounded + after.radius[block, unit]


def _signed(sums: Tensor, change: Tensor, start: Tensor) -> Tensor:
    """The change, or the next float where it would make a sum 0 that is none: a gate's 0 stands for a true one."""
    lost = (change + start == 0) & (sums != 0)
    return torch.where(lost, torch.nextafter(-start, torch.copysign(torch.full_like(sums, torch.inf), sums)), change)


def _of_sums(step: GateStep, weight: Tensor, read: Ball, after: Ball) -> Ball:
    """The change behind any gate: what it makes of the sums, less what it makes at the anchors."""
    made = bent(step, read, weight, False).flat()
    sums, start = made.value.view(len(weight), -1, step.units), after.value[:, None]
    value = _signed(sums, sums - start, start).view(made.value.shape)
    size = torch.maximum(made.size, after.size)
    rounded = after.radius + 4 * UNIT * not_below(size)
    return _bounded(value, (made.radius + rounded) * (1 + 8 * UNIT), made.norm + norm_of(rounded))


def _maximum(gate: Maximum, read: Ball, change: Ball, here: Carried, after: Carried) -> tuple[Ball, Tensor]:
    """The change behind a maximum: the largest of what its inputs change, beside what they are behind at the anchor.

    Returns:
        The change, and ``Anchored.beside``.
    """
    blocks, per_row = len(read.low), len(read.value) // len(read.low)
    behind = [gate.candidates(part) - best[..., None] for part, best in zip(here.parts, after.parts)]
    behind.append(gate.candidates(here.rest) - after.rest[..., None])
    # Digits' differences and their sums are exact, and of their remainders' rounding the radii have a multiple.
    below = torch.stack(behind).cumsum(0)[-1]
    moved = gate.candidates(change.value).view(blocks, per_row, *below.shape[1:])
    value = (moved + below[:, None]).amax(-1)
    sums = gate.candidates(read.value).amax(-1).view(value.shape)
    # Where all that is read is 0 the sum is 0, so that ReLUs' zeros stay zeros.
    start = after.ball.value[:, None]
    value = _signed(sums, torch.where(sums == 0, -start, value), start).view(blocks * per_row, -1)
    margin = gate.candidates(widened(read.radius, read.size))
    low, high = gate.candidates(read.low) - margin, gate.candidates(read.high) + margin
    first = low.argmax(-1, keepdim=True)
    beaten = high < low.gather(-1, first)
    alone = (beaten | (torch.arange(low.shape[-1], device=low.device) == first)).all(-1)
    errors = gate.candidates(change.radius)
    size = gate.candidates(change.size).amax(-1)
    digits = gate.candidates(here.radius).masked_fill(beaten, 0.0).amax(-1) + after.radius
    beside = (digits + 16 * UNIT * (here.count + 1) * (size + digits)) * (1 + 8 * UNIT)
    extra = beside.masked_fill(alone, 0.0)
    radius = (errors.masked_fill(beaten, 0.0).amax(-1) + extra) * (1 + 8 * UNIT)
    shared = math.sqrt(int(torch.bincount(gate.windows.flatten()).max())) if gate.windows.numel() else 0.0
    norm = (change.norm * shared + norm_of(extra)) * (1 + 16 * UNIT)
    return _bounded(value, radius, norm), beside


def _bounded(value: Tensor, radius: Tensor, norm: Tensor) -> Ball:
    ball = Ball.of(value, radius, norm)
    return ball._replace(norm=least(ball.norm, ball.radius))
