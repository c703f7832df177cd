"""Affine arithmetic: sums, and products with constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from relu_regions.network.reading.operations.registry import (
    Call,
    as_constant,
    check_broadcast,
    only_first_is_value,
    register,
)
from relu_regions.network.reading.operations.values import Value
from relu_regions.network.steps import Step

__all__: list[str] = []


def _sum_of(call: Call, left: Any, right: Any, left_sign: float, right_sign: float) -> list[Step]:
    """left_sign * left + right_sign * right, either of them a value or a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        if len(left.shape) != len(right.shape) or left.layout != right.layout:
            raise call.refuse(f"it broadcasts values of shapes {left.shape} and {right.shape} across the batch")
        if left_sign == right_sign == 1:
            return [call.affine([left, right], torch.add, terms=2)]
        signs = torch.tensor([left_sign, right_sign], dtype=torch.float64)
        return [call.affine([left, right], lambda a, b, c: c[0] * a + c[1] * b, constants=(signs,), terms=2)]
    value, sign, constant, factor = (left, left_sign, right, right_sign)
    if not isinstance(left, Value):
        value, sign, constant, factor = (right, right_sign, left, left_sign)
    bias = as_constant(constant) * factor
    given = () if abs(factor) == 1 else (as_constant(constant), as_constant(factor))
    check_broadcast(call, value, bias)
    bias = bias.expand(1, *call.shape) if bias.numel() > 1 else bias
    shape = call.shape
    if sign == 1:
        return [call.affine([value], lambda points: points.expand(points.shape[0], *shape), bias=bias, given=given)]
    factors = torch.tensor(sign, dtype=torch.float64)
    return [
        call.affine(
            [value],
            lambda points, c: (c * points).expand(points.shape[0], *shape),
            constants=(factors,),
            bias=bias,
            given=given,
        )
    ]


@register("add")
def _add(call: Call) -> list[Step]:
    return _sum_of(call, call.args[0], call.args[1], 1.0, float(call.argument(2, "alpha", 1)))


@register("sub")
def _sub(call: Call) -> list[Step]:
    return _sum_of(call, call.args[0], call.args[1], 1.0, -float(call.argument(2, "alpha", 1)))


@register("rsub")
def _rsub(call: Call) -> list[Step]:
    return _sum_of(call, call.args[1], call.args[0], 1.0, -float(call.argument(2, "alpha", 1)))


@register("mul")
def _mul(call: Call) -> list[Step]:
    left, right = call.args
    if isinstance(left, Value) and isinstance(right, Value):
        raise call.refuse(
            "it multiplies two tensors that both depend on the network's input, which is not piecewise linear"
        )
    value, factor = (left, as_constant(right)) if isinstance(left, Value) else (right, as_constant(left))
    return _scaled(call, value, factor)


@register("div")
def _div(call: Call) -> list[Step]:
    value, divisor = call.args[:2]
    if isinstance(divisor, Value):
        raise call.refuse("it divides by a tensor that depends on the network's input, which is not piecewise linear")
    if call.kwargs.get("rounding_mode") is not None:
        raise call.refuse("division with rounding is not continuous")
    return _scaled(call, value, 1 / as_constant(divisor), given=(as_constant(divisor),))


@register("pow")
def _pow(call: Call) -> list[Step]:
    value, exponent = call.args[:2]
    if not isinstance(value, Value) or isinstance(exponent, (Value, Tensor)) or exponent != 1:
        raise call.refuse("pow is curved for any exponent but 1")
    return [call.affine([value], lambda points: points)]


@register("neg")
def _neg(call: Call) -> list[Step]:
    return _scaled(call, only_first_is_value(call), torch.tensor(-1.0, dtype=torch.float64))


def _scaled(call: Call, value: Value, factor: Tensor, given: tuple[Tensor, ...] = ()) -> list[Step]:
    check_broadcast(call, value, factor)
    if not torch.isfinite(factor).all():
        raise call.refuse("its constant factor is not finite")
    return [call.affine([value], torch.mul, constants=(factor,), given=given)]
