"""Numbers on grids of powers of two, whose products and sums are exact in float64, and coefficients split into such.

A *grid* is a power of two g; a number is on it if it is a multiple of g. Sums of numbers on one grid are exact, in any
order, while the sum of their absolute values is 2⁵³ g at most, and a product of numbers on g and h is on g h. So a
product of matrices whose entries are on grids is exact if a bound of Σ |a| |v| says so.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from relu_regions.exactness.error_free import two_product
from relu_regions.network.network import Network
from relu_regions.network.steps import AffineStep, GateStep

__all__ = [
    "Coefficients",
    "Pair",
    "bits_of",
    "blockwise_largest",
    "grid_above",
    "in_range",
    "on_grid",
    "pair_of",
]

_UNIT = 2.0**-53
# Grids lie between 2^-400 and 2^900, so that neither their products nor what rounds to them leave the range of floats.
_LOWEST, _HIGHEST = -400, 900
# Coefficients beyond these are not split: their products with numbers on grids could underflow or overflow.
_SMALLEST, _LARGEST = 2.0**-300, 2.0**300
# Room for carries: a number has at most 2^bits and so many units.
_CARRIES = 64


def bits_of(digits: int) -> int:
    """How many bits a digit of a value has, where a value has so many."""
    return 24 if digits == 1 else 20


def grid_above(top: Tensor, bits: int) -> Tensor:
    """The power of two g with top <= 2^bits g, the least within the range of grids; of top's shape."""
    exponent = torch.frexp(top.clamp(0.0, 2.0**1000)).exponent.long() - bits
    # Its bits, since no function is sure to give an exact power.
    return ((exponent.clamp(_LOWEST, _HIGHEST) + 1023) << 52).view(torch.float64)


def on_grid(numbers: Tensor, grid: Tensor | float) -> Tensor:
    """The nearest numbers on a grid, exact for numbers of less than 2^51 times it."""
    far = grid * 6755399441055744.0  # 1.5 * 2^52
    return (numbers + far).sub_(far)


def blockwise_largest(numbers: Tensor) -> Tensor:
    """The largest absolute number of each block, ``(B,)`` from ``(B, …)``."""
    largest: Tensor = torch.linalg.vector_norm(numbers.flatten(1), float("inf"), dim=1)
    return largest


class Pair(NamedTuple):
    """A step's coefficients and bias in full: each is the sum of two floats, but for 2⁻¹⁰⁰ of itself.

    Attributes:
        constant, bias: floats, the nearest to the sums; the bias may be None.
        constant_rest, bias_rest: the rest; None where it is 0.
    """

    constant: Tensor
    constant_rest: Tensor | None
    bias: Tensor | None
    bias_rest: Tensor | None


def pair_of(network: Network, step: AffineStep) -> Pair | None:
    """What a step with one constant multiplies by, which folding a batch norm into it has rounded.

    Args:
        network: as it was read.
        step: of that network, or of the one with batch norms folded.

    Returns:
        None where two batch norms were folded into one step, or where a product underflows.
    """
    found = {other.output: other for other in network.steps}
    second = found[step.output]
    if isinstance(second, GateStep):
        return None
    if second is step:
        return Pair(second.constants[0], None, second.bias, None)
    first = found[second.inputs[0]]
    if isinstance(first, GateStep) or first.form is None or not second.elementwise:
        return None
    kernel = first.constants[0]
    scale = second.constants[0].reshape(-1, *[1] * (kernel.ndim - 1))
    product, rest = two_product(kernel, scale)
    if not in_range(kernel) or not in_range(scale) or product.shape != step.constants[0].shape:
        return None
    return Pair(product, rest, *_bias(step, scale.reshape(-1), first.bias, second.bias))


def _bias(step: AffineStep, scale: Tensor, first: Tensor | None, second: Tensor | None) -> tuple[Tensor | None, ...]:
    """``scale * first + second`` as two floats."""
    if step.bias is None:
        return None, None
    one, two = (torch.zeros_like(scale) if bias is None else bias.reshape(-1) for bias in (first, second))
    rows = zip(*(numbers.tolist() for numbers in (scale, one, two)))
    exact = [Fraction(a) * Fraction(b) + Fraction(c) for a, b, c in rows]
    high = [float(number) for number in exact]
    low = [float(number - Fraction(part)) for number, part in zip(exact, high)]
    shaped = (
        torch.tensor(part, dtype=torch.float64, device=scale.device).view(step.bias.shape) for part in (high, low)
    )
    return tuple(shaped)


def in_range(numbers: Tensor) -> bool:
    """Whether coefficients are 0 or of a size that is split."""
    size = numbers.abs()
    return bool(((size == 0) | ((size >= _SMALLEST) & (size <= _LARGEST))).all())


class Coefficients(NamedTuple):
    """A step's coefficients W as exact digits C_0, C_1, … and what is left of W below each.

    Attributes:
        digits: m tensors of the constant's shape, each on a grid of its own, that of the next 2^bits times as fine.
        rests: ``W - C_0 - … - C_{k-1}`` for k from 0 to m, rounded to float64.
    """

    digits: tuple[Tensor, ...]
    rests: tuple[Tensor, ...]

    @classmethod
    def of(cls, pair: Pair, row_sums: Callable[[Tensor], Tensor], digits: int) -> Coefficients | None:
        """Split them so that products with values of as many digits are exact; None where that can't be.

        Args:
            row_sums: the sums of each output number's coefficients, from such that are not negative.
        """
        if not in_range(pair.constant) or not pair.constant.numel():
            return None
        bits = bits_of(digits)
        high, low = pair.constant, pair.constant_rest
        whole = row_sums(high.abs()).max()
        grid = grid_above(whole, 53 - bits - digits - (digits > 1))
        found, rests, units = [], [high], torch.zeros_like(whole)
        for number in range(digits):
            own = grid * 2.0 ** (-bits * number)
            digit = on_grid(high, own)
            found.append(digit)
            high = high - digit  # exact
            rests.append(high if low is None else high + low)
            units = units + row_sums(digit.abs()).max() / own
        room = 1 + 2 * pair.constant.numel() * _UNIT
        if (
            not float(units) * room * (2.0**bits + _CARRIES) <= 2.0**53
            or float(grid) * 2.0 ** (-bits * digits) < 2.0**-400
        ):
            return None
        return cls(tuple(found), tuple(rests))
