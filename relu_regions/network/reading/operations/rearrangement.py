"""Operations that move numbers about: each output number is a number of a value, or of a constant."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from relu_regions.network.reading.operations.registry import Call, check_members, only_first_is_value, register, replay
from relu_regions.network.reading.operations.values import STANDARD, Batch, Value, values_in
from relu_regions.network.steps import Step

__all__ = ["refuse_along_batch"]


@register(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as",
)  # fmt: skip
def _reshape(call: Call) -> list[Step]:
    value, shape = only_first_is_value(call), call.shape
    if math.prod(value.shape) != math.prod(shape):
        raise call.refuse(f"it moves numbers between the members of a batch ({value.shape} becomes {shape})")
    if value.layout != STANDARD or call.layout != STANDARD:
        return _rearrangement(call)
    return [call.affine([value], lambda points: points.reshape(points.shape[0], *shape))]


@register("expand", "expand_as", "broadcast_to", "broadcast_tensors")
def _expand(call: Call) -> list[Step]:
    value, shape = only_first_is_value(call), call.shape
    if value.layout != STANDARD or call.layout != STANDARD:
        return _rearrangement(call)
    return [call.affine([value], lambda points: points.expand(points.shape[0], *shape))]


@register(
    "clone", "contiguous", "alias", "detach", "dropout", "dropout_", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout", "native_dropout", "_to_copy", "to", "lift_fresh_copy", "type_as", "float", "double",
    "identity",
)  # fmt: skip
def _unchanged(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    if "dropout" in call.origin.operation and call.args[2]:
        raise call.refuse("dropout in training mode is random; call model.eval()")
    return [call.affine([value], lambda points: points)]


@register("copy")
def _copy(call: Call) -> list[Step]:
    value, shape, traced = call.args[1], call.shape, len(call.shape) + (call.layout == STANDARD)
    if not isinstance(value, Value):
        raise call.refuse("it copies a constant over a value")
    if value.layout != call.layout or len(value.traced) != traced:
        raise call.refuse(f"it broadcasts a value of shape {value.shape} across the batch")
    return [call.affine([value], lambda points: points.expand(points.shape[0], *shape))]


@register(
    "permute", "transpose", "t", "numpy_T", "swapaxes", "swapdims", "movedim", "moveaxis", "mT", "slice", "select",
    "narrow", "index_select", "index", "gather", "take_along_dim", "flip", "fliplr", "flipud", "roll", "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "repeat", "repeat_interleave", "unfold", "im2col", "diagonal", "split",
    "split_with_sizes", "chunk", "unbind", "tensor_split", "tril", "triu", "tile", "diag_embed", "reflection_pad1d",
    "reflection_pad2d", "reflection_pad3d", "replication_pad1d", "replication_pad2d", "replication_pad3d",
    "native_channel_shuffle", "rot90", "take",
)  # fmt: skip
def _rearrangement(call: Call) -> list[Step]:
    value = only_first_is_value(call) if isinstance(call.args[0], Value) else None
    if value is None:
        raise call.refuse("it indexes by data, so its answer jumps")
    _check_along(call, value)
    move = replay(call, [value])
    check_members(call, [value], move)
    return [call.affine([value], move)]


# Operations along an axis that leave the size of it: along the batch their result for a few points may say nothing.
_ALONG = {
    "flip", "roll", "gather", "take_along_dim", "slice_scatter", "select_scatter", "index_fill", "index_copy",
    "index_add", "scatter", "scatter_add", "cumsum", "rot90",
}  # fmt: skip


def refuse_along_batch(call: Call) -> None:
    """Refuse an operation along the axis that the batch is on."""
    rank = len(call.shape) + (call.layout == STANDARD)
    for name, _, given in call.named():
        if name in ("dim", "dims") and given is not None:
            along = [given] if isinstance(given, int) else given
            if call.layout.axis in [dimension % rank for dimension in along]:
                raise call.refuse("it moves numbers between the members of a batch")


def _check_along(call: Call, value: Value) -> None:
    operation, rank = call.origin.operation, len(value.traced)
    if operation in _ALONG and not (operation == "slice_scatter" and _is_whole(call)):
        refuse_along_batch(call)
    if operation in ("flip", "roll") and not call.argument(2 if operation == "roll" else 1, "dims"):
        raise call.refuse("it moves numbers between the members of a batch")
    if operation in ("tril", "triu") and value.layout.axis >= rank - 2:
        raise call.refuse("it treats the members of a batch differently")


def _is_whole(call: Call) -> bool:
    """Whether a slice is all of its axis."""
    start, end, step = (call.argument(3, "start"), call.argument(4, "end"), call.argument(5, "step", 1))
    return start in (None, 0) and step == 1 and (end is None or isinstance(end, Batch) or end == 2**63 - 1)


# ---------------------------------------------------------------- with constants beside values

# What says where numbers go, and is none itself.
_PLACES = {"condition", "mask", "index", "indices"}


@register("cat", "stack", "concat", "hstack", "vstack", "dstack", "column_stack", "row_stack")
def _concatenation(call: Call) -> list[Step]:
    parts, dimension = call.args[0], call.argument(1, "dim", 0)
    values = list(dict.fromkeys(values_in(parts)))
    standard = all(value.layout == STANDARD for value in values) and call.layout == STANDARD
    plain = call.origin.operation in ("cat", "stack", "concat") and standard
    if plain and dimension % (len(call.shape) + 1) == 0:
        raise call.refuse("it concatenates along the batch")
    if not plain or len(values_in(parts)) < len(parts):
        return _placed(call)
    join = torch.stack if call.origin.operation == "stack" else torch.cat
    positions = [values.index(value) for value in parts]
    return [call.affine(values, lambda *points: join([points[p] for p in positions], dimension))]


@register(
    "where", "masked_fill", "slice_scatter", "select_scatter", "diagonal_scatter", "index_fill", "index_copy",
    "index_put", "scatter",
)  # fmt: skip
def _placed(call: Call) -> list[Step]:
    """Numbers of values and of constants put in places that constants say: linear in both together."""
    for name, _, given in call.named():
        if name in _PLACES and values_in(given):
            raise call.refuse(f"{call.origin.operation} by data gives an answer that jumps")
        if name in ("reduce", "accumulate") and given:
            raise call.refuse(f"{call.origin.operation} that adds to what is there is not read; use torch.cat, or +")
        if call.origin.operation == "index_put" and name == "indices" and given[0] is not None:
            raise call.refuse("it treats the members of a batch differently")
    values = list(dict.fromkeys(values_in(list(call.args)) + values_in(list(call.kwargs.values()))))
    for value in values:
        _check_along(call, value)
    fillings = [tensor for name, _, given in call.named() if name not in _PLACES for tensor in _tensors_in(given)]
    linear, whole = replay(call.mapped(_without_numbers), values, fillings), replay(call, values, fillings)
    zeros = [torch.zeros_like(filling, dtype=torch.float64) for filling in fillings]

    def move(*points: Tensor) -> Tensor:
        return linear(*points, *zeros)

    check_members(call, values, move)
    nothing = [torch.zeros(1, *value.shape, dtype=torch.float64) for value in values]
    bias = whole(*nothing, *(filling.to(torch.float64) for filling in fillings))
    missing = bias == -torch.inf
    call.absent, bias = missing[0] if missing.any() else None, torch.where(missing, 0.0, bias)
    if not torch.isfinite(bias).all():
        raise call.refuse("it puts NaN or infinity beside values")
    return [call.affine(values, move, bias=bias if bias.any() else None)]


def _tensors_in(given: Any) -> list[Tensor]:
    if isinstance(given, (list, tuple)):
        return [tensor for item in given for tensor in _tensors_in(item)]
    return [given] if isinstance(given, Tensor) else []


def _without_numbers(name: str, kind: str, given: Any) -> Any:
    """Numbers that are put beside values as 0: what is left is linear in the values."""
    return 0 if kind == "number" and not isinstance(given, Value) else given


@register("constant_pad_nd", "pad")
def _pad(call: Call) -> list[Step]:
    value = only_first_is_value(call)
    if call.origin.operation == "pad" and call.argument(2, "mode", "constant") != "constant":
        return _rearrangement(call)
    padding = call.args[1]
    filling = call.argument(3 if call.origin.operation == "pad" else 2, "value", 0) or 0
    axis = len(value.traced) - 1 - value.layout.axis
    if any(padding[2 * axis : 2 * axis + 2]):
        raise call.refuse("it pads the batch")

    def padded(points: Tensor, number: float = 0.0) -> Tensor:
        return torch.nn.functional.pad(points, padding[: 2 * len(value.shape)], value=number)

    bias = padded(torch.zeros(1, *value.shape, dtype=torch.float64), float(filling)) if filling else None
    if bias is not None and filling == -math.inf:
        call.absent, bias = (bias == -math.inf)[0], None
    elif not math.isfinite(filling):
        raise call.refuse(f"it pads with {filling}")
    return [call.affine([value], padded, bias=bias)]
