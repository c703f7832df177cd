"""Elementwise piecewise-linear activations."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Knots
from relu_regions.network.reading.operations.maximum import elementwise_maximum
from relu_regions.network.reading.operations.registry import Call, only_first_is_value, register
from relu_regions.network.reading.operations.values import Value
from relu_regions.network.steps import AffineStep, GateStep, Step

__all__: list[str] = []


@register("relu")
def _relu(call: Call) -> list[Step]:
    return [call.gate(only_first_is_value(call), Knots.of([0], [0, 1], [0, 0]))]


@register("leaky_relu")
def _leaky_relu(call: Call) -> list[Step]:
    slope = float(call.argument(1, "negative_slope", 0.01))
    return [call.gate(only_first_is_value(call), Knots.of([0], [slope, 1], [0, 0]))]


@register("rrelu", "rrelu_with_noise")
def _rrelu(call: Call) -> list[Step]:
    first = 1 if call.origin.operation == "rrelu" else 2
    lower, upper = (
        float(call.argument(first, "lower", 1 / 8)),
        float(call.argument(first + 1, "upper", 1 / 3)),
    )
    if call.argument(first + 2, "training", False):
        raise call.refuse("RReLU in training mode is random; call model.eval()")
    return [call.gate(call.args[0], Knots.of([0], [(lower + upper) / 2, 1], [0, 0]))]


@register("prelu", "_prelu_kernel", row_by_row=True)
def _prelu(call: Call) -> list[Step]:
    value, slopes = only_first_is_value(call), call.args[1].reshape(-1)
    if slopes.numel() > 1:
        channels = slopes.view(-1, *[1] * (len(value.shape) - 1))
        slopes = channels.expand(value.shape).reshape(-1)
    zero = torch.zeros_like(slopes)
    gate = Knots(zero.view(1, -1), torch.stack([slopes, torch.ones_like(slopes)]), torch.stack([zero, zero]))
    return [call.gate(value, gate)]


def _clamp_gate(lower: float, upper: float) -> Knots:
    if lower >= upper:  # torch.clamp answers the upper bound everywhere
        return Knots.of([upper], [0, 0], [upper, upper])
    if math.isinf(lower):
        return Knots.of([upper], [1, 0], [0, upper])
    if math.isinf(upper):
        return Knots.of([lower], [0, 1], [lower, 0])
    return Knots.of([lower, upper], [0, 1, 0], [lower, 0, upper])


def _clamp_between(call: Call, lower: Any, upper: Any) -> list[Step]:
    if isinstance(lower, (Tensor, Value)) or isinstance(upper, (Tensor, Value)):
        return _clamp_by_tensors(call, lower, upper)
    value = only_first_is_value(call)
    low = -math.inf if lower is None else float(lower)
    high = math.inf if upper is None else float(upper)
    if low == -math.inf and high == math.inf:
        return [call.affine([value], lambda points: points)]
    if math.isnan(low) or math.isnan(high) or low == math.inf or high == -math.inf:
        raise call.refuse(f"clamp between {low} and {high} has no finite result")
    return [call.gate(value, _clamp_gate(low, high))]


def _clamp_by_tensors(call: Call, lower: Any, upper: Any) -> list[Step]:
    """The larger of the input and the lower bounds, and of that and the upper bounds the smaller, as torch has it."""
    if lower is None or upper is None:
        bounds, sign = (upper, -1) if lower is None else (lower, 1)
        return elementwise_maximum(replace(call, args=(call.args[0], bounds)), sign)
    above = replace(call, name=f"{call.name}.above", args=(call.args[0], lower))
    raised = Value(above.name, call.shape, call.layout)
    return [*elementwise_maximum(above, 1), *elementwise_maximum(replace(call, args=(raised, upper)), -1)]


@register("clamp", "clip")
def _clamp(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min"), call.argument(2, "max"))


@register("clamp_min")
def _clamp_min(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min"), None)


@register("clamp_max")
def _clamp_max(call: Call) -> list[Step]:
    return _clamp_between(call, None, call.argument(1, "max"))


@register("hardtanh")
def _hardtanh(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min_val", -1), call.argument(2, "max_val", 1))


@register("relu6")
def _relu6(call: Call) -> list[Step]:
    return _clamp_between(call, 0, 6)


@register("hardsigmoid")
def _hardsigmoid(call: Call) -> list[Step]:
    # clamp(z + 3, 0, 6) / 6: the gate itself then has exact coefficients and is exactly continuous.
    value = only_first_is_value(call)
    shifted, clamped = Value(f"{call.name}.shifted", value.shape), Value(f"{call.name}.clamped", value.shape)
    three, sixth = (torch.tensor(number, dtype=torch.float64) for number in (3.0, 1 / 6))
    return [
        AffineStep(shifted.name, (value.name,), value.shape, call.origin, lambda points: points, bias=three),
        GateStep(clamped.name, (shifted.name,), value.shape, call.origin, _clamp_gate(0.0, 6.0)),
        call.affine([clamped], torch.mul, constants=(sixth,)),
    ]


@register("abs")
def _abs(call: Call) -> list[Step]:
    return [call.gate(only_first_is_value(call), Knots.of([0], [-1, 1], [0, 0]))]


@register("softshrink")
def _softshrink(call: Call) -> list[Step]:
    width = float(call.argument(1, "lambd", 0.5))
    gate = Knots.of([-width, width], [1, 0, 1], [width, 0, -width]) if width else Knots.of([0], [1, 1], [0, 0])
    return [call.gate(only_first_is_value(call), gate)]


@register("threshold")
def _threshold(call: Call) -> list[Step]:
    knot, filling = float(call.args[1]), float(call.args[2])
    if knot != filling:
        raise call.refuse(f"threshold({knot}, {filling}) jumps at {knot}, so it is not continuous")
    return [call.gate(only_first_is_value(call), Knots.of([knot], [0, 1], [knot, 0]))]
