"""More exact digits: the judge's evaluation with values of m integer digits and a float64 remainder.

What is *carried* of a number is a sum h_0 + … + h_{m-1} + r. Digit h_k is on a grid of its block, g_k = 2^{-b k} g_0,
and r is a float64 number of at most g_{m-1} / 2. A step's coefficients are split alike, W = C_0 + … + C_{k-1} + R_k.
Then

    W v = Σ_{i + j < m} C_i h_j + Σ_j R_{m-j} h_j + W r,

where the first sum is exact in float64, for numbers on grids whose Σ |a| |v| is less than 2⁵³ units
(`relu_regions.exactness.judge.grids`), and the rest, 2^{-b m} times as large, rounds as sums do. So errors are those of
float64 times 2^{-b m}, and grow by the rules of `relu_regions.exactness.judge.balls`.

A result is put on a grid of its own: each exact part is cut into a multiple of the grid and what is left, exactly, and
what is left of all goes to the remainder, which rounds. The grid is a power of two that the largest number of the block
sets.

What a gate, and the argument, *reads* of it is a ball: the float64 sum, whose own rounding counts into the radius that
is read, and not into what is carried on. The computed sum has the sign of the true one, so that a ReLU that chooses by
it chooses right. A maximum compares digits. Steps and gates of other kinds read the ball, and what they make of it has
a float64's digits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from relu_regions.exactness.error_free import halves
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
from relu_regions.exactness.judge.grids import (
    Coefficients,
    Pair,
    in_range,
    pair_of,
)
from relu_regions.exactness.judge.products import product_of
from relu_regions.network.gates import Knots, Maximum, flattened
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep
from relu_regions.network.taking import places_read

__all__ = ["DigitBounds"]

# Constants of more numbers are not put together: they lie outside of the cache.
_TOGETHER_NUMBERS = 1 << 22


class DigitBounds(Evaluation[Carried]):
    """Takes values with digits through the steps of a network.

    Args:
        network: in float64, as it was read.
        folded: the same with batch norms folded.
        x, d: the lines, ``(N, *input_shape)``.
        count: of digits, 1 or 2: the sign of a float64 sum of more is not sure to be that of what is carried.
    """

    def __init__(self, network: Network, folded: Network, x: Tensor, d: Tensor, count: int) -> None:
        super().__init__(folded, x, d)
        self.as_read, self.count = network, count
        self.rounded = RunningBounds(folded, x, d)

    # ------------------------------------------------------------ starts

    def exactly(self, numbers: Tensor) -> Carried:
        """The numbers without errors."""
        return self._of(Ball.of(numbers, torch.zeros_like(numbers)))

    def _of(self, ball: Ball) -> Carried:
        """What a float64 number and its radius are."""
        most = ((ball.size > 0) | (ball.radius > 0)) * ball.radius.new_tensor(SMALL)
        return Carried(self.count, [ball.value.clone()], torch.zeros_like(ball.value), most, ball.radius, ball.norm)

    def on_lines(self, ends: Carried, line: Tensor, rows: Rows) -> Carried:
        """v(x) + t v(d): t is cut in two, so that its products with digits are exact."""
        ends = ends.settled()
        count, shape = len(ends.rest) // 2, ends.rest.shape[1:]
        column, per_row = (-1, *[1] * len(shape)), rows.position.shape[1]
        each, weight = line.repeat_interleave(per_row), rows.weight.repeat_interleave(per_row).view(column)
        position = rows.position.reshape(column)
        parts = [digit[:count][each] * weight for digit in ends.parts]
        parts += [digit[count:][each] * part for digit in ends.parts for part in halves(position)]
        rest = ends.rest[:count][each] * weight + position * ends.rest[count:][each]
        reach, own = rows.position.abs().amax(1).view(column), rows.weight.view(column)
        tiny = (ends.most > 0) * ends.most.new_tensor(SMALL)
        most = own * ends.most[:count][line] + reach * ends.most[count:][line] + tiny[count:][line]
        most = most * (1 + 8 * UNIT)
        radius = (own * ends.radius[:count][line] + reach * ends.radius[count:][line] + 8 * UNIT * most) * (
            1 + 8 * UNIT
        )
        return Carried(self.count, parts, rest, most, radius, radius.new_full((len(radius),), torch.inf))

    # ------------------------------------------------------------ steps

    def affine(self, step: AffineStep, inputs: list[Carried], weight: Tensor) -> Carried:
        """What a step makes: by exact products, as copies and sums, or by rounding what is read."""
        pair, coefficients = self._coefficients(step)
        if coefficients is not None and pair is not None:
            return self._product(step, inputs[0].settled(), pair, coefficients, weight)
        if step.elementwise and len(step.constants) == 1 and in_range(step.constants[0]):
            return self._scaled(step, inputs[0].settled(), weight)
        if self._only_adds(step):
            return self._sum(step, inputs, weight)
        return self._of(self.rounded.affine(step, [value.settled().ball for value in inputs], weight))

    def _coefficients(self, step: AffineStep) -> tuple[Pair | None, Coefficients | None]:
        return self.network.derived((Coefficients, step.output, self.count), lambda: self._split(step))

    def _split(self, step: AffineStep) -> tuple[Pair | None, Coefficients | None]:
        product = product_of(step)
        pair = None if product is None else pair_of(self.as_read, step)
        if product is None or pair is None:
            return None, None
        ones = pair.constant.new_ones(1, *self.network.shapes[step.inputs[0]])
        return pair, Coefficients.of(pair, lambda constant: product(ones, constant), self.count)

    def _product(
        self, step: AffineStep, value: Carried, pair: Pair, coefficients: Coefficients, weight: Tensor
    ) -> Carried:
        product, m = product_of(step), self.count
        assert product is not None
        # Of one group, all constants make their outputs in one product, where putting them together costs less.
        together = getattr(step.form, "groups", 2) == 1 or step.is_matrix
        together &= pair.constant.numel() <= _TOGETHER_NUMBERS
        parts: list[Tensor] = []
        rest = product(value.rest, coefficients.rests[0])
        for j, digit in enumerate(value.parts):
            constants = [*coefficients.digits[: m - j], coefficients.rests[m - j]]
            if together:
                made = product(digit, torch.cat(constants)).chunk(len(constants), 1)
            else:
                made = tuple(product(digit, constant) for constant in constants)
            for level, number in enumerate(made[:-1], j):
                if level < len(parts):
                    parts[level] += number
                else:
                    parts.append(number.contiguous())
            rest += made[-1]
        sizes = [(size, coefficients.rests[m - j]) for j, size in enumerate(value.sizes)]
        # Coefficients in range, and what digits leave of one that has no second float, are 0 or no smaller than SMALL.
        normal = pair.constant_rest is None
        most = sum(product(not_below(size), rests.abs() if normal else not_below(rests.abs())) for size, rests in sizes)
        whole = pair.constant.abs()
        passed, below = product(torch.cat([value.radius, not_below(value.most)]), whole).chunk(2)
        unit = 2 * ((m + 1) * (step.terms + 4) + 8) * UNIT
        gamma = unit / (1 - unit)
        most = (most + below) * (1 + 2 * gamma)
        made_here = gamma * most
        each, norms = value.norm.view(-1, *[1] * (made_here.ndim - 1)), self.rounded.norms(step)
        radius = torch.fmin(passed * (1 + 2 * gamma), norms.rows[0] * each * (1 + 32 * UNIT)) + made_here
        norm = (norms.whole[0] * value.norm + norm_of(made_here)) * (1 + 16 * UNIT)
        biases = (pair.bias, pair.bias_rest)
        return self._with_biases(Carried(m, parts, rest, most, radius * (1 + 4 * UNIT), norm), biases, weight)

    def _scaled(self, step: AffineStep, value: Carried, weight: Tensor) -> Carried:
        (constant,) = step.constants
        parts = [step.function(digit, part) for digit in value.parts for part in halves(constant)]
        rest, size = step.function(value.rest, constant), not_below(constant.abs())
        most = step.function(not_below(value.most), size) * (1 + 4 * UNIT)
        radius = (step.function(value.radius, size) + 4 * UNIT * most) * (1 + 8 * UNIT)
        norm = (self.rounded.norms(step).whole[0] * value.norm + norm_of(4 * UNIT * most)) * (1 + 8 * UNIT)
        return self._with_biases(Carried(self.count, parts, rest, most, radius, norm), (step.bias,), weight)

    def _only_adds(self, step: AffineStep) -> bool:
        """Whether a step adds at most one number of each of its inputs, or the negative of one."""
        return self.network.derived(("only adds", step.output), lambda: _adds(self.network, step))

    def _sum(self, step: AffineStep, inputs: Sequence[Carried], weight: Tensor) -> Carried:
        signs = tuple(constant.abs() for constant in step.constants)
        if len(inputs) == 1 and step.bias is None and inputs[0].grid is not None:
            value = inputs[0]
            parts = [step.linear(part) for part in value.parts]
            most, radius = (step.function(part, *signs) for part in (value.most, value.radius))
            norm = least(self.rounded.norms(step).whole[0] * value.norm * (1 + 4 * UNIT), radius)
            return replace(value, parts=parts, rest=step.linear(value.rest), most=most, radius=radius, norm=norm)
        parts, offsets = self._moved(step, inputs)
        rest = step.linear(*(value.rest for value in inputs))
        room = 1 + 4 * len(inputs) * UNIT
        most = step.function(*(value.most for value in inputs), *signs) * room
        made = 2 * len(inputs) * UNIT * most
        norms = self.rounded.norms(step).whole
        radius = (step.function(*(value.radius for value in inputs), *signs) + made) * room
        norm = torch.stack([norm * value.norm for norm, value in zip(norms, inputs)]).sum(0)
        norm = (norm + norm_of(made)) * (1 + 2 * (len(inputs) + 8) * UNIT)
        carried = Carried(self.count, parts, rest.clone(), most, radius, norm, offsets)
        return self._with_biases(carried, (step.bias,), weight)

    def _moved(self, step: AffineStep, inputs: Sequence[Carried]) -> tuple[list[Tensor], list[Tensor]]:
        """What a step makes of the exact parts of all inputs, in memory of their own, and of their offsets."""
        if step.terms == 1:
            # Nothing is added.
            digits = zip(*(value.settled().parts for value in inputs))
            return [step.linear(*parts).clone() for parts in digits], []
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for place, value in enumerate(inputs):
            for parts, own in zip(found, (value.parts, value.offsets)):
                for part in own:
                    others = [part.new_zeros(1).expand(len(part), *v.rest.shape[1:]) for v in inputs]
                    others[place] = part
                    moved = step.linear(*others)
                    parts.append(moved.clone() if len(inputs) == 1 else moved)
        return found

    def _with_biases(self, value: Carried, biases: Sequence[Tensor | None], weight: Tensor) -> Carried:
        column = weight.view(-1, *[1] * (value.most.ndim - 1))
        found = [(bias * column).expand_as(value.most) for bias in biases if bias is not None]
        most = value.most
        for bias in found:
            most = most + UNIT * not_below(bias.abs()) * UNIT
        return replace(value, offsets=[*value.offsets, *(bias.clone() for bias in found)], most=most)

    # ------------------------------------------------------------ gates

    def loosened(self, value: Carried, loose: Loose, per_row: int) -> Carried:
        """As of balls, beside what reading rounds."""
        value = value.settled()
        room = 4 * UNIT * flattened(value.ball.value)[loose.row, loose.unit].abs()
        value.radius, value.norm = looser(value.radius, value.norm, loose.wider(room), per_row)
        return replace(value)

    def read(self, value: Carried) -> Ball:
        """The float64 sum."""
        return value.settled().ball.flat()

    def bent(self, step: GateStep, value: Carried, weight: Tensor) -> Carried:
        """What a gate makes: digits chosen, or a float64 number made of what is read."""
        value, gate = value.settled().shaped((math.prod(value.rest.shape[1:]),)), step.gate
        if isinstance(gate, Knots) and gate.is_relu:
            result = _relu(value)
        elif isinstance(gate, Maximum):
            result = _maximum(gate, value)
        elif isinstance(gate, Knots) and in_range(gate.slopes):
            result = _knots(gate, value, weight)
        else:
            return self._of(bent(step, value.ball, weight, False))
        return result.shaped(step.shape)


def _relu(value: Carried) -> Carried:
    ball = value.ball
    inactive = (ball.high + ball.radius < 0) | ((ball.radius == 0) & (ball.high <= 0))
    radius, off = value.radius.masked_fill(inactive, 0.0), ball.value <= 0
    parts, rest = [part.masked_fill(off, 0.0) for part in value.parts], value.rest.masked_fill(off, 0.0)
    most = value.most.masked_fill(ball.high <= 0, 0.0)
    return replace(value, parts=parts, rest=rest, most=most, radius=radius, norm=least(value.norm, radius))


def _knots(gate: Knots, value: Carried, weight: Tensor) -> Carried:
    """Digits times the slope of their piece, cut in two, and the piece's offset."""
    ball, shape = value.ball, value.rest.shape
    per_row = len(value.rest) // len(weight)
    each = weight.repeat_interleave(per_row)[:, None]
    pieces = torch.stack([ball.value > knot * each for knot in gate.knots]).sum(0)
    slope, offset = (part.expand(-1, shape[1]).gather(0, pieces) for part in (gate.slopes, gate.offsets))
    cut = [part for part in halves(slope) if part.any()]
    parts = [digit * part for digit in value.parts for part in cut] + [offset * each]
    steepest, beside = torch.zeros_like(value.most), torch.zeros_like(value.most)
    for piece in range(gate.piece_count):
        touched = ~untouched(gate, piece, ball, weight)
        size = not_below(gate.slopes[piece].abs()).expand_as(touched)
        steepest = torch.maximum(steepest, torch.where(touched, size, 0.0))
        beside = beside + touched
    # A sum that rounding puts on the other side of a knot is as close to it as that.
    rounding = (ball.radius - value.radius).clamp_min(0.0) + 4 * UNIT * (ball.size + ball.radius)
    wrong = torch.where(beside > 1, 2 * steepest * rounding, 0.0)
    if not gate.knots.any():
        wrong = torch.zeros_like(wrong)
    largest = not_below(gate.slopes.abs()).amax(0)
    most = not_below(value.most) * largest * (1 + 4 * UNIT) + UNIT * UNIT * not_below(gate.offsets.abs().amax(0))
    made = (4 * UNIT * most + wrong) * (1 + 8 * UNIT)
    radius = (not_below(value.radius) * steepest + made) * (1 + 8 * UNIT)
    norm = (value.norm * largest.max() + norm_of(made)) * (1 + 16 * UNIT)
    return Carried(value.count, parts, slope * value.rest, most, radius, norm)


def _maximum(gate: Maximum, value: Carried) -> Carried:
    """The largest of each window: digits are compared exactly, or to within the rounding of their remainders."""
    ball, windows = value.ball, gate.windows
    chosen = [part[:, windows[:, 0]] for part in (*value.parts, value.rest)]
    for place in range(1, windows.shape[1]):
        others = [part[:, windows[:, place]] for part in (*value.parts, value.rest)]
        # Digits' differences and their sums are exact.
        lead = torch.stack([other - best for other, best in zip(others, chosen)]).cumsum(0)[-1]
        chosen = [torch.where(lead > 0, other, best) for other, best in zip(others, chosen)]
    least_of = gate.candidates(ball.low - widened(ball.radius, ball.size)).amax(-1, keepdim=True)
    beaten = gate.candidates(ball.high) + gate.candidates(widened(ball.radius, ball.size)) < least_of
    most = gate.candidates(value.most).amax(-1)
    made = 8 * UNIT * windows.shape[1] * most
    radius = gate.candidates(value.radius).masked_fill(beaten, 0.0).amax(-1) + made
    shared = math.sqrt(int(torch.bincount(windows.flatten()).max())) if windows.numel() else 0.0
    norm = (value.norm * shared + norm_of(made)) * (1 + 16 * UNIT)
    return replace(value, parts=chosen[:-1], rest=chosen[-1], most=most, radius=radius, norm=least(norm, radius))


def _adds(network: Network, step: AffineStep) -> bool:
    if any(constant.abs().ne(1).any() for constant in step.constants):
        return False
    shapes = [network.shapes[name] for name in step.inputs]
    return all(places_read(step, shapes, [place]) is not None for place in range(len(shapes)))
