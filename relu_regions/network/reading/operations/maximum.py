"""Operations that take a maximum or a minimum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.gates import Maximum, flattened
from relu_regions.network.reading.operations.registry import (
    Call,
    as_constant,
    check_broadcast,
    only_first_is_value,
    per_dimension,
    register,
)
from relu_regions.network.reading.operations.values import Value, values_in
from relu_regions.network.steps import AffineStep, GateStep, Step

__all__ = ["READS_ABSENT", "elementwise_maximum", "signed_maximum"]

# Of a value with places that hold minus infinity these may be read.
READS_ABSENT = {
    "amax", "max", "maximum", "fmax", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d",
}  # fmt: skip


def _maximum_of(call: Call, operands: Sequence[Any], windows: Tensor) -> list[Step]:
    """A maximum gate over the flattened operands laid side by side; places that hold minus infinity are left out."""
    windows = _present(call, operands, windows)
    values = list(dict.fromkeys(values_in(list(operands))))
    width = sum(math.prod(o.shape) if isinstance(o, Value) else o.numel() for o in operands)
    joined = Value(f"{call.name}.inputs", (width,))
    flat = [o if isinstance(o, Value) else o.reshape(1, -1) for o in operands]
    lay = Call(joined.name, call.origin, torch.cat, (flat, 1), {}, joined.shape)
    step = _flat_concatenation(lay, flat, values)
    return [step, GateStep(call.name, (joined.name,), call.shape, call.origin, Maximum(windows))]


def _present(call: Call, operands: Sequence[Any], windows: Tensor) -> Tensor:
    """The windows without absent places, for each of which another one of the window stands."""
    absent = torch.cat(
        [
            torch.zeros(math.prod(o.shape), dtype=torch.bool)
            if getattr(o, "absent", None) is None
            else o.absent.flatten()
            for o in operands
        ]
    )[windows]
    if absent.all(1).any():
        raise call.refuse("a window covers padding alone, so that its maximum is minus infinity")
    present = windows.gather(1, (~absent).long().argmax(1, keepdim=True))
    return torch.where(absent, present, windows)


def _flat_concatenation(call: Call, parts: Sequence[Any], values: list[Value]) -> AffineStep:
    positions = [values.index(part) if isinstance(part, Value) else -1 for part in parts]
    sizes = [math.prod(part.shape) if isinstance(part, Value) else part.numel() for part in parts]

    def join(*points: Tensor) -> Tensor:
        if len(positions) == 1:
            return flattened(points[0])
        empty = points[0]
        return torch.cat(
            [
                flattened(points[p]) if p >= 0 else empty.new_zeros(empty.shape[0], size)
                for p, size in zip(positions, sizes)
            ],
            dim=1,
        )

    constants = [
        torch.zeros(1, s, dtype=torch.float64) if isinstance(part, Value) else part for part, s in zip(parts, sizes)
    ]
    has_constants = len(values_in(list(parts))) < len(parts)
    return call.affine(values, join, bias=torch.cat([c.double() for c in constants], 1) if has_constants else None)


def elementwise_maximum(call: Call, sign: float) -> list[Step]:
    """The larger (sign 1) or smaller (sign -1, as minus the maximum of the negatives) of two operands."""
    operands = [operand if isinstance(operand, Value) else as_constant(operand) for operand in call.args[:2]]
    values = values_in(operands)
    if any(value.layout != call.layout or len(value.shape) != len(call.shape) for value in values):
        raise call.refuse("it broadcasts values across the batch")
    indices, start = [], 0
    for operand in operands:
        shape = operand.shape
        if not isinstance(operand, Value):
            check_broadcast(call, values[0], operand)
            shape = shape[max(0, operand.ndim - len(call.shape)) :]
        size = math.prod(shape)
        indices.append(torch.arange(start, start + size).view(shape).expand(call.shape).reshape(-1))
        start += size
    windows = torch.stack(indices, 1)
    return signed_maximum(call, operands, windows, sign)


def signed_maximum(call: Call, operands: Sequence[Any], windows: Tensor, sign: float) -> list[Step]:
    """The largest (sign 1) or smallest (sign -1) numbers of windows over the operands, flattened and side by side."""
    if sign == 1:
        return _maximum_of(call, operands, windows)
    if any(getattr(operand, "absent", None) is not None for operand in operands):
        raise call.refuse("the smallest of numbers with minus infinity among them is not finite")
    minus = torch.tensor(-1.0, dtype=torch.float64)
    steps: list[Step] = []
    negated: list[Any] = []
    for operand in operands:
        if isinstance(operand, Value):
            value = Value(f"{call.name}.minus_{operand.name}", operand.shape)
            steps.append(AffineStep(value.name, (operand.name,), value.shape, call.origin, torch.mul, (minus,)))
            negated.append(value)
        else:
            negated.append(-operand)
    inner = Call(f"{call.name}.maximum", call.origin, call.target, call.args, call.kwargs, call.shape)
    steps += _maximum_of(inner, negated, windows)
    return [*steps, AffineStep(call.name, (inner.name,), call.shape, call.origin, torch.mul, (minus,))]


@register("maximum", "fmax")
def _maximum(call: Call) -> list[Step]:
    return elementwise_maximum(call, 1)


@register("minimum", "fmin")
def _minimum(call: Call) -> list[Step]:
    return elementwise_maximum(call, -1)


def _reduction_windows(call: Call, value: Value, dimensions: Any) -> Tensor:
    rank = len(value.traced)
    chosen = [dimensions] if isinstance(dimensions, int) else list(dimensions or [])
    chosen = sorted(dimension % rank for dimension in chosen)
    if not chosen or value.layout.axis in chosen:
        raise call.refuse("it reduces over the batch")
    kept = [dimension for dimension in range(rank) if dimension not in chosen]
    positions = torch.arange(math.prod(value.shape)).view(value.traced)
    return positions.permute(*kept, *chosen).reshape(math.prod(call.shape), -1)


def _reduced_maximum(call: Call, sign: float) -> list[Step]:
    other = call.argument(1, "other")
    if isinstance(other, (Value, Tensor)):
        return elementwise_maximum(call, sign)
    value = only_first_is_value(call)
    return signed_maximum(call, [value], _reduction_windows(call, value, call.argument(1, "dim")), sign)


@register("amax", "max")
def _amax(call: Call) -> list[Step]:
    return _reduced_maximum(call, 1)


@register("amin", "min")
def _amin(call: Call) -> list[Step]:
    return _reduced_maximum(call, -1)


def _pooling_windows(shape: tuple[int, ...], reach: list[list[range | list[int]]]) -> Tensor:
    """The inputs of every pooling window.

    Args:
        shape: of the input, ``(channels, *space)``.
        reach: for each dimension of space and each output place in it, the input places that the window covers.
    """
    channels, space = shape[0], shape[1:]
    windows: list[list[int]] = []
    for places in itertools.product(*reach):
        windows.append([_flat_position(place, space) for place in itertools.product(*places)])
    longest = max(map(len, windows))
    filled = torch.tensor([window + window[:1] * (longest - len(window)) for window in windows])
    start = torch.arange(channels).view(-1, 1, 1) * math.prod(space)
    return (start + filled).reshape(-1, longest)


def _flat_position(place: tuple[int, ...], space: tuple[int, ...]) -> int:
    position = 0
    for coordinate, size in zip(place, space):
        position = position * size + coordinate
    return position


def _pooled_dimensions(call: Call) -> int:
    """Over how many dimensions of space the operation pools, as its name says."""
    return next(rank for rank in (1, 2, 3) if f"pool{rank}d" in call.origin.operation)


def _with_channels(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """The shape of one point with its channels; where it has none, torch pools the members of a batch as channels."""
    return shape if len(shape) > rank else (1, *shape)


@register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    row_by_row=True,
)  # fmt: skip
def _max_pool(call: Call) -> list[Step]:
    value, rank = only_first_is_value(call), _pooled_dimensions(call)
    shape, places_out = _with_channels(value.shape, rank), call.shape[-rank:]
    kernel = per_dimension(call.args[1], rank)
    stride = per_dimension(call.argument(2, "stride") or kernel, rank)
    padding = per_dimension(call.argument(3, "padding", 0), rank)
    dilation = per_dimension(call.argument(4, "dilation", 1), rank)
    reach: list[list[range | list[int]]] = []
    for d in range(rank):
        starts = [place * stride[d] - padding[d] for place in range(places_out[d])]
        places = [range(start, start + kernel[d] * dilation[d], dilation[d]) for start in starts]
        reach.append([[p for p in window if 0 <= p < shape[1 + d]] for window in places])
    if not all(window for places in reach for window in places):
        raise call.refuse("a window covers padding alone, so that its maximum is minus infinity")
    return _maximum_of(call, [value], _pooling_windows(shape, reach))


@register("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", row_by_row=True)
def _adaptive_max_pool(call: Call) -> list[Step]:
    value, rank = only_first_is_value(call), _pooled_dimensions(call)
    shape = _with_channels(value.shape, rank)
    reach: list[list[range | list[int]]] = []
    for size, places in zip(shape[1:], call.shape[-rank:]):
        reach.append([range(p * size // places, -(-(p + 1) * size // places)) for p in range(places)])
    return _maximum_of(call, [value], _pooling_windows(shape, reach))
