"""Operations on tensors that don't have the batch in front alone: a member's part is several rows there."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Knots, Maximum, OrderStatistic
from relu_regions.network.reading.operations.registry import ROW_BY_ROW, Call, Handler
from relu_regions.network.reading.operations.values import Value, values_in
from relu_regions.network.steps import AffineStep, GateStep, Step

__all__ = ["in_rows"]


def in_rows(handler: Handler, call: Call) -> list[Step]:
    """The steps of a call in another layout than the standard one.

    Most handlers know layouts. Those that act on each row of the first axis alone make the steps of one row, and a
    member's part is so many rows.
    """
    if call.origin.operation not in ROW_BY_ROW:
        return handler(call)
    values = values_in([*call.args, *call.kwargs.values()])
    count = call.shape[0] if call.shape else 0
    if any(value.layout != call.layout or value.shape[:1] != (count,) or value.absent is not None for value in values):
        raise call.refuse("it changes how the members of the batch are laid out")

    def row_of(argument: Any) -> Any:
        return Value(argument.name, argument.shape[1:]) if isinstance(argument, Value) else argument

    row = replace(call, args=tuple(map(row_of, call.args)), shape=call.shape[1:], per_member=())
    widths = {value.name: prod(value.shape[1:]) for value in values}
    steps = []
    for step in handler(row):
        widths[step.output] = prod(step.shape)
        steps.append(_of_gate(step, count, widths) if isinstance(step, GateStep) else _of_affine(step, count))
    return steps


def _of_affine(step: AffineStep, count: int) -> AffineStep:
    function = step.function

    def each_row(*given: Tensor) -> Tensor:
        points, constants = given[: len(step.inputs)], given[len(step.inputs) :]
        made: Tensor = function(*(part.flatten(0, 1) for part in points), *constants)
        return made.view(points[0].shape[0], count, *made.shape[1:])

    return replace(step, shape=(count, *step.shape), function=each_row, fused=None, form=None)


def _of_gate(step: GateStep, count: int, widths: dict[str, int]) -> GateStep:
    gate = step.gate
    if isinstance(gate, Maximum):
        starts = range(0, count * widths[step.inputs[0]], widths[step.inputs[0]])
        gate = Maximum(torch.cat([gate.windows + start for start in starts]))
    elif isinstance(gate, OrderStatistic):
        raise TypeError(f"{step.origin} is read in every layout, not row by row")
    elif gate.knots.shape[1] > 1:
        gate = Knots(*(numbers.repeat(1, count) for numbers in (gate.knots, gate.slopes, gate.offsets)))
    return replace(step, shape=(count, *step.shape), gate=gate)
