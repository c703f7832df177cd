"""Enclosures of the ends of intervals by a few neighbouring float64 numbers, proven.

That the class of x holds up to a true end within a known distance of a computed one, t, and which class is beyond, the
walk has proven already. That distance can be larger than the interval.
Here the network is evaluated once more at t itself, in twice the working precision:

- Every unit that is farther from its knots than rounding and that distance allow for keeps its sign on the whole
  stretch. So the difference of the two logits is affine there: g(s) = g(t) + β (s − t).
- The true end is its only zero there, t − g(t) / β. Little of g(t) is left by cancellation, but double-double
  arithmetic keeps enough of it; β needs only the working precision, since the correction is small beside t.

Bounds: a double-double dot product of n terms is within γ_{n+4}² Σ |a_i||v_i| of the true one (Ogita, Rump, Oishi,
"Accurate sum and dot product", SIAM Journal on Scientific Computing 26, 2005, proposition 5.5, without the last
rounding: the result stays a sum of two floats; the small parts of the v_i add terms no larger than those it counts).
Products in the working precision are within γ_n Σ |a_i||v_i| (Higham, Accuracy and Stability of Numerical Algorithms,
2nd edition, section 3.1). γ_n = n u / (1 − n u); twice the terms are taken, for the rounding of the bounds themselves.

What stays undecided, and networks other than a chain of matrices and gates with knots, are settled in rational
arithmetic on the stretch alone, as far as it lies on the end's own side of 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec

import torch
from torch import Tensor

from relu_regions.exactness.rational.arithmetic import Point
from relu_regions.exactness.rational.coefficients import ExactNetwork
from relu_regions.exactness.rational.interval import end_between
from relu_regions.exactness.resolving import Heard, without_limit
from relu_regions.lines.decision import Decision
from relu_regions.network.gates import Knots
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep
from relu_regions.network.taking import keeps_order
from relu_regions.walking.settle import nearest

__all__ = ["Ends", "enclose"]

_UNIT, _TINY = 2.0**-53, 2.0**-1022


@dataclass(frozen=True)
class Ends:
    """Ends of intervals at which a class takes over; all ``(K,)``.

    Attributes:
        x, d: the lines, ``(K, *input_shape)`` float64, on the CPU.
        t: the computed ends.
        error: rigorous bounds of how far the true ends are from these.
        label, beyond: the classes whose logits cross.
        upper: whether each is the upper end of its interval, bool; else the lower one.
    """

    x: Tensor
    d: Tensor
    t: Tensor
    error: Tensor
    label: Tensor
    beyond: Tensor
    upper: Tensor

    def __getitem__(self, chosen: Tensor) -> Ends:
        parts = (self.x, self.d, self.t, self.error, self.label, self.beyond, self.upper)
        return Ends(*(part[chosen] for part in parts))


def enclose(
    network: Network, ends: Ends, decision: Decision, heard: Heard = without_limit
) -> tuple[Tensor, Tensor, Tensor]:
    """Floats below and above each true end, and whether rational arithmetic was needed; ``(K,)`` each.

    The floats are infinite where exact arithmetic contradicts what is said of the end.

    Args:
        network: in float64, on the CPU.
        ends: as the walk has proven them.
        decision: between the classes that compete.
        heard: told how many ends rational arithmetic has done.
    """
    below, above = torch.full_like(ends.t, -torch.inf), torch.full_like(ends.t, torch.inf)
    layers = _layers(network) if find_spec("numba") is not None else None
    if layers is not None and len(ends.t):
        below, above = _in_double_double(layers, ends, decision)
    needed = ~(torch.isfinite(below) & torch.isfinite(above))
    numbers = needed.nonzero()[:, 0].tolist()
    if numbers:
        exact = ExactNetwork(network)
        for done, number in enumerate(numbers):
            heard(done)
            end = _rational_end(exact, ends[torch.tensor([number])], decision)
            below[number], above[number] = (-math.inf, math.inf) if end is None else _neighbours(end)
    return below, above, needed


# ---------------------------------------------------------------- double-double


@dataclass(frozen=True)
class _Matrix:
    columns: Tensor
    high: Tensor
    low: Tensor
    bias: Tensor
    gain: float


def _layers(network: Network) -> list[_Matrix | Knots] | None:
    """A chain of matrices and gates with knots; None for a network that is none."""
    layers: list[_Matrix | Knots] = []
    name, shape = network.input_name, network.input_shape
    for step in network.steps:
        if step.inputs != (name,):
            return None
        if not isinstance(step, AffineStep):
            if not isinstance(step.gate, Knots):
                return None
            units = step.units
            layers.append(Knots(*(p.expand(-1, units).contiguous() for p in step.gate.parts)))
        elif step.is_matrix:
            layers.append(_matrix(step))
        elif not keeps_order(step, shape):
            return None
        name, shape = step.output, step.shape
    return layers


def _matrix(step: AffineStep) -> _Matrix:
    from relu_regions.exactness import double_double

    columns = step.columns
    high, low = torch.empty_like(columns), torch.empty_like(columns)
    double_double.split(columns.numpy(), high.numpy(), low.numpy())
    bias = columns.new_zeros(columns.shape[1]) if step.bias is None else step.bias.reshape(-1).contiguous()
    return _Matrix(columns, high, low, bias, float(columns.abs().sum(0).max()))


def _gamma(terms: int) -> float:
    return 2 * terms * _UNIT / (1 - 2 * terms * _UNIT)


def _in_double_double(layers: list[_Matrix | Knots], ends: Ends, decision: Decision) -> tuple[Tensor, Tensor]:
    """The enclosures; infinite where a unit's sign or the crossing is not decided."""
    from relu_regions.exactness import double_double

    x, growth = ends.x.flatten(1).contiguous(), ends.d.flatten(1).clone()
    hi, lo = torch.empty_like(x), torch.empty_like(x)
    double_double.on_line(x.numpy(), growth.numpy(), ends.t.numpy(), hi.numpy(), lo.numpy())
    bound = 16 * _UNIT**2 * (x.abs() + (ends.t[:, None] * growth).abs()).amax(1) + 16 * _TINY
    slope_error = torch.zeros_like(bound)
    reach, undecided = ends.error * (1 + 8 * _UNIT), torch.zeros_like(ends.label)
    for layer in layers:
        size = hi.abs().amax(1) + bound
        if isinstance(layer, Knots):
            arrays = [*layer.parts, bound, reach, slope_error, hi, lo, growth, undecided]
            double_double.bend(*(array.numpy() for array in arrays))
            steepest, offset = layer.slopes.abs().max(), layer.offsets.abs().max()
            bound = steepest * bound + 32 * _UNIT**2 * (steepest * size + offset) + 16 * _TINY
            slope_error = steepest * slope_error + 4 * _UNIT * growth.abs().amax(1)
        else:
            count, width = layer.columns.shape
            out_hi, out_lo = hi.new_empty(len(hi), width), hi.new_empty(len(hi), width)
            arrays = [layer.columns, layer.high, layer.low, layer.bias, hi, lo, out_hi, out_lo]
            double_double.multiply(*(array.numpy() for array in arrays))
            slope_error = (
                layer.gain * slope_error + _gamma(count + 4) * layer.gain * growth.abs().amax(1) + count * _TINY
            )
            total = layer.gain * size + layer.bias.abs().max()
            bound = layer.gain * bound + _gamma(count + 4) ** 2 * total + 16 * count * _TINY
            hi, lo, growth = out_hi, out_lo, growth @ layer.columns
    hi, lo, growth = (decision.logits(part) for part in (hi, lo, growth))
    ends = replace(ends, label=decision.places(ends.label), beyond=decision.places(ends.beyond))
    below, above = _crossings(ends, hi, lo, growth, bound, slope_error)
    decided = (undecided == 0) & (above - below < torch.inf)
    return torch.where(decided, below, -torch.inf), torch.where(decided, above, torch.inf)


def _crossings(
    ends: Ends, hi: Tensor, lo: Tensor, growth: Tensor, bound: Tensor, slope_error: Tensor
) -> tuple[Tensor, Tensor]:
    """Where two logits cross, from the values and growth of all at t; classes are columns of these."""
    label, beyond = ends.label[:, None], ends.beyond[:, None]
    (own_hi, other_hi), (own_lo, other_lo), (own_growth, other_growth) = (
        (part.gather(1, label)[:, 0], part.gather(1, beyond)[:, 0]) for part in (hi, lo, growth)
    )
    # TwoSum of the large parts: what cancels is exact.
    gap = own_hi - other_hi
    part = gap - own_hi
    lost = (own_hi - (gap - part)) - (other_hi + part)
    small = lost + (own_lo - other_lo)
    gap_error = 2 * bound + 4 * _UNIT * (lost.abs() + own_lo.abs() + other_lo.abs()) + 4 * _UNIT * (gap + small).abs()
    change = own_growth - other_growth
    change_error = 2 * slope_error + 4 * _UNIT * change.abs()
    step = (gap + small) / change
    room = change.abs() - change_error
    radius = ((gap_error + step.abs() * change_error) / room + 4 * _UNIT * step.abs()) * (1 + 16 * _UNIT)
    sure = (room > 0) & (step.abs() + radius <= ends.error)
    radius = torch.where(sure, radius, torch.inf)
    infinity = torch.full_like(step, torch.inf)
    below = torch.nextafter(ends.t - (step + radius), -infinity)
    above = torch.nextafter(ends.t - (step - radius), infinity)
    return below, above


# ---------------------------------------------------------------- rational


def _rational_end(network: ExactNetwork, end: Ends, decision: Decision) -> Fraction | None:
    """The true end near a computed one; None if the class does not end near there as is said.

    The class holds from 0 up to the true end, so that is where it ends first on the part of the stretch that lies on
    the end's own side of 0. There may be other ends in the stretch: the next one, and the one beyond 0.
    """
    away = max(Fraction(end.error.item()), Fraction(math.ulp(end.t.item())))
    upper = bool(end.upper)
    t, d = Fraction(end.t.item()), end.d[0]
    if not upper:
        t, d = -t, -d
    start, stop = Point.of(max(Fraction(0), t - away)), Point.of(t + away)
    found = end_between(network, end.x[0], d, start, stop, int(end.label), decision)
    if found is None or found[1] != int(end.beyond):
        return None
    point = Fraction(found[0].numerator, found[0].denominator)
    return point if upper else -point


def _neighbours(end: Fraction) -> tuple[float, float]:
    near = nearest(end)
    below = near if near <= end else math.nextafter(near, -math.inf)
    return below, near if near >= end else math.nextafter(near, math.inf)
