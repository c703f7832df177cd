"""Sums and averages of numbers of one value, with fixed, non-negative weights."""

from __future__ import annotations

import math

import torch

from relu_regions.network.reading.operations.rearrangement import refuse_along_batch
from relu_regions.network.reading.operations.registry import Call, check_members, only_first_is_value, register, replay
from relu_regions.network.reading.operations.values import STANDARD, Value
from relu_regions.network.steps import Step

__all__: list[str] = []


@register(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum",
)  # fmt: skip
def _average(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    if call.origin.operation in ("mean", "sum"):
        dimensions = call.argument(1, "dim")
        dimensions = [dimensions] if isinstance(dimensions, int) else dimensions
        if not dimensions or value.layout.axis in [dimension % len(value.traced) for dimension in dimensions]:
            raise call.refuse("it reduces over the batch")
    elif (call.argument(6, "divisor_override") or 1) < 0:
        raise call.refuse("it divides by a negative number; multiply by -1 outside of it")
    terms = math.prod(value.shape) // max(1, math.prod(call.shape)) if call.shape else math.prod(value.shape)
    return _summed(call, value, max(terms, math.prod(value.shape[1:]), 1))


@register(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_trilinear3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
def _upsample(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    return _summed(call, value, terms=2 ** (len(value.shape) - 1), places=_rounded_places(call, value))


def _rounded_places(call: Call, value: Value) -> int:
    """AffineStep.places; 0 where every place between two numbers is one that floats hold."""
    sizes = list(zip(value.shape[1:], call.shape[1:]))
    aligned = any(name == "align_corners" and given for name, _, given in call.named())
    doubled = all(size and not out % size and (out // size).bit_count() == 1 for size, out in sizes)
    return 0 if doubled and not aligned else max(max(pair) for pair in sizes)


def _summed(call: Call, value: Value, terms: int, places: int = 0) -> list[Step]:
    summed = replay(call, [value])
    if value.layout != STANDARD or call.layout != STANDARD:
        check_members(call, [value], summed)
    return [call.affine([value], summed, terms=terms, places=places)]


@register("cumsum", "col2im")
def _sums(call: Call) -> list[Step]:
    """Sums of numbers of a value, each with the factor 1."""
    value = only_first_is_value(call)
    if call.origin.operation == "cumsum":
        refuse_along_batch(call)
    summed = replay(call, [value])
    check_members(call, [value], summed)
    counts = summed(torch.ones(1, *value.shape, dtype=torch.float64))
    return [call.affine([value], summed, terms=int(counts.max()) if counts.numel() else 1)]
