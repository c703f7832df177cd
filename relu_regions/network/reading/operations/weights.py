"""Affine operations with weights: linear maps and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from relu_regions.network.reading.operations.registry import (
    Call,
    only_first_is_value,
    per_dimension,
    register,
    replay,
)
from relu_regions.network.reading.operations.values import STANDARD, Value, values_in
from relu_regions.network.steps import Convolution, Matrix, Step

__all__: list[str] = []

# What a convolution may unfold at once: more falls out of a processor's cache, and costs several times as long.
_COLUMN_BYTES = 4 << 20


@register("linear")
def _linear(call: Call) -> list[Step]:
    value, weight = only_first_is_value(call), call.args[1]
    bias = call.argument(2, "bias")
    form = Matrix((weight.shape[1],)) if len(value.shape) == 1 and weight.ndim == 2 else None
    details = {"constants": (weight,), "bias": bias, "terms": weight.shape[-1], "form": form}
    return [call.affine([value], functional.linear, **details, fused=functional.linear)]


@register("matmul", "mm", "bmm")
def _matmul(call: Call) -> list[Step]:
    left, right = call.args[:2]
    if isinstance(left, Value) and isinstance(right, Value):
        raise call.refuse(
            "it multiplies two tensors that both depend on the network's input, which is not piecewise linear"
        )
    if isinstance(left, Value):
        if left.layout.axis == len(left.traced) - 1:
            raise call.refuse("it would sum over the batch")
        multiply = torch.matmul if call.layout == STANDARD else replay(call, [left], [right])
        return [call.affine([left], multiply, constants=(right,), terms=left.shape[-1])]
    if right.layout.axis >= len(right.traced) - 2:
        raise call.refuse("it would sum over the batch")
    from_left = replay(call, [right], [left])
    return [call.affine([right], from_left, constants=(left,), terms=right.shape[-2])]


@register("addmm")
def _addmm(call: Call) -> list[Step]:
    bias, value, matrix = call.args[:3]
    scaled = any(call.kwargs.get(name, 1) != 1 for name in ("alpha", "beta"))
    if not isinstance(value, Value) or len(values_in(call.args)) != 1 or scaled:
        raise call.refuse("only its second argument may depend on the network's input, and alpha and beta must be 1")
    return [call.affine([value], torch.matmul, constants=(matrix,), bias=bias, terms=value.shape[-1])]


@register("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", row_by_row=True)
def _convolution(call: Call) -> list[Step]:
    value, weight, bias = only_first_is_value(call), call.args[1], call.argument(2, "bias")
    options, keywords = call.args[3:], {k: v for k, v in call.kwargs.items() if k not in ("weight", "bias")}
    if len(value.shape) != weight.ndim - 1:
        raise call.refuse("its input has no batch dimension")
    transposed = "transpose" in call.target.__name__
    groups = options[3] if transposed and len(options) > 3 else 1

    def convolve(points: Tensor, kernel: Tensor, offset: Tensor | None = None) -> Tensor:
        result: Tensor = call.target(points, kernel, offset, *options, **keywords)
        return result

    few, many = (call, value) if transposed else (value, call)
    columns = few.shape[0] * prod(weight.shape[2:]) * prod(many.shape[1:])
    convolve = _in_blocks(convolve, call.shape, columns)
    terms = weight.numel() // weight.shape[1] // groups if transposed else weight[0].numel()
    if bias is not None:
        bias = bias.view(-1, *[1] * (weight.ndim - 2))

    def fused(points: Tensor, kernel: Tensor, offset: Tensor) -> Tensor:
        return convolve(points, kernel, offset.reshape(-1))

    # Where an output number is a multiple of one input number, it stays a copy of that only as a product.
    form = None if transposed or weight.ndim > 4 or terms == 1 else _form(call, value, weight)
    details = {"constants": (weight,), "bias": bias, "terms": terms, "form": form}
    return [call.affine([value], convolve, **details, fused=fused)]


def _form(call: Call, value: Value, weight: Tensor) -> Convolution:
    """The geometry of a convolution in one or two dimensions of space."""
    kernel, rank = tuple(weight.shape[2:]), weight.ndim - 2
    stride, dilation = (per_dimension(call.argument(i, name, 1), rank) for i, name in ((3, "stride"), (5, "dilation")))
    padding = call.argument(4, "padding", 0)
    if isinstance(padding, str):
        # Of an odd number of places that "same" adds, torch puts the one more behind.
        padding = [(d * (k - 1)) // 2 if padding == "same" else 0 for d, k in zip(dilation, kernel)]
    padding, groups = per_dimension(padding, rank), call.argument(6, "groups", 1)
    return Convolution(value.shape, call.shape, kernel, stride, padding, dilation, groups)


def _in_blocks(convolve: Callable[..., Tensor], shape: tuple[int, ...], columns: int) -> Callable[..., Tensor]:
    """A convolution that a CPU takes block by block, so that what it unfolds stays small.

    Args:
        convolve: acts on stacks of points.
        shape: of its output for one point.
        columns: numbers that it unfolds for one point.
    """

    def blockwise(points: Tensor, *constants: Tensor) -> Tensor:
        block = max(1, _COLUMN_BYTES // max(1, columns * points.element_size()))
        if points.device.type != "cpu" or len(points) <= block:
            return convolve(points, *constants)
        result = points.new_empty(len(points), *shape)
        for start in range(0, len(points), block):
            result[start : start + block] = convolve(points[start : start + block], *constants)
        return result

    return blockwise
