"""Norms and distances that are piecewise linear: of absolute values the sum, the largest or the smallest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Knots
from relu_regions.network.reading.operations.registry import OPERATIONS, Call, only_first_is_value, register
from relu_regions.network.reading.operations.values import STANDARD, Value
from relu_regions.network.steps import AffineStep, GateStep, Step

__all__: list[str] = []


@register("linalg_vector_norm", "norm")
def _norm(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    order = next((given for name, _, given in call.named() if name in ("p", "ord")), 2)
    return _norm_of(call, value, order, call.argument(2, "dim"), bool(call.argument(3, "keepdim", False)))


@register("_cdist_forward", "cdist")
def _distances(call: Call) -> list[Step]:
    value, others = only_first_is_value(call), call.args[1]
    if value.layout != STANDARD or call.layout != STANDARD:
        raise call.refuse("only its first argument may depend on the network's input, and the batch must be in front")
    shape = (*call.shape, value.shape[-1])
    difference = Value(f"{call.name}.difference", shape)
    bias = -others.to(torch.float64).unsqueeze(-3)

    def spread(points: Tensor) -> Tensor:
        return points.unsqueeze(-2).expand(points.shape[0], *shape)

    step = AffineStep(difference.name, (value.name,), shape, call.origin, spread, bias=bias)
    return [step, *_norm_of(call, difference, call.argument(2, "p", 2), [-1], False)]


def _norm_of(call: Call, value: Value, order: Any, dimensions: Any, keep: bool) -> list[Step]:
    """The absolute values, and what becomes of them."""
    reductions = {1.0: (torch.ops.aten.sum.dim_IntList, "sum"), math.inf: (torch.ops.aten.amax.default, "amax"),
                  -math.inf: (torch.ops.aten.amin.default, "amin")}  # fmt: skip
    if order is None or float(order) not in reductions:
        raise call.refuse(f"the norm of order {order} is curved; those of order 1 and infinity are piecewise linear")
    target, name = reductions[float(order)]
    sizes = replace(value, name=f"{call.name}.sizes")
    gate = GateStep(sizes.name, (value.name,), value.shape, call.origin, Knots.of([0], [-1, 1], [0, 0]))
    reduced = replace(call, target=target, args=(sizes, dimensions, keep), kwargs={})
    return [gate, *OPERATIONS[name](reduced)]
