"""How far evaluations in float32, float16 or bfloat16 can be from the real-valued network, on stretches of a line.

A stretch [a, b] of t has for each value the *chord* between what float64 computes at a and at b. A bound e says how far
any evaluation in the type, at any t of the stretch, can be from the chord, number by number. Nothing needs to be known
of breakpoints: where a unit bends inside of the stretch, the chord is off by what the bend makes of it, and that goes
into e. Where a stretch ends at breakpoints, that is next to nothing.

- The input is x + t d, rounded to the type: e = u |x + t d|.
- An affine step with sums of n products, in any order: e' = |W| e + |W_type - W| s + (γ + 2 u)(|W_type| s + |b|), where
  s bounds all that the input can be, γ = γ_n + γ'_n with those of float32 and of float64 (Higham, Accuracy and
  Stability of Numerical Algorithms, 2nd edition, sections 3.1 and 3.3), and u is what rounds a result to a half type,
  once before and once after the bias. Products of numbers that are exactly 0 round nothing and don't count. All errors
  together have a 2-norm too, as `relu_regions.exactness.judge.balls` has it, and the smaller of both bounds holds.
- A gate with knots: its steepest slope times e, what bends inside the stretch, and the rounding of its slopes. A
  maximum: the largest e of its inputs, and what the leader half-way lacks at an end. An order statistic: the largest e,
  and twice what its inputs are out of order at an end, in their order half-way.

What underflows is covered by the smallest normal number of float32 and bfloat16 for each number of a sum, whether it is
flushed to 0 or not, and of float16 by the spacing of its smallest numbers. What may overflow has no bound: a result the
type, a part of a sum float32, a coefficient or a divisor the type.

Steps whose coefficients libraries compute in the type, each in its own way, are refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.judge.operator_norms import OperatorNorms
from relu_regions.network.gates import Knots, Maximum, OrderStatistic, flattened
from relu_regions.network.network import Network
from relu_regions.network.reading.operations.registry import UnsupportedOperation
from relu_regions.network.steps import AffineStep, GateStep, Matrix, Step

__all__ = ["Arithmetic", "DeployedBounds"]

_EXACT = 2.0**-53
_SINGLE = 2.0**-24
_FLOAT32 = torch.finfo(torch.float32)


@dataclass(frozen=True)
class Arithmetic:
    """A type that networks are evaluated in, with sums in float32.

    Attributes:
        dtype: of weights, inputs and results.
        unit: what rounding a result to the type can do, relative to it, beyond that of sums.
        least: what underflow can do to a number.
        most: the largest number.
    """

    dtype: torch.dtype
    unit: float
    least: float
    most: float

    @classmethod
    def of(cls, dtype: torch.dtype) -> Arithmetic:
        """That of a dtype.

        Raises:
            ValueError: it is none of float32, float16 and bfloat16.
        """
        if dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"deployed must be torch.float32, torch.float16 or torch.bfloat16, not {dtype!r}.")
        limits = torch.finfo(dtype)
        least = 2.0**-24 if dtype == torch.float16 else limits.tiny
        return cls(dtype, limits.eps / 2, least, limits.max)

    @property
    def in_sums(self) -> float:
        """What rounding results can do besides what rounds their sums."""
        return 0.0 if self.dtype == torch.float32 else self.unit


class _Chord(NamedTuple):
    """A value on S stretches.

    Attributes:
        here, there: as float64 computes it at both ends, ``(S, *shape)``.
        error: how far any evaluation is from the chord between them, ``(S, *shape)``.
        norm: a bound of the 2-norm of these errors at any t, ``(S,)``.
    """

    here: Tensor
    there: Tensor
    error: Tensor
    norm: Tensor

    @classmethod
    def of(cls, here: Tensor, there: Tensor, error: Tensor, norm: Tensor | None = None) -> _Chord:
        """One whose errors have no other norm than their own, or one that may be less."""
        own = _norm(error)
        return cls(here, there, error, own if norm is None else torch.fmin(norm, own))

    @property
    def size(self) -> Tensor:
        """A bound of all that the value can be in any evaluation, and of what float64 computes."""
        return torch.maximum(self.here.abs(), self.there.abs()) + self.error


def _norm(error: Tensor) -> Tensor:
    numbers = flattened(error)
    norm: Tensor = torch.linalg.vector_norm(numbers, dim=1)
    return norm * (1 + 2 * (numbers.shape[1] + 8) * _EXACT)


class DeployedBounds:
    """Bounds of evaluations of a network in a type.

    Args:
        network: in float64, its batch norms not folded.
        arithmetic: of the evaluations.

    Raises:
        UnsupportedOperation: a step's coefficients are computed in the type, in more than one way: those of a batch
            norm, an interpolation, a product of several constants, whatever the model computes from its parameters. Or
            the model computes in a narrower type there.
    """

    def __init__(self, network: Network, arithmetic: Arithmetic) -> None:
        self.network, self.arithmetic = network, arithmetic
        for step in network.steps:
            if (reason := _varying(step, network.input_dtype, arithmetic.dtype)) is not None:
                raise UnsupportedOperation(f"deployed= says nothing of {step.origin}: {reason}.")
        self._typed: dict[str, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]] = {}

    def through(self, x: Tensor, d: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The outputs at both ends of stretches, and how far any evaluation at a t between them is from the chord.

        Args:
            x, d: ``(S, *input_shape)`` float64.
            a, b: ``(S,)`` float64, finite.

        Returns:
            ``(S, *output_shape)`` each; an error is infinite where nothing is proven.
        """
        values = {self.network.input_name: self._within_range(self._input(x, d, a, b))}
        for step, released in zip(self.network.steps, self.network.releases):
            read = [values[name] for name in step.inputs]
            if isinstance(step, AffineStep):
                # A sum may be rounded to the type before the bias is added.
                values[step.output] = self._within_range(self._affine(step, read), step.bias)
            else:
                values[step.output] = self._within_range(self._gate(step, read[0]))
            for name in released:
                del values[name]
        return values[self.network.output_name][:3]

    def _within_range(self, chord: _Chord, bias: Tensor | None = None) -> _Chord:
        """The same without bounds where the type may overflow, or float64 did."""
        size = chord.size if bias is None else chord.size + 2 * bias.abs()
        good = size <= self.arithmetic.most
        if good.all():
            return chord
        error = torch.where(good, chord.error, torch.inf)
        return chord._replace(error=error, norm=torch.where(torch.isfinite(chord.norm), _norm(error), torch.inf))

    def _input(self, x: Tensor, d: Tensor, a: Tensor, b: Tensor) -> _Chord:
        column = (-1, *[1] * (x.ndim - 1))
        here, there = (torch.addcmul(x, t.view(column), d) for t in (a, b))
        reach = torch.maximum(a.abs(), b.abs()).view(column)
        own = 8 * _EXACT * (x.abs() + reach * d.abs())
        size = torch.maximum(here.abs(), there.abs()) + own
        unit = self.arithmetic.unit * (1 + 2.0**-20)
        least = torch.where((x != 0) | (d != 0), self.arithmetic.least, 0.0)
        return _Chord.of(here, there, self._without_exact(own + unit * size + least, here, there, x, d))

    def _without_exact(self, error: Tensor, here: Tensor, there: Tensor, x: Tensor, d: Tensor) -> Tensor:
        """No error where x is a number of the type, which nobody flushes to 0, and d is 0."""
        typed = (x.to(self.arithmetic.dtype).to(x.dtype) == x) & ((x == 0) | (x.abs() >= _FLOAT32.tiny))
        return error.masked_fill(typed & (d == 0), 0.0)

    def _constants(self, step: AffineStep) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """The sizes of a step's constants in the type, and by how much they are rounded."""
        if step.output not in self._typed:
            typed = [constant.to(self.arithmetic.dtype).to(constant.dtype) for constant in step.constants]
            off = tuple((one - other).abs() for one, other in zip(typed, step.constants))
            sizes = tuple(torch.maximum(one.abs(), other.abs()) for one, other in zip(typed, step.constants))
            self._typed[step.output] = sizes, off
        return self._typed[step.output]

    def _only_moves(self, step: AffineStep) -> bool:
        """Whether a step moves numbers about, and adds and divides none."""
        if step.terms > 1 or step.constants or step.bias is not None:
            return False
        ones = [torch.ones(1, *self.network.shapes[name], dtype=torch.float64) for name in step.inputs]
        made = self.network.derived(("moved", step.output), lambda: step.function(*ones))
        return bool(((made == 0) | (made == 1)).all())

    def _are_held(self, step: AffineStep) -> bool:
        """Whether the type has the numbers whose quotients or multiples the coefficients are."""
        limits = torch.finfo(self.arithmetic.dtype)
        sizes = [given.abs() for given in step.given]
        return all(bool(((size == 0) | ((size >= limits.tiny) & (size <= limits.max))).all()) for size in sizes)

    def _affine(self, step: AffineStep, read: list[_Chord]) -> _Chord:
        here, there = (step(*(getattr(chord, end) for chord in read)) for end in ("here", "there"))
        if self._only_moves(step):
            return _Chord.of(here, there, step.function(*(chord.error for chord in read)))
        sizes, off = self._constants(step)
        arithmetic, terms = self.arithmetic, step.terms + 4
        share = torch.full((len(here), *[1] * (here.ndim - 1)), float(terms), dtype=here.dtype, device=here.device)
        if isinstance(step.form, Matrix):
            share = torch.clamp_max((read[0].size > 0).sum(1, keepdim=True) + 4.0, terms)
        results = (3 if step.given else 2) * arithmetic.in_sums * (1 + arithmetic.unit)
        gamma = torch.where(share * _SINGLE < 0.5, share * _SINGLE / (1 - share * _SINGLE), torch.inf)
        rounding = results + (gamma + 2 * share * _EXACT) * (1 + results)
        parts = [torch.cat([chord.error, chord.size]) for chord in read]
        passed, made = (step.function(*parts, *sizes) * (1 + 4 * terms * _EXACT)).chunk(2)
        if step.bias is not None:
            typed = step.bias.to(arithmetic.dtype).to(step.bias.dtype)
            made = made + step.bias.abs()
            lost = (typed - step.bias).abs().expand(1, *step.shape)
        else:
            lost = torch.zeros(1, *step.shape, dtype=here.dtype, device=here.device)
        # No part of a sum is larger than this; a mean's is divided behind the sum.
        parts_of_sums = made * (1 + rounding) * (1 if step.constants else step.terms)
        lost = torch.where((parts_of_sums <= _FLOAT32.max) & self._are_held(step), lost, torch.inf)
        largest = torch.stack([flattened(chord.size).amax(1) for chord in read]).amax(0)
        least = (terms + 2) * arithmetic.least * (1 + largest.view(share.shape))
        made = made * rounding + lost + torch.where(made > 0, least, 0.0)
        if any(bool(part.any()) for part in off):
            made = made + step.function(*(chord.size for chord in read), *off) * (1 + 4 * terms * _EXACT)
        norms = self.network.derived((OperatorNorms, step.output), lambda: OperatorNorms.of(self.network, step))
        each = [rows * chord.norm.view(-1, *[1] * (here.ndim - 1)) for rows, chord in zip(norms.rows, read)]
        room = 1 + 2 * (len(each) + 8) * _EXACT
        by_norm = torch.stack(each).sum(0) * room
        carried = torch.stack([whole * chord.norm for whole, chord in zip(norms.whole, read)]).sum(0)
        return _Chord.of(here, there, torch.fmin(passed, by_norm) + made, (carried + _norm(made)) * room)

    def _gate(self, step: GateStep, read: _Chord) -> _Chord:
        here, there, error = (flattened(part) for part in read[:3])
        flat = _Chord(here, there, error, read.norm)
        if isinstance(step.gate, Knots):
            made = self._knots(step.gate, flat)
        elif isinstance(step.gate, Maximum):
            made = _maximum(step.gate, flat)
        else:
            made = _order_statistic(step.gate, flat)
        here, there, error = (part.view(len(part), *step.shape) for part in made[:3])
        return _Chord(here, there, error, made.norm)

    def _knots(self, gate: Knots, read: _Chord) -> _Chord:
        here, there = gate.apply(read.here), gate.apply(read.there)
        bent = torch.zeros_like(here)
        for knot, turn in zip(gate.knots, gate.slopes.diff(dim=0).abs()):
            one, other = read.here - knot, read.there - knot
            inside = (one < 0) != (other < 0)
            bent += torch.where(inside, turn * torch.minimum(one.abs(), other.abs()), 0.0)
        if gate.is_relu:
            high = torch.maximum(read.here, read.there)
            error = torch.where(high <= 0, (high + read.error).clamp_min(0), read.error)
            return _Chord.of(here, there, (error + bent) * (1 + 16 * _EXACT), self._norm_of(read, 1.0, bent))
        slope = gate.slopes.abs().amax(0)
        exact = bool(((gate.slopes == 0) | (gate.slopes.abs() == 1)).all()) and not gate.offsets.any()
        made = bent
        if not (exact and bool((gate.knots == 0).all())):
            turns = gate.slopes.diff(dim=0).abs().sum(0)
            numbers = slope * read.size + gate.offsets.abs().amax(0) + turns * gate.knots.abs().amax(0)
            unit = max(self.arithmetic.unit, _SINGLE)
            made = made + 8 * unit * numbers + 4 * self.arithmetic.least
            made = torch.where((gate.slopes.abs() <= self.arithmetic.most).all(0), made, torch.inf)
        error = (slope * read.error + made) * (1 + 16 * _EXACT)
        return _Chord.of(here, there, error, self._norm_of(read, float(slope.max()), made))

    def _norm_of(self, read: _Chord, slope: float, made: Tensor) -> Tensor:
        return (slope * read.norm + _norm(made)) * (1 + 16 * _EXACT)


def _varying(step: Step, own: torch.dtype, dtype: torch.dtype) -> str | None:
    """Why evaluations of a step in a type differ by more than the rounding of its coefficients, if they do.

    Args:
        own: what the model's input is.
    """
    operation, made = step.origin.operation, step.origin.dtype
    if "batch_norm" in operation or "instance_norm" in operation:
        return (
            "libraries compute its scale and shift in more than one way. Fold it into the layer before it "
            "(torch.nn.utils.fusion.fuse_conv_bn_eval)"
        )
    if made is not None and _is_narrower(made, own) and _is_narrower(made, dtype):
        return f"the model itself computes in {made} there, which is narrower than {dtype}"
    if step.origin.computed:
        return (
            "the model computes its numbers by several operations, which round in the type. Compute them beforehand, "
            "and keep them as parameters (torch.nn.utils.parametrize.remove_parametrizations)"
        )
    if isinstance(step, AffineStep) and step.places:
        return "libraries compute its coefficients in the type, in more than one way"
    if isinstance(step, AffineStep) and len(step.constants) > 1:
        return "libraries multiply its constants in more than one order"
    return None


def _is_narrower(one: torch.dtype, other: torch.dtype) -> bool:
    one_limits, other_limits = torch.finfo(one), torch.finfo(other)
    return one_limits.eps > other_limits.eps or one_limits.max < other_limits.max


def _maximum(gate: Maximum, read: _Chord) -> _Chord:
    """The chord of a maximum lies above the maximum of the chords, by no more than some input lacks at both ends.

    That is the one that leads half-way: at an end itself several may tie.
    """
    here, there, error = (gate.candidates(part) for part in read[:3])
    tops, leader = (here.amax(-1), there.amax(-1)), (here / 2 + there / 2).argmax(-1, keepdim=True)
    lacks = torch.maximum(*(top - own.gather(-1, leader)[..., 0] for top, own in zip(tops, (here, there))))
    error = error.amax(-1) + lacks * (1 + 8 * _EXACT)
    shared = math.sqrt(int(torch.bincount(gate.windows.flatten()).max())) if gate.windows.numel() else 0.0
    return _Chord.of(*tops, error, (shared * read.norm + _norm(lacks)) * (1 + 16 * _EXACT))


def _order_statistic(gate: OrderStatistic, read: _Chord) -> _Chord:
    """In the order of half-way, the chords are out of order by no more than at one of the ends, on all of the stretch.

    Numbers that are out of order by so much are no farther from the sorted ones, and that holds at the ends too.
    """
    here, there, error = (gate.candidates(part) for part in read[:3])
    order, inverted = (here / 2 + there / 2).argsort(-1, descending=True), torch.zeros_like(error[..., 0])
    for end in (here, there):
        ordered = end.gather(-1, order)
        inverted = torch.maximum(inverted, (ordered - ordered.cummin(-1).values).amax(-1))
    error = error.amax(-1) + 2 * inverted * (1 + 8 * _EXACT)
    return _Chord.of(gate.apply(read.here), gate.apply(read.there), error)
