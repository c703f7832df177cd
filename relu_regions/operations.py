"""The registry: what every ATen operation is to the reader - affine, a gate, or refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from relu_regions.gates import Knots, Maximum
from relu_regions.steps import AffineStep, GateStep, Origin, Step

__all__ = ["BATCH", "OPERATIONS", "Call", "UnsupportedOperation", "Value", "supported_operations"]


class UnsupportedOperation(ValueError):
    """The model does something that is not continuous and piecewise linear, or that this library cannot read."""


class _Batch:
    """Stands for the number of points wherever a traced model asks for its batch size."""

    def __repr__(self) -> str:
        return "BATCH"


BATCH = _Batch()


@dataclass(frozen=True)
class Value:
    """A tensor of the model that depends on its input: a name, and the shape of one point's part."""

    name: str
    shape: tuple[int, ...]


@dataclass
class Call:
    """One operation of a traced model, its arguments resolved to values, constants and plain numbers."""

    name: str
    origin: Origin
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: tuple[int, ...]

    def argument(self, position: int, keyword: str, default: Any = None) -> Any:
        """An argument by position or keyword."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(keyword, default)

    def refuse(self, reason: str) -> UnsupportedOperation:
        """The error that names the module, the operation and what to do."""
        return UnsupportedOperation(
            f"Cannot read {self.origin}: {reason}. relu_regions reads continuous piecewise-linear networks; "
            "see relu_regions.supported_operations() for the operations it knows."
        )

    def affine(self, inputs: Sequence[Value], function: Callable[..., Tensor], **details: Any) -> AffineStep:
        """An affine step that makes this call's output."""
        names = tuple(value.name for value in inputs)
        return AffineStep(self.name, names, self.shape, self.origin, function, **details)

    def gate(self, value: Value, gate: Knots | Maximum) -> GateStep:
        """A gate that makes this call's output."""
        return GateStep(self.name, (value.name,), self.shape, self.origin, gate)


Handler = Callable[[Call], "list[Step]"]
OPERATIONS: dict[str, Handler] = {}


def _register(*names: str) -> Callable[[Handler], Handler]:
    def add(handler: Handler) -> Handler:
        OPERATIONS.update(dict.fromkeys(names, handler))
        return handler

    return add


def supported_operations() -> list[str]:
    """The names of the ATen operations that can be read."""
    return sorted(OPERATIONS)


def _values(arguments: Any) -> list[Value]:
    """Every value among the arguments, in order, also inside lists."""
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, (list, tuple)):
        return [value for argument in arguments for value in _values(argument)]
    return []


def _only_first_is_value(call: Call) -> Value:
    first = call.args[0]
    if not isinstance(first, Value) or len(_values(call.args) + _values(list(call.kwargs.values()))) != 1:
        raise call.refuse("only its first argument may depend on the network's input")
    return first


# ---------------------------------------------------------------- affine: weights


@_register("linear")
def _linear(call: Call) -> list[Step]:
    value, weight = _only_first_is_value(call), call.args[1]
    bias = call.argument(2, "bias")
    fused = None if bias is None else functional.linear
    return [call.affine([value], functional.linear, constants=(weight,), bias=bias, terms=weight.shape[1], fused=fused)]


@_register("matmul", "mm", "bmm")
def _matmul(call: Call) -> list[Step]:
    left, right = call.args[:2]
    if isinstance(left, Value) and isinstance(right, Value):
        raise call.refuse("it multiplies two tensors that both depend on the network's input, which is not piecewise linear")
    if isinstance(left, Value):
        if not left.shape:
            raise call.refuse("it would sum over the batch")
        return [call.affine([left], torch.matmul, constants=(right,), terms=left.shape[-1])]
    if len(right.shape) < 2:
        raise call.refuse("it would sum over the batch")
    return [call.affine([right], lambda value, matrix: matrix @ value, constants=(left,), terms=right.shape[-2])]


@_register("addmm")
def _addmm(call: Call) -> list[Step]:
    bias, value, matrix = call.args[:3]
    scaled = any(call.kwargs.get(name, 1) != 1 for name in ("alpha", "beta"))
    if not isinstance(value, Value) or len(_values(call.args)) != 1 or scaled:
        raise call.refuse("only its second argument may depend on the network's input, and alpha and beta must be 1")
    return [call.affine([value], torch.matmul, constants=(matrix,), bias=bias, terms=value.shape[-1])]


@_register("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _convolution(call: Call) -> list[Step]:
    value, weight, bias = _only_first_is_value(call), call.args[1], call.argument(2, "bias")
    options, keywords = call.args[3:], {k: v for k, v in call.kwargs.items() if k not in ("weight", "bias")}
    if len(value.shape) != weight.ndim - 1:
        raise call.refuse("its input has no batch dimension")
    transposed = "transpose" in call.target.__name__
    groups = (options[4] if len(options) > 4 else 1) if transposed else 1

    def convolve(points: Tensor, kernel: Tensor, offset: Tensor | None = None) -> Tensor:
        result: Tensor = call.target(points, kernel, offset, *options, **keywords)
        return result

    terms = weight.numel() // weight.shape[1] // groups if transposed else weight[0].numel()
    if bias is not None:
        bias = bias.view(-1, *[1] * (weight.ndim - 2))

    def fused(points: Tensor, kernel: Tensor, offset: Tensor) -> Tensor:
        return convolve(points, kernel, offset.reshape(-1))

    return [call.affine([value], convolve, constants=(weight,), bias=bias, terms=terms, fused=bias is not None and fused or None)]


@_register("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm")
def _batch_norm(call: Call) -> list[Step]:
    value, weight, bias, mean, variance = call.args[:5]
    if call.origin.operation != "_native_batch_norm_legit_no_training" and call.args[5]:
        raise call.refuse("batch normalisation in training mode depends on the whole batch; call model.eval()")
    if mean is None or variance is None:
        raise call.refuse("batch normalisation without running statistics depends on the whole batch")
    epsilon = call.args[6] if call.origin.operation == "_native_batch_norm_legit_no_training" else call.args[7]
    scale = 1 / torch.sqrt(variance + epsilon) if weight is None else weight / torch.sqrt(variance + epsilon)
    shift = -mean * scale if bias is None else bias - mean * scale
    channels = (-1, *[1] * (len(value.shape) - 1))
    return [call.affine([value], torch.mul, constants=(scale.view(channels),), bias=shift.view(channels))]


# ---------------------------------------------------------------- affine: arithmetic


def _as_constant(operand: Any) -> Tensor:
    return operand if isinstance(operand, Tensor) else torch.tensor(float(operand), dtype=torch.float64)


def _check_broadcast(call: Call, value: Value, constant: Tensor) -> None:
    if constant.ndim > len(value.shape) and constant.ndim == len(value.shape) + 1 and constant.shape[0] != 1:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} treats the members of a batch differently")
    if constant.ndim > len(value.shape) + 1:
        raise call.refuse(f"its constant of shape {tuple(constant.shape)} has more dimensions than the batch of values")


def _aligned(value: Value, shape: tuple[int, ...]) -> Callable[[Tensor], Tensor]:
    """Makes room for broadcasting: trailing dimensions match, the dimension of points stays in front."""
    missing = len(shape) - len(value.shape)
    if missing <= 0:
        return lambda points: points
    return lambda points: points.reshape(points.shape[0], *[1] * missing, *points.shape[1:])


def _sum_of(call: Call, left: Any, right: Any, left_sign: float, right_sign: float) -> list[Step]:
    """left_sign * left + right_sign * right, either of them a value or a constant."""
    if isinstance(left, Value) and isinstance(right, Value):
        if len(left.shape) != len(right.shape):
            raise call.refuse(f"it broadcasts values of shapes {left.shape} and {right.shape} across the batch")
        if left_sign == right_sign == 1:
            return [call.affine([left, right], torch.add, terms=2)]
        signs = torch.tensor([left_sign, right_sign], dtype=torch.float64)
        return [call.affine([left, right], lambda a, b, c: c[0] * a + c[1] * b, constants=(signs,), terms=2)]
    value, sign, constant, factor = (left, left_sign, right, right_sign)
    if not isinstance(left, Value):
        value, sign, constant, factor = (right, right_sign, left, left_sign)
    bias = _as_constant(constant) * factor
    _check_broadcast(call, value, bias)
    bias = bias.expand(1, *call.shape) if bias.numel() > 1 else bias
    shape = call.shape
    if sign == 1:
        return [call.affine([value], lambda points: points.expand(points.shape[0], *shape), bias=bias)]
    factors = torch.tensor(sign, dtype=torch.float64)
    return [call.affine([value], lambda points, c: (c * points).expand(points.shape[0], *shape), constants=(factors,), bias=bias)]


@_register("add")
def _add(call: Call) -> list[Step]:
    return _sum_of(call, call.args[0], call.args[1], 1.0, float(call.kwargs.get("alpha", 1)))


@_register("sub")
def _sub(call: Call) -> list[Step]:
    return _sum_of(call, call.args[0], call.args[1], 1.0, -float(call.kwargs.get("alpha", 1)))


@_register("rsub")
def _rsub(call: Call) -> list[Step]:
    return _sum_of(call, call.args[1], call.args[0], 1.0, -float(call.kwargs.get("alpha", 1)))


@_register("mul")
def _mul(call: Call) -> list[Step]:
    left, right = call.args
    if isinstance(left, Value) and isinstance(right, Value):
        raise call.refuse("it multiplies two tensors that both depend on the network's input, which is not piecewise linear")
    value, factor = (left, _as_constant(right)) if isinstance(left, Value) else (right, _as_constant(left))
    return _scaled(call, value, factor)


@_register("div")
def _div(call: Call) -> list[Step]:
    value, divisor = call.args[:2]
    if isinstance(divisor, Value):
        raise call.refuse("it divides by a tensor that depends on the network's input, which is not piecewise linear")
    if call.kwargs.get("rounding_mode") is not None:
        raise call.refuse("division with rounding is not continuous")
    return _scaled(call, value, 1 / _as_constant(divisor))


@_register("neg")
def _neg(call: Call) -> list[Step]:
    return _scaled(call, _only_first_is_value(call), torch.tensor(-1.0, dtype=torch.float64))


def _scaled(call: Call, value: Value, factor: Tensor) -> list[Step]:
    _check_broadcast(call, value, factor)
    if not torch.isfinite(factor).all():
        raise call.refuse("its constant factor is not finite")
    return [call.affine([value], torch.mul, constants=(factor,))]


# ---------------------------------------------------------------- affine: sums with fixed, non-negative weights


def _replay(call: Call, values: list[Value]) -> Callable[..., Tensor]:
    """The call itself as a function of its values alone; its other arguments stay as traced."""

    def fill(argument: Any, points: dict[str, Tensor]) -> Any:
        if isinstance(argument, Value):
            return points[argument.name]
        if isinstance(argument, (list, tuple)):
            return type(argument)(fill(item, points) for item in argument)
        return next(iter(points.values())).shape[0] if argument is BATCH else argument

    names = [value.name for value in values]

    def function(*points: Tensor) -> Tensor:
        given = dict(zip(names, points))
        keywords = {keyword: fill(argument, given) for keyword, argument in call.kwargs.items()}
        result: Tensor = call.target(*fill(call.args, given), **keywords)
        return result

    return function


@_register(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum",
)  # fmt: skip
def _average(call: Call) -> list[Step]:
    value = _only_first_is_value(call)
    if call.origin.operation in ("mean", "sum"):
        call.kwargs.pop("dtype", None)
        dimensions = call.argument(1, "dim")
        dimensions = [dimensions] if isinstance(dimensions, int) else dimensions
        if not dimensions or any(dimension % (len(value.shape) + 1) == 0 for dimension in dimensions):
            raise call.refuse("it reduces over the batch")
    terms = math.prod(value.shape) // max(1, math.prod(call.shape)) if call.shape else math.prod(value.shape)
    return [call.affine([value], _replay(call, [value]), terms=max(terms, math.prod(value.shape[1:]), 1))]


@_register(
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
    "upsample_trilinear3d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
)  # fmt: skip
def _upsample(call: Call) -> list[Step]:
    value = _only_first_is_value(call)
    return [call.affine([value], _replay(call, [value]), terms=2 ** (len(value.shape) - 1))]


# ---------------------------------------------------------------- affine: rearrangements


@_register(
    "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze",
)  # fmt: skip
def _reshape(call: Call) -> list[Step]:
    value, shape = _only_first_is_value(call), call.shape
    if math.prod(value.shape) != math.prod(shape):
        raise call.refuse(f"it moves numbers between the members of a batch ({value.shape} becomes {shape})")
    return [call.affine([value], lambda points: points.reshape(points.shape[0], *shape))]


@_register("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> list[Step]:
    value, shape = call.args[0], call.shape
    return [call.affine([value], lambda points: points.expand(points.shape[0], *shape))]


@_register(
    "clone", "contiguous", "alias", "detach", "dropout", "dropout_", "feature_dropout", "alpha_dropout",
    "feature_alpha_dropout", "native_dropout", "_to_copy", "to", "lift_fresh_copy", "type_as", "float", "double", "identity",
)  # fmt: skip
def _unchanged(call: Call) -> list[Step]:
    value = call.args[0]
    if "dropout" in call.origin.operation and call.args[2]:
        raise call.refuse("dropout in training mode is random; call model.eval()")
    dtype = call.kwargs.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        raise call.refuse(f"it rounds to {dtype}, which is not continuous")
    return [call.affine([value], lambda points: points)]


@_register(
    "permute", "transpose", "t", "numpy_T", "swapaxes", "movedim", "slice", "select", "narrow", "index_select", "index", "flip", "roll",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "repeat", "repeat_interleave", "unfold", "im2col", "diagonal",
    "split", "split_with_sizes", "chunk", "unbind", "tril", "triu", "tile",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "native_channel_shuffle", "rot90", "take", "hstack", "vstack",
)  # fmt: skip
def _rearrangement(call: Call) -> list[Step]:
    value = _only_first_is_value(call)
    return [call.affine([value], _replay(call, [value]))]


@_register("cat", "stack", "concat")
def _concatenation(call: Call) -> list[Step]:
    parts, dimension = call.args[0], call.argument(1, "dim", 0)
    values = _values(parts)
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
    values = list(dict.fromkeys(_values(parts)))

    def join(points: Sequence[Tensor], constants: bool) -> Tensor:
        given = dict(zip(values, points))
        count = points[0].shape[0]
        pieces = []
        for part in parts:
            if isinstance(part, Value):
                pieces.append(torch.zeros_like(given[part][:1]).expand(count, *part.shape) if constants else given[part])
            else:
                plain = part.to(points[0]) if constants else torch.zeros_like(part, dtype=points[0].dtype, device=points[0].device)
                pieces.append(plain.expand(count, *plain.shape[1:]))
        return torch.cat(pieces, dimension)

    example = [torch.zeros(1, *value.shape, dtype=torch.float64) for value in values]
    bias = join(example, constants=True)
    return [call.affine(values, lambda *points: join(points, constants=False), bias=bias)]


@_register("constant_pad_nd", "pad")
def _pad(call: Call) -> list[Step]:
    value = _only_first_is_value(call)
    padding, filling = call.args[1], call.argument(2, "value", 0)
    if call.origin.operation == "pad" and call.argument(2, "mode", "constant") != "constant":
        return _rearrangement(call)
    if call.origin.operation == "pad":
        filling = call.argument(3, "value", 0)
    if len(padding) > 2 * len(value.shape):
        raise call.refuse("it pads the batch")
    bias = None
    if filling:
        bias = functional.pad(torch.zeros(1, *value.shape, dtype=torch.float64), padding, value=float(filling))
    return [call.affine([value], lambda points: functional.pad(points, padding), bias=bias)]


# ---------------------------------------------------------------- knot gates


@_register("relu")
def _relu(call: Call) -> list[Step]:
    return [call.gate(_only_first_is_value(call), Knots.of([0], [0, 1], [0, 0]))]


@_register("leaky_relu")
def _leaky_relu(call: Call) -> list[Step]:
    slope = float(call.argument(1, "negative_slope", 0.01))
    return [call.gate(_only_first_is_value(call), Knots.of([0], [slope, 1], [0, 0]))]


@_register("rrelu", "rrelu_with_noise")
def _rrelu(call: Call) -> list[Step]:
    first = 1 if call.origin.operation == "rrelu" else 2
    lower, upper = float(call.argument(first, "lower", 1 / 8)), float(call.argument(first + 1, "upper", 1 / 3))
    if call.argument(first + 2, "training", False):
        raise call.refuse("RReLU in training mode is random; call model.eval()")
    return [call.gate(call.args[0], Knots.of([0], [(lower + upper) / 2, 1], [0, 0]))]


@_register("prelu", "_prelu_kernel")
def _prelu(call: Call) -> list[Step]:
    value, slopes = _only_first_is_value(call), call.args[1].reshape(-1)
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
    value = _only_first_is_value(call)
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        raise call.refuse("clamp by tensors; use torch.maximum and torch.minimum with them")
    low = -math.inf if lower is None else float(lower)
    high = math.inf if upper is None else float(upper)
    if low == -math.inf and high == math.inf:
        return [call.affine([value], lambda points: points)]
    if math.isnan(low) or math.isnan(high) or low == math.inf or high == -math.inf:
        raise call.refuse(f"clamp between {low} and {high} has no finite result")
    return [call.gate(value, _clamp_gate(low, high))]


@_register("clamp", "clip")
def _clamp(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min"), call.argument(2, "max"))


@_register("clamp_min")
def _clamp_min(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min"), None)


@_register("clamp_max")
def _clamp_max(call: Call) -> list[Step]:
    return _clamp_between(call, None, call.argument(1, "max"))


@_register("hardtanh")
def _hardtanh(call: Call) -> list[Step]:
    return _clamp_between(call, call.argument(1, "min_val", -1), call.argument(2, "max_val", 1))


@_register("relu6")
def _relu6(call: Call) -> list[Step]:
    return _clamp_between(call, 0, 6)


@_register("hardsigmoid")
def _hardsigmoid(call: Call) -> list[Step]:
    # clamp(z + 3, 0, 6) / 6: the gate itself then has exact coefficients and is exactly continuous.
    value = _only_first_is_value(call)
    shifted, clamped = Value(f"{call.name}.shifted", value.shape), Value(f"{call.name}.clamped", value.shape)
    three, sixth = (torch.tensor(number, dtype=torch.float64) for number in (3.0, 1 / 6))
    return [
        AffineStep(shifted.name, (value.name,), value.shape, call.origin, lambda points: points, bias=three),
        GateStep(clamped.name, (shifted.name,), value.shape, call.origin, _clamp_gate(0.0, 6.0)),
        call.affine([clamped], torch.mul, constants=(sixth,)),
    ]


@_register("abs")
def _abs(call: Call) -> list[Step]:
    return [call.gate(_only_first_is_value(call), Knots.of([0], [-1, 1], [0, 0]))]


@_register("softshrink")
def _softshrink(call: Call) -> list[Step]:
    width = float(call.argument(1, "lambd", 0.5))
    gate = Knots.of([-width, width], [1, 0, 1], [width, 0, -width]) if width else Knots.of([0], [1, 1], [0, 0])
    return [call.gate(_only_first_is_value(call), gate)]


@_register("threshold")
def _threshold(call: Call) -> list[Step]:
    knot, filling = float(call.args[1]), float(call.args[2])
    if knot != filling:
        raise call.refuse(f"threshold({knot}, {filling}) jumps at {knot}, so it is not continuous")
    return [call.gate(_only_first_is_value(call), Knots.of([knot], [0, 1], [knot, 0]))]


# ---------------------------------------------------------------- maximum gates


def _maximum_of(call: Call, operands: Sequence[Any], windows: Tensor) -> list[Step]:
    """A maximum gate over the flattened operands laid side by side."""
    values = list(dict.fromkeys(_values(list(operands))))
    width = sum(math.prod(o.shape) if isinstance(o, Value) else o.numel() for o in operands)
    joined = Value(f"{call.name}.inputs", (width,))
    flat = [Value(o.name, o.shape) if isinstance(o, Value) else o.reshape(1, -1) for o in operands]
    lay = Call(joined.name, call.origin, torch.cat, (flat, 1), {}, joined.shape)
    step = _flat_concatenation(lay, flat, values)
    return [step, GateStep(call.name, (joined.name,), call.shape, call.origin, Maximum(windows))]


def _flat_concatenation(call: Call, parts: Sequence[Any], values: list[Value]) -> AffineStep:
    positions = [values.index(part) if isinstance(part, Value) else -1 for part in parts]
    sizes = [math.prod(part.shape) if isinstance(part, Value) else part.numel() for part in parts]

    def join(*points: Tensor) -> Tensor:
        if len(positions) == 1:
            return points[0].flatten(1)
        empty = points[0]
        return torch.cat(
            [points[p].flatten(1) if p >= 0 else empty.new_zeros(empty.shape[0], size) for p, size in zip(positions, sizes)],
            dim=1,
        )

    constants = [torch.zeros(1, s, dtype=torch.float64) if isinstance(part, Value) else part for part, s in zip(parts, sizes)]
    has_constants = len(_values(list(parts))) < len(parts)
    return call.affine(values, join, bias=torch.cat([c.double() for c in constants], 1) if has_constants else None)


def _elementwise_maximum(call: Call, sign: float) -> list[Step]:
    """The larger (sign 1) or smaller (sign -1, as minus the maximum of the negatives) of two operands."""
    operands = [operand if isinstance(operand, Value) else _as_constant(operand) for operand in call.args[:2]]
    indices, start = [], 0
    for operand in operands:
        shape = operand.shape if isinstance(operand, Value) else operand.shape[operand.ndim - min(operand.ndim, len(call.shape)) :]
        size = math.prod(shape)
        indices.append(torch.arange(start, start + size).view(shape).expand(call.shape).reshape(-1))
        start += size
        if not isinstance(operand, Value) and operand.ndim > len(call.shape) and operand.shape[0] != 1:
            raise call.refuse("its constant treats the members of a batch differently")
    windows = torch.stack(indices, 1)
    return _signed_maximum(call, operands, windows, sign)


def _signed_maximum(call: Call, operands: Sequence[Any], windows: Tensor, sign: float) -> list[Step]:
    if sign == 1:
        return _maximum_of(call, operands, windows)
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


@_register("maximum", "fmax")
def _maximum(call: Call) -> list[Step]:
    return _elementwise_maximum(call, 1)


@_register("minimum", "fmin")
def _minimum(call: Call) -> list[Step]:
    return _elementwise_maximum(call, -1)


def _reduction_windows(call: Call, value: Value, dimensions: Any) -> Tensor:
    rank = len(value.shape) + 1
    chosen = [dimensions] if isinstance(dimensions, int) else list(dimensions or [])
    chosen = sorted(dimension % rank for dimension in chosen)
    if not chosen or chosen[0] == 0:
        raise call.refuse("it reduces over the batch")
    positions = torch.arange(math.prod(value.shape)).view(value.shape)
    kept = [d for d in range(len(value.shape)) if d + 1 not in chosen]
    return positions.permute(*kept, *(d - 1 for d in chosen)).reshape(math.prod(call.shape), -1)


def _reduced_maximum(call: Call, sign: float) -> list[Step]:
    other = call.argument(1, "other")
    if isinstance(other, (Value, Tensor)):
        return _elementwise_maximum(call, sign)
    value = _only_first_is_value(call)
    return _signed_maximum(call, [value], _reduction_windows(call, value, call.argument(1, "dim")), sign)


@_register("amax", "max")
def _amax(call: Call) -> list[Step]:
    return _reduced_maximum(call, 1)


@_register("amin", "min")
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


def _per_dimension(numbers: Any, rank: int) -> list[int]:
    numbers = [numbers] if isinstance(numbers, int) else list(numbers)
    return numbers * rank if len(numbers) == 1 else numbers


@_register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
)  # fmt: skip
def _max_pool(call: Call) -> list[Step]:
    value, rank = _only_first_is_value(call), len(call.shape) - 1
    kernel = _per_dimension(call.args[1], rank)
    stride = _per_dimension(call.argument(2, "stride") or kernel, rank)
    padding = _per_dimension(call.argument(3, "padding", 0), rank)
    dilation = _per_dimension(call.argument(4, "dilation", 1), rank)
    reach: list[list[range | list[int]]] = []
    for d in range(rank):
        starts = [place * stride[d] - padding[d] for place in range(call.shape[1 + d])]
        places = [range(start, start + kernel[d] * dilation[d], dilation[d]) for start in starts]
        reach.append([[p for p in window if 0 <= p < value.shape[1 + d]] for window in places])
    return _maximum_of(call, [value], _pooling_windows(value.shape, reach))


@_register("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(call: Call) -> list[Step]:
    value = _only_first_is_value(call)
    reach: list[list[range | list[int]]] = []
    for size, places in zip(value.shape[1:], call.shape[1:]):
        reach.append([range(p * size // places, -(-(p + 1) * size // places)) for p in range(places)])
    return _maximum_of(call, [value], _pooling_windows(value.shape, reach))


# ---------------------------------------------------------------- refused, with the reason

_REASONS = {
    "is curved": (
        "sigmoid", "tanh", "gelu", "silu", "mish", "softplus", "elu", "celu", "selu", "exp", "log", "sqrt", "rsqrt", "pow",
        "hardswish", "softmax", "_softmax", "log_softmax", "_log_softmax", "log_sigmoid", "sin", "cos", "erf", "square",
        "logsumexp", "reciprocal", "layer_norm", "native_layer_norm", "group_norm", "native_group_norm", "instance_norm",
        "scaled_dot_product_attention", "linalg_vector_norm", "norm", "var", "std", "prod", "cumprod", "atan", "glu",
    ),
    "jumps, so it is not continuous": ("sign", "round", "floor", "ceil", "trunc", "hardshrink", "heaviside", "fmod", "remainder"),
    "gives an answer that jumps": ("gt", "lt", "ge", "le", "eq", "ne", "where", "argmax", "argmin", "topk", "masked_fill"),
    "indexes by data": ("gather", "scatter", "embedding", "index_put", "nonzero", "masked_select"),
}  # fmt: skip


def _refusal(reason: str) -> Handler:
    def refuse(call: Call) -> list[Step]:
        raise call.refuse(f"{call.origin.operation} {reason}")

    return refuse


REFUSED: dict[str, Handler] = {name: _refusal(why) for why, names in _REASONS.items() for name in names}
