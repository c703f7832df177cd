"""Affine operations with fixed, non-negative weights: averages, upsampling, and moving numbers about."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relu_regions.network.reading.operations.registry import (
    Call,
    Value,
    only_first_is_value,
    register,
    replay,
    values_in,
)
from relu_regions.network.steps import Step

__all__: list[str] = []


@register(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum",
)  # fmt: skip
def _average(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    if call.origin.operation in ("mean", "sum"):
        call.kwargs.pop("dtype", None)
        dimensions = call.argument(1, "dim")
        dimensions = [dimensions] if isinstance(dimensions, int) else dimensions
        if not dimensions or any(dimension % (len(value.shape) + 1) == 0 for dimension in dimensions):
            raise call.refuse("it reduces over the batch")
    elif (call.argument(6, "divisor_override") or 1) < 0:
        raise call.refuse("it divides by a negative number; multiply by -1 outside of it")
    terms = math.prod(value.shape) // max(1, math.prod(call.shape)) if call.shape else math.prod(value.shape)
    return [call.affine([value], replay(call, [value]), terms=max(terms, math.prod(value.shape[1:]), 1))]


@register(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_trilinear3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
def _upsample(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    return [call.affine([value], replay(call, [value]), terms=2 ** (len(value.shape) - 1))]


@register(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze",
)  # fmt: skip
def _reshape(call: Call) -> list[Step]:
    value, shape = only_first_is_value(call), call.shape
    if math.prod(value.shape) != math.prod(shape):
        raise call.refuse(f"it moves numbers between the members of a batch ({value.shape} becomes {shape})")
    return [call.affine([value], lambda points: points.reshape(points.shape[0], *shape))]


@register("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> list[Step]:
    value, shape = call.args[0], call.shape
    return [call.affine([value], lambda points: points.expand(points.shape[0], *shape))]


@register(
    "clone", "contiguous", "alias", "detach", "dropout", "dropout_", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout", "native_dropout", "_to_copy", "to", "lift_fresh_copy", "type_as", "float", "double",
    "identity",
)  # fmt: skip
def _unchanged(call: Call) -> list[Step]:
    value = call.args[0]
    if "dropout" in call.origin.operation and call.args[2]:
        raise call.refuse("dropout in training mode is random; call model.eval()")
    return [call.affine([value], lambda points: points)]


@register(
    "permute", "transpose", "t", "numpy_T", "swapaxes", "movedim", "slice", "select", "narrow", "index_select", "index",
    "flip", "roll", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "repeat", "repeat_interleave", "unfold",
    "im2col", "diagonal", "split", "split_with_sizes", "chunk", "unbind", "tril", "triu", "tile",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "native_channel_shuffle", "rot90", "take", "hstack",
    "vstack",
)  # fmt: skip
def _rearrangement(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    move = replay(call, [value])
    _check_rows(call, value, move)
    return [call.affine([value], move)]


def _check_rows(call: Call, value: Value, move: Callable[[Tensor], Tensor]) -> None:
    """Refuse what moves numbers between the members of a batch: told by where numbered inputs end up."""
    dimensions = call.argument(2 if call.origin.operation == "roll" else 1, "dims", [])
    if call.origin.operation in ("flip", "roll") and (
        not dimensions or 0 in [d % (len(value.shape) + 1) for d in dimensions]
    ):
        raise call.refuse("it moves numbers between the members of a batch")
    if call.origin.operation in ("tril", "triu") and len(value.shape) < 2:
        raise call.refuse("it treats the members of a batch differently")
    count = math.prod(value.shape)
    numbers = torch.arange(1, 3 * count + 1, dtype=torch.float64).view(3, *value.shape)
    alone, together = move(numbers[:1]), move(numbers)
    offsets = (count * torch.arange(3, dtype=torch.float64)).view(3, *[1] * (together.ndim - 1))
    if len(together) != 3 or not torch.equal(together, torch.where(alone == 0, 0.0, alone + offsets)):
        raise call.refuse("it moves numbers between the members of a batch, or treats them differently")


@register("cat", "stack", "concat")
def _concatenation(call: Call) -> list[Step]:
    parts, dimension = call.args[0], call.argument(1, "dim", 0)
    values = values_in(parts)
    rank = len(call.shape) + 1
    if dimension % rank == 0:
        raise call.refuse("it concatenates along the batch")
    if len(values) == len(parts):
        join = torch.stack if call.origin.operation == "stack" else torch.cat
        unique = list(dict.fromkeys(values))
        positions = [unique.index(value) for value in values]
        return [call.affine(unique, lambda *points: join([points[p] for p in positions], dimension))]
    return _concatenation_with_constants(call, parts, dimension % rank)


def _concatenation_with_constants(call: Call, parts: Sequence[Any], dimension: int) -> list[Step]:
    if call.origin.operation == "stack":
        raise call.refuse("stacking with a constant; use torch.cat")
    values = list(dict.fromkeys(values_in(parts)))

    def join(points: Sequence[Tensor], constants: bool) -> Tensor:
        given = dict(zip(values, points))
        count = points[0].shape[0]
        pieces = []
        for part in parts:
            if isinstance(part, Value):
                pieces.append(
                    torch.zeros_like(given[part][:1]).expand(count, *part.shape) if constants else given[part]
                )
            else:
                plain = (
                    part.to(points[0])
                    if constants
                    else torch.zeros_like(part, dtype=points[0].dtype, device=points[0].device)
                )
                pieces.append(plain.expand(count, *plain.shape[1:]))
        return torch.cat(pieces, dimension)

    example = [torch.zeros(1, *value.shape, dtype=torch.float64) for value in values]
    bias = join(example, constants=True)
    return [call.affine(values, lambda *points: join(points, constants=False), bias=bias)]


@register("constant_pad_nd", "pad")
def _pad(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    padding, filling = call.args[1], call.argument(2, "value", 0)
    if call.origin.operation == "pad" and call.argument(2, "mode", "constant") != "constant":
        return _rearrangement(call)
    if call.origin.operation == "pad":
        filling = call.argument(3, "value", 0)
    own = 2 * len(value.shape)
    if any(padding[own:]):
        raise call.refuse("it pads the batch")
    padding = padding[:own]
    bias = None
    if filling:
        bias = functional.pad(torch.zeros(1, *value.shape, dtype=torch.float64), padding, value=float(filling))
    return [call.affine([value], lambda points: functional.pad(points, padding), bias=bias)]
