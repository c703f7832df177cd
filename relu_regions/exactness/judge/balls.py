"""Running error bounds: a network evaluated at rows of points, with a radius for every number.

A *ball* is a computed value v̂ at some rows and a radius e: the true value, of the real-valued network at the row's
own float t, is within e of it. Rows lie in blocks, and a block has one row of radii.

- An affine step makes e = |W| e + γ (|W| (|v̂| + e) + |b|), γ = γ_k = k u / (1 − k u) with twice the terms of its
  sums (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 3.1 and 3.3); what is more than
  γ_n covers the rounding of the bound.
- All errors of a value together have a 2-norm, N at most. So a step's |W| e is no more than ‖row‖₂ N, number by number,
  and N becomes σ N + ‖what the step itself rounds‖₂ with a bound σ of the step's 2-norm, or ‖e‖₂ where that is less.
  e grows by |W|, as if errors had the worst signs for every number at once; N grows by much less.
- A ball at a breakpoint holds more: what the two affine pieces that are claimed to meet there have at the row's t, each
  extended to it. They differ behind the gate whose unit flips, by little, as it is near its knot (`Loose`).
- A gate with knots passes a radius on by its steepest slope among the pieces that the ball touches: 0 where a ReLU is
  certainly inactive. A maximum passes on the largest radius of the inputs that may attain it. N grows by the
  steepest slope, and by √(how many windows share an input).

Underflow: radii count |a| and |v| that are not 0 as SMALL at least. A product of two such is a normal number, and γ
of it is more than all that underflow, gradual or to 0, can lose. So a radius is 0 only where every product is 0
whatever the rounding. Overflow: where a number is not finite its radius is infinite.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from functools import reduce
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from relu_regions.exactness.equal_by_construction import EqualNumbers
from relu_regions.exactness.judge.operator_norms import OperatorNorms
from relu_regions.network.gates import Knots, Maximum, OrderStatistic, flattened
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep

__all__ = [
    "UNIT", "Ball", "Evaluation", "Loose", "Rows", "RunningBounds", "bent", "least", "looser", "norm_of", "not_below",
    "untouched", "widened",
]  # fmt: skip

UNIT = 2.0**-53
SMALL = 2.0**-400
_KEPT_NUMBERS = 1 << 20  # of a step: 8 MiB

V = TypeVar("V")


class Rows(NamedTuple):
    """Rows of points on lines, in blocks of R neighbours.

    Attributes:
        line: of each block, ``(B,)`` int64.
        position, weight: as those of `relu_regions.exactness.judge.posts.Chunk`, ``(B, R)`` and ``(B,)``.
    """

    line: Tensor
    position: Tensor
    weight: Tensor


class Loose(NamedTuple):
    """Units of a gate without a known piece at rows, ``(S,)`` each: they flip there.

    Attributes:
        row, unit: which.
        radius: how far what a piece on either side makes of its ball may be from what the gate has computed.
        extra: the part of it that the unit's distance from its knot makes, and not the radius of what it reads.
    """

    row: Tensor
    unit: Tensor
    radius: Tensor
    extra: Tensor

    def wider(self, room: Tensor) -> Loose:
        """The same with more room for each."""
        return self._replace(radius=self.radius + room, extra=self.extra + room)


class Ball(NamedTuple):
    """A value at rows, and how far it may be off.

    Attributes:
        value: ``(B * R, *shape)``.
        radius: ``(B, *shape)``.
        low, high: the smallest and the largest number of each block's rows, ``(B, *shape)``.
        norm: the largest 2-norm of a row's errors, ``(B,)``.
    """

    value: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor
    norm: Tensor

    @classmethod
    def of(cls, value: Tensor, radius: Tensor, norm: Tensor | None = None) -> Ball:
        """One whose extremes are not known yet, and neither is its norm if that of the radii is less."""
        blocks = value.view(len(radius), -1, *value.shape[1:])
        low, high = blocks.amin(1), blocks.amax(1)
        width = high - low
        if not torch.isfinite(width.sum()):
            radius = torch.where(torch.isfinite(width), radius, torch.inf)
            norm = None
        return cls(value, radius, low, high, least(norm, radius))

    @property
    def size(self) -> Tensor:
        """The largest absolute number of each block's rows, ``(B, *shape)``."""
        return torch.maximum(self.high, -self.low)

    def flat(self) -> Ball:
        """The same with one dimension of numbers."""
        value, radius, low, high = (flattened(part) for part in self[:4])
        return Ball(value, radius, low, high, self.norm)


def least(norm: Tensor | None, radius: Tensor) -> Tensor:
    """The norm, or that of the radii where it is less, ``(B,)``."""
    other = norm_of(radius)
    # A norm that overflowed is no number, and says nothing.
    return other if norm is None else torch.fmin(norm, other)


def norm_of(radius: Tensor) -> Tensor:
    """A bound of the 2-norm of errors within radii, ``(B,)``."""
    numbers = flattened(radius)
    norm: Tensor = torch.linalg.vector_norm(numbers, dim=1)
    # What is added is more than all squares lose by underflow.
    return norm * (1 + 2 * (numbers.shape[1] + 8) * UNIT) + numbers.shape[1] * SMALL


def not_below(numbers: Tensor) -> Tensor:
    """Numbers that are not negative, those that are not 0 made so large that their products don't underflow."""
    return torch.maximum(numbers, numbers.sign() * SMALL)


def widened(radius: Tensor, size: Tensor) -> Tensor:
    """A radius with room for the rounding of a few sums with numbers of a size; 0 remains 0."""
    return torch.addcmul(radius * (1 + 16 * UNIT), size, radius.sign(), value=8 * UNIT)


def looser(radius: Tensor, norm: Tensor, loose: Loose, per_row: int) -> tuple[Tensor, Tensor]:
    """Radii and norms behind a gate, wide enough for units whose piece is not known at some rows.

    Args:
        radius, norm: ``(B, *shape)`` and ``(B,)``, as if it were.
        per_row: how many rows a block has.
    """
    if not len(loose.row):
        return radius, norm
    wider = radius.reshape(len(radius), -1).clone()
    place = (loose.row // per_row) * wider.shape[1] + loose.unit
    # A radius that is no number bounds nothing.
    wide, extra = (part.nan_to_num(torch.inf, torch.inf) for part in (loose.radius, loose.extra))
    added = torch.maximum(wide - wider.view(-1)[place], extra)
    wider.view(-1).scatter_reduce_(0, place, wide, "amax")
    rows = norm.new_zeros(len(radius) * per_row).index_add_(0, loose.row, not_below(added))
    norm = (norm + rows.view(-1, per_row).amax(1)) * (1 + 2 * (len(loose.row) + 8) * UNIT)
    return wider.view(radius.shape), norm


class Evaluation(ABC, Generic[V]):
    """Takes values of some kind through the steps of a network, and reads them as balls.

    Args:
        network: in float64, batch norms folded.
        x, d: the lines, ``(N, *input_shape)``.
    """

    def __init__(self, network: Network, x: Tensor, d: Tensor) -> None:
        self.network, self.x, self.d = network, x, d
        self.first_gate = min(network.gate_numbers, default=len(network.steps))

    def through(self, rows: Rows, loose: list[Loose] | None = None) -> Iterator[tuple[int, GateStep, Ball]]:
        """Every gate with the ball that it reads, ``(B * R, numbers)``, in order.

        Args:
            loose: before the caller asks for the next gate it may append the units of this one that flip at rows.
        """
        network, values = self.network, self.starts(rows)
        for index in range(self.first_gate, max(network.gate_numbers, default=-1) + 1):
            step = network.steps[index]
            if isinstance(step, GateStep):
                value = values[step.inputs[0]]
                yield network.gate_numbers[index], step, self.read(value)
                made = self.bent(step, value, rows.weight)
                while loose:
                    made = self.loosened(made, loose.pop(), rows.position.shape[1])
                values[step.output] = made
            else:
                values[step.output] = self.affine(step, [values[name] for name in step.inputs], rows.weight)
            for name in network.releases[index]:
                del values[name]

    def starts(self, rows: Rows) -> dict[str, V]:
        """What is needed from the first gate on; up to there all is affine on the line, v(x) and t times v(d)."""
        ends, line = self.at_ends(rows)
        return {name: self.on_lines(value, line, rows) for name, value in ends.items()}

    def at_ends(self, rows: Rows) -> tuple[dict[str, V], Tensor]:
        """What is needed from the first gate on, at the x of all lines and then along their d.

        Returns:
            The values, and the line of each block among them.
        """
        used, line = torch.unique(rows.line, return_inverse=True)
        ends = torch.cat([self.x[used], self.d[used]])
        weight = torch.cat([torch.ones(len(used)), torch.zeros(len(used))]).to(ends)
        values = {self.network.input_name: self.exactly(ends)}
        for index in range(self.first_gate):
            step = self.network.steps[index]
            assert isinstance(step, AffineStep)
            values[step.output] = self.affine(step, [values[name] for name in step.inputs], weight)
            for name in self.network.releases[index]:
                del values[name]
        return values, line

    @abstractmethod
    def exactly(self, numbers: Tensor) -> V:
        """What these numbers are, a row for each block, ``(B, *shape)``."""

    @abstractmethod
    def on_lines(self, ends: V, line: Tensor, rows: Rows) -> V:
        """A value at rows, from that at x and, for the second half, along d, of all lines.

        Args:
            line: of each block, among those of the ends.
        """

    @abstractmethod
    def affine(self, step: AffineStep, inputs: list[V], weight: Tensor) -> V:
        """What a step makes; weight is that of each block, ``(B,)``."""

    @abstractmethod
    def bent(self, step: GateStep, value: V, weight: Tensor) -> V:
        """What a gate makes."""

    @abstractmethod
    def loosened(self, value: V, loose: Loose, per_row: int) -> V:
        """What a gate makes, its radii wide enough for units whose piece is not known at some rows; see `looser`."""

    @abstractmethod
    def read(self, value: V) -> Ball:
        """The ball that a gate reads, with one dimension of numbers."""


class RunningBounds(Evaluation[Ball]):
    """Takes balls of float64 numbers through the steps of a network.

    Norms are kept with ``alike``, a network whose steps have the same coefficients.
    """

    def __init__(self, network: Network, x: Tensor, d: Tensor, alike: Network | None = None) -> None:
        super().__init__(network, x, d)
        self.alike = alike or network
        self.copies = EqualNumbers.of(network).copies
        readers = Counter(name for step in network.steps for name in step.inputs)
        # What lies in memory of its own, and is no view of what its step reads.
        made = (step.output for step in network.steps if isinstance(step, AffineStep) and step.form is not None)
        self.own = {name for name in made if readers[name] == 1}

    def exactly(self, numbers: Tensor) -> Ball:
        """The numbers without errors."""
        return Ball.of(numbers, torch.zeros_like(numbers))

    def on_lines(self, ends: Ball, line: Tensor, rows: Rows) -> Ball:
        """v(x) + t v(d)."""
        count, shape = len(ends.value) // 2, ends.value.shape[1:]
        column = (-1, *[1] * len(shape))
        here, along = ends.value[:count], ends.value[count:]
        each = line.repeat_interleave(rows.position.shape[1])
        weight = rows.weight.repeat_interleave(rows.position.shape[1])
        value = here[each]
        if not weight.all():
            value *= weight.view(column)
        value.addcmul_(rows.position.reshape(column), along[each])
        reach, weight = rows.position.abs().amax(1).view(column), rows.weight.view(column)
        base = ends.radius[:count] + 4 * UNIT * here.abs()
        slope = ends.radius[count:] + 4 * UNIT * not_below(along.abs())
        base = torch.where(slope > 0, base + SMALL, ends.radius[:count])
        return Ball.of(value, (weight * base[line] + reach * slope[line]) * (1 + 8 * UNIT))

    def bent(self, step: GateStep, value: Ball, weight: Tensor) -> Ball:
        """Its memory is used again where nothing else needs it."""
        return bent(step, value.flat(), weight, step.inputs[0] in self.own)

    def loosened(self, value: Ball, loose: Loose, per_row: int) -> Ball:
        """Its radii and norms are."""
        radius, norm = looser(value.radius, value.norm, loose, per_row)
        return value._replace(radius=radius, norm=norm)

    def read(self, value: Ball) -> Ball:
        """Itself."""
        return value.flat()

    def affine(self, step: AffineStep, inputs: list[Ball], weight: Tensor) -> Ball:
        plain = bool(weight.all())
        per_row = len(inputs[0].value) // len(weight)
        value = step(*(b.value for b in inputs), weight=None if plain else weight.repeat_interleave(per_row))
        constants, norms = self.magnitudes(step), self.norms(step)
        carried = reduce(torch.add, [norm * ball.norm for norm, ball in zip(norms.whole, inputs)])
        if step.output in self.copies and step.bias is None:
            return Ball.of(value, step.function(*(ball.radius for ball in inputs), *constants), carried)
        unit = 2 * (step.terms + 2) * UNIT
        gamma = unit / (1 - unit)
        parts = (torch.cat([b.radius, gamma * not_below(b.size + b.radius)]) for b in inputs)
        passed, made = (step.function(*parts, *constants) * (1 + 2 * gamma)).chunk(2)
        column = (-1, *[1] * (made.ndim - 1))
        if step.bias is not None:
            made = made + 2 * gamma * not_below(step.bias.abs()) * weight.view(column)
        by_norm = reduce(torch.add, [rows * ball.norm.view(column) for rows, ball in zip(norms.rows, inputs)])
        room = 1 + 2 * (len(inputs) + 8) * UNIT
        return Ball.of(value, torch.fmin(passed, by_norm * room) + made, (carried + norm_of(made)) * room)

    def norms(self, step: AffineStep) -> OperatorNorms:
        return self.alike.derived((OperatorNorms, step.output), lambda: OperatorNorms.of(self.network, step))

    def magnitudes(self, step: AffineStep) -> tuple[Tensor, ...]:
        """The sizes of the constants, kept with the network where they are few."""

        def made() -> tuple[Tensor, ...]:
            return tuple(not_below(constant.abs()) for constant in step.constants)

        few = sum(constant.numel() for constant in step.constants) <= _KEPT_NUMBERS
        return self.alike.derived(("magnitudes", step.output), made) if few else made()


def bent(step: GateStep, inputs: Ball, weight: Tensor, overwrite: bool) -> Ball:
    """The ball behind a gate.

    Args:
        overwrite: whether nothing else needs what the gate reads.
    """
    gate, shape = step.gate, step.shape
    if isinstance(gate, Maximum):
        ball = _maximum(gate, inputs)
    elif isinstance(gate, OrderStatistic):
        ball = _order_statistic(gate, inputs)
    elif gate.is_relu:
        # A sum is rounded to no other sign.
        radius = inputs.radius.masked_fill(inputs.high + inputs.radius <= 0, 0.0)
        value = inputs.value.clamp_min_(0) if overwrite else inputs.value.clamp_min(0)
        low, high = inputs.low.clamp_min(0), inputs.high.clamp_min(0)
        ball = Ball(value, radius, low, high, least(inputs.norm, radius))
    else:
        ball = _knots(gate, inputs, weight)
    value, radius, low, high = (part.view(len(part), *shape) for part in ball[:4])
    return Ball(value, radius, low, high, ball.norm)


def _maximum(gate: Maximum, inputs: Ball) -> Ball:
    best = gate.candidates(inputs.low - widened(inputs.radius, inputs.size)).amax(-1, keepdim=True)
    radius = gate.candidates(widened(inputs.radius, inputs.size))
    beaten = gate.candidates(inputs.high) + radius < best
    shared = math.sqrt(int(torch.bincount(gate.windows.flatten()).max())) if gate.windows.numel() else 0.0
    norm = inputs.norm * (shared * (1 + 16 * UNIT))
    return Ball.of(gate.apply(inputs.value), radius.masked_fill(beaten, 0.0).amax(-1), norm)


def _order_statistic(gate: OrderStatistic, inputs: Ball) -> Ball:
    """No number of a rank changes by more than some input of its window, nor sorted numbers by more than all of it."""
    radius = gate.candidates(widened(inputs.radius, inputs.size)).amax(-1)
    norm = inputs.norm * (gate.two_norm * (1 + 16 * UNIT))
    return Ball.of(gate.apply(inputs.value), radius, norm)


def untouched(gate: Knots, piece: int, inputs: Ball, weight: Tensor) -> Tensor:
    """Where no number of a block can lie on a piece, ``(B, units)`` bool."""
    column, margin = weight[:, None], widened(inputs.radius, inputs.size)
    outside = torch.zeros_like(margin, dtype=torch.bool)
    if piece > 0:
        knot = gate.knots[piece - 1] * column
        outside |= (inputs.high + margin < knot) | ((margin == 0) & (inputs.high <= knot))
    if piece + 1 < gate.piece_count:
        outside |= inputs.low - margin > gate.knots[piece] * column
    return outside


def _knots(gate: Knots, inputs: Ball, weight: Tensor) -> Ball:
    column = weight[:, None]
    per_row = len(inputs.value) // len(weight)
    plain = bool(weight.all())
    value = gate.apply(inputs.value, None if plain else column.repeat_interleave(per_row, 0))
    size = inputs.size + inputs.radius
    steepest, made = torch.zeros_like(size), torch.zeros_like(size)
    for piece in range(gate.piece_count):
        outside = untouched(gate, piece, inputs, weight)
        slope, offset = not_below(gate.slopes[piece].abs()), gate.offsets[piece].abs() * column
        exact = (slope == 0) | ((slope == 1) & (offset == 0))
        rounding = 8 * UNIT * not_below(slope * not_below(size) + offset)
        steepest = torch.maximum(steepest, slope.expand_as(size).masked_fill(outside, 0.0))
        made = torch.maximum(made, rounding.masked_fill(outside | exact, 0.0))
    norm = (inputs.norm * not_below(gate.slopes.abs()).max() + norm_of(made)) * (1 + 16 * UNIT)
    return Ball.of(value, not_below(inputs.radius) * steepest * (1 + 8 * UNIT) + made, norm)
