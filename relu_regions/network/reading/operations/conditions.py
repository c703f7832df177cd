"""Functions with a knot that are written by comparisons: ``where(x > 0, x, 0)``, ``x * (x > 0)``, ``x.sign() * x``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from relu_regions.network.gates import Knots
from relu_regions.network.reading.operations.registry import Call, UnsupportedOperation
from relu_regions.network.reading.operations.values import Value
from relu_regions.network.steps import AffineStep, Step

__all__ = ["Condition", "compared", "selected"]


@dataclass(frozen=True)
class Condition:
    """A tensor that is one number where a value is above a threshold, and another one below it.

    Attributes:
        value: what is compared.
        threshold: of each of its numbers, ``(units,)`` float64.
        above, below: the numbers: 1 and 0 for a comparison, 1 and -1 for a sign.
        call: the comparison.
    """

    value: Value
    threshold: Tensor
    above: float
    below: float
    call: Call

    def refuse(self) -> UnsupportedOperation:
        """The error where nothing continuous is made of it."""
        operation = self.call.origin.operation
        return self.call.refuse(f"{operation} gives an answer that jumps, and what is made of it does too")

    def refuse_between(self, knot: float, below: float, above: float, jump: float) -> UnsupportedOperation:
        """The error where two sides do not meet.

        Args:
            knot: the threshold.
            below, above: what the sides are there, rounded.
            jump: how far they are apart.
        """
        rounding = jump <= 8 * torch.finfo(torch.float64).eps * max(abs(below), abs(above), abs(knot))
        instead = (
            "by rounding alone: write the difference from the threshold once, and compare that with 0, as in "
            "y = x - c and where(y > 0, y, 0.1 * y)"
            if rounding
            else "so the answer jumps there"
        )
        return self.call.refuse(
            f"the sides of {self.call.origin.operation} are {below:.6g} and {above:.6g} at the threshold {knot:.6g}, "
            f"{jump:.3g} apart, {instead}"
        )


class _Piece(NamedTuple):
    """``slope * x + offset``, ``(units,)`` each, and whether the model makes that by several operations."""

    slope: Tensor
    offset: Tensor
    several: bool = False


def compared(call: Call) -> Condition | None:
    """What a comparison of a value with constants makes; None for other operations."""
    if call.origin.operation in ("sign", "sgn"):
        return Condition(call.args[0], torch.zeros(prod(call.args[0].shape), dtype=torch.float64), 1, -1, call)
    if call.origin.operation not in ("gt", "ge", "lt", "le"):
        return None
    first, second = call.args[:2]
    if isinstance(first, Value) and isinstance(second, Value):
        return None
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    threshold = _spread(call, value, constant)
    above = (call.origin.operation in ("gt", "ge")) == isinstance(first, Value)
    return Condition(value, threshold, float(above), float(not above), call)


def selected(call: Call, steps: Mapping[str, Step]) -> list[Step] | Condition:
    """The gate that a condition and values that follow from what it compares make together.

    Args:
        call: with conditions among its arguments.
        steps: that there are so far, by what they make.

    Raises:
        UnsupportedOperation: the result jumps, or is made of other values.
    """
    operation = call.origin.operation
    condition = next((argument for argument in call.args if isinstance(argument, Condition)), None)
    if condition is None:  # among others in a list
        raise call.refuse("it takes comparisons of values, which jump")
    if operation in ("_to_copy", "to", "type_as", "clone", "contiguous", "detach", "alias", "float", "double"):
        return condition
    if operation in ("logical_not", "bitwise_not") and condition.below != -1:
        return replace(condition, above=condition.below, below=condition.above)
    if operation == "mul":
        other = call.args[1] if call.args[0] is condition else call.args[0]
        pieces = [_times(_piece(call, condition, other, steps, side), factor) for side, factor in _sides(condition)]
    elif operation in ("where", "masked_fill") and condition.below != -1:
        chosen, otherwise = call.args[1:3] if operation == "where" else (call.args[2], call.args[0])
        pieces = [
            _piece(call, condition, chosen if holds else otherwise, steps, side) for side, holds in _sides(condition)
        ]
    else:
        raise condition.refuse()
    return _gate(call, condition, *pieces)


def _sides(condition: Condition) -> list[tuple[int, float]]:
    return [(-1, condition.below), (1, condition.above)]


def _times(piece: _Piece, factor: float) -> _Piece:
    return _Piece(piece.slope * factor, piece.offset * factor, piece.several)


def _spread(call: Call, value: Value, constant: Any) -> Tensor:
    try:
        spread = torch.as_tensor(constant, dtype=torch.float64).expand(value.traced)
    except RuntimeError:
        raise call.refuse(f"it compares a value of shape {value.shape} with numbers of another shape") from None
    return spread.reshape(-1)


def _piece(call: Call, condition: Condition, operand: Any, steps: Mapping[str, Step], side: int) -> _Piece:
    """What an operand is of the compared value, below its threshold (side -1) or above it (1)."""
    value = condition.value
    if isinstance(operand, Condition):
        raise condition.refuse()
    if not isinstance(operand, Value):
        number = _spread(call, value, operand)
        return _Piece(torch.zeros_like(number), number)
    path: list[Step] = []
    name = operand.name
    while name != value.name:
        step = steps.get(name)
        if step is None or len(step.inputs) != 1 or step.shape != value.shape:
            raise condition.refuse()
        path.append(step)
        name = step.inputs[0]
    piece = _Piece(torch.ones_like(condition.threshold), torch.zeros_like(condition.threshold))
    for step in reversed(path):
        made = _scaled(step, piece) if isinstance(step, AffineStep) else _bent(step.gate, piece, condition, side)
        if made is None:
            raise condition.refuse()
        piece = made
    affine = [step for step in path if isinstance(step, AffineStep)]
    return piece._replace(several=len(affine) > 1 or any(step.given for step in affine))


def _scaled(step: AffineStep, piece: _Piece) -> _Piece | None:
    """A piece after a step that multiplies each number of its own by a constant; None after another step.

    With ones for constants the coefficients of an output are not negative. So if the mean of the places that it reads
    is its own, and their variance 0, it reads no other.
    """
    places = torch.arange(prod(step.shape), dtype=torch.float64).view(step.shape)
    given = torch.stack([torch.ones_like(places), places, places**2])
    total, mean, square = step.function(given, *(torch.ones_like(constant) for constant in step.constants))
    if not torch.equal(mean, total * places) or not torch.equal(square, total * places**2):
        return None
    ones = torch.ones(1, *step.shape, dtype=torch.float64)
    factor = step.linear(ones)
    bias = torch.zeros_like(ones) if step.bias is None else step.bias.expand_as(ones)
    factor, bias = factor.reshape(-1), bias.reshape(-1)
    return _Piece(factor * piece.slope, factor * piece.offset + bias)


def _bent(gate: Any, piece: _Piece, condition: Condition, side: int) -> _Piece | None:
    """A piece after a gate; None where the gate bends on this side of the threshold."""
    plain = (piece.offset == 0) & ((condition.threshold == 0) | (piece.slope.abs() == 1)) & (piece.slope != 0)
    if not isinstance(gate, Knots) or not plain.all():
        return None
    start, upwards = piece.slope * condition.threshold, piece.slope * side > 0
    if not (torch.where(upwards, gate.knots <= start, gate.knots >= start)).all():
        return None
    last = gate.slopes.shape[0] - 1
    slopes, offsets = (numbers.expand(-1, len(start)) for numbers in (gate.slopes, gate.offsets))
    slope, offset = (torch.where(upwards, numbers[last], numbers[0]) for numbers in (slopes, offsets))
    return _Piece(slope * piece.slope, offset)


def _gate(call: Call, condition: Condition, below: _Piece, above: _Piece) -> list[Step]:
    several = below.several or above.several or condition.call.origin.computed or call.origin.computed
    call = replace(call, origin=replace(call.origin, computed=several))
    value, rows = condition.value, torch.stack([condition.threshold, *below[:2], *above[:2]])
    if value.shape != call.shape or value.layout != call.layout:
        raise condition.refuse()
    distinct: Tensor = torch.unique(rows, dim=1)
    for knot, slope, offset, other_slope, other_offset in distinct.T.tolist():
        ends = [Fraction(a) * Fraction(knot) + Fraction(b) for a, b in ((slope, offset), (other_slope, other_offset))]
        if ends[0] != ends[1]:
            raise condition.refuse_between(knot, float(ends[0]), float(ends[1]), abs(float(ends[1] - ends[0])))
    rows = distinct if distinct.shape[1] == 1 else rows
    if torch.equal(rows[1:3], rows[3:5]):
        shape = (1, *value.shape) if rows.shape[1] > 1 else ()
        return [call.affine([value], torch.mul, constants=(rows[1].view(shape),), bias=rows[2].view(shape))]
    return [call.gate(value, Knots(rows[:1], rows[[1, 3]], rows[[2, 4]]))]
