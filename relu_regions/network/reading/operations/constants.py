"""Folding: what a model computes from constants alone, by operations that are known to do nothing else."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from relu_regions.network.reading.operations.refused import REFUSED
from relu_regions.network.reading.operations.registry import OPERATIONS, UnsupportedOperation

__all__ = ["ELEMENTWISE", "PURE", "SHAPE_ONLY", "as_float64", "computes", "fold", "operation_name", "rounds"]

_EACH_NUMBER = """
    abs acos acosh add addcdiv addcmul asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor ceil
    clamp clamp_max clamp_min clip copysign cos cosh deg2rad div divide eq erf erfc erfinv exp exp2 expm1 floor
    floor_divide fmax fmin fmod frac ge gelu greater greater_equal gt hypot isfinite isinf isnan le lerp less less_equal
    lgamma log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor logit lt maximum minimum mul
    multiply nan_to_num ne neg negative not_equal pow rad2deg reciprocal remainder round rsqrt rsub sgn sigmoid sign
    signbit sin sinc sinh sqrt square sub subtract tan tanh true_divide trunc where xlogy _assert_async _assert_scalar
    _assert_tensor_metadata
"""
_MADE = """
    arange empty empty_like eye full full_like linspace logspace new_empty new_full new_ones new_zeros ones ones_like
    scalar_tensor tril_indices triu_indices zeros zeros_like hann_window hamming_window blackman_window bartlett_window
    affine_grid_generator
"""
_MOVED = """
    alias as_strided atleast_1d atleast_2d atleast_3d block_diag broadcast_tensors broadcast_to cat chunk clone
    column_stack concat contiguous copy detach diag diag_embed diagonal diagonal_scatter dstack expand expand_as fill
    zero flatten flip fliplr
    flipud gather hstack im2col col2im index index_add index_copy index_fill index_put index_select
    kron lift lift_fresh lift_fresh_copy masked_fill masked_scatter masked_select meshgrid moveaxis movedim mT mH narrow
    one_hot permute repeat repeat_interleave reshape resolve_conj resolve_neg roll rot90 scatter scatter_add select
    select_scatter slice slice_scatter split split_with_sizes squeeze stack swapaxes swapdims t take take_along_dim
    tensor_split tile to transpose tril triu type_as unbind unflatten unfold unsqueeze view view_as vstack _to_copy
    _unsafe_view _unsafe_index
"""
_REDUCED = """
    all amax amin aminmax any argmax argmin argsort cdist cummax cummin cumprod cumsum diff dist frobenius_norm
    kthvalue linalg_norm linalg_vector_norm linalg_matrix_norm logcumsumexp logsumexp max mean median min mode
    nansum norm prod quantile searchsorted softmax _softmax log_softmax _log_softmax sort std std_mean sum topk trace
    var var_mean
"""
_PRODUCTS = """
    addbmm addmm addmv addr baddbmm bilinear bmm chain_matmul conv1d conv2d conv3d convolution conv_transpose1d
    conv_transpose2d conv_transpose3d cross dot einsum inner linalg_cholesky linalg_cross linalg_det linalg_eigh
    linalg_householder_product linalg_inv linalg_inv_ex linalg_lu_factor linalg_lu_solve linalg_matrix_exp
    linalg_matrix_power linalg_multi_dot linalg_qr linalg_solve linalg_solve_ex _linalg_solve_ex linalg_solve_triangular
    linalg_svd linalg_vecdot linear matmul matrix_exp mm mv outer tensordot vdot _weight_norm _weight_norm_interface
    cosine_similarity
"""
# Names of ATen operations that give the same tensor for the same arguments, read and change nothing else, and make no
# more than their result. What relu_regions reads, or refuses as curved, is of this kind as well, chance set apart.
_RANDOM = {
    name
    for name in {*OPERATIONS, *REFUSED}
    if any(word in name for word in ("dropout", "rrelu", "dot_product_attention", "lstm", "gru", "rnn"))
}
PURE: frozenset[str] = frozenset(
    {*" ".join((_EACH_NUMBER, _MADE, _MOVED, _REDUCED, _PRODUCTS)).split(), *OPERATIONS, *REFUSED} - _RANDOM
)

ELEMENTWISE: frozenset[str] = frozenset(_EACH_NUMBER.split())

# Functions of Python on the numbers that a graph computes sizes with.
_OF_SIZES: frozenset[Callable[..., Any]] = frozenset(
    {
        operator.add, operator.sub, operator.mul, operator.floordiv, operator.truediv, operator.mod, operator.neg,
        operator.pos, operator.abs, operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
        operator.and_, operator.or_, operator.not_, operator.getitem, math.ceil, math.floor, math.trunc, math.sqrt,
        max, min, abs, int, float, bool, round, torch.sym_int, torch.sym_float, torch.sym_max, torch.sym_min,
        torch.sym_not, torch.sym_ite,
    }
)  # fmt: skip


def operation_name(target: Any) -> str:
    """The name of what a node of a graph calls: ``add`` for ``aten.add.Tensor``; in full where it is none of ATen's."""
    schema = getattr(target, "_schema", None)
    return str(schema.name).removeprefix("aten::") if schema is not None else getattr(target, "__name__", str(target))


def fold(target: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """What an operation makes of constants, in float64: every number is exact or rounded to the nearest once.

    Args:
        target: an ATen operation, or a function of Python on numbers.
        arguments, keywords: tensors (floats in float64), numbers and lists of them.

    Raises:
        UnsupportedOperation: the operation is not on the list ``PURE``.
    """
    name = operation_name(target)
    if target in _OF_SIZES:
        return _number(target, name, arguments)
    _check_pure(target, name, arguments)
    arguments, keywords = [_widened(a) for a in arguments], {k: _widened(a) for k, a in keywords.items()}
    result = target(*arguments, **keywords)
    if name in _COMPUTED and _holds_floats(result) and not _holds_floats([arguments, list(keywords.values())]):
        # Of integers torch makes fractions in its default type, which may be narrow.
        result = target(*(_as_real(argument, booleans=name != "where") for argument in arguments), **keywords)
    if name.removeprefix("new_").removesuffix("_like") == "empty":
        raise UnsupportedOperation(f"{name} reads memory that nothing has been written to; give it numbers.")
    return _mapped(as_float64, result)


_ROUNDING = {"round", "floor", "ceil", "trunc", "frac", "sign", "sgn", "fmod", "remainder", "floor_divide", "heaviside"}


def rounds(target: Any, given: list[Any], made: Tensor) -> bool:
    """Whether an operation jumps, or keeps fewer bits than it is given, so that it matters which numbers it is given.

    Args:
        target: a pure operation.
        given: its arguments, tensors in the model's own dtypes.
        made: what it makes of them.
    """
    if not made.dtype.is_floating_point or operation_name(target) in _ROUNDING:
        return True
    floats = [part for part in tree_leaves(given) if isinstance(part, Tensor) and part.dtype.is_floating_point]
    return any(torch.finfo(made.dtype).eps > torch.finfo(part.dtype).eps for part in floats)


# What computes without rounding: it chooses among numbers, or changes signs.
_EXACT = {"abs", "amax", "amin", "max", "maximum", "min", "minimum", "neg", "negative", "where"}


def computes(node: torch.fx.Node) -> bool:
    """Whether a node computes floats from floats, and does not only move numbers, so that types give other results."""
    numbers = [part.meta.get("val") for part in (node, *node.all_input_nodes)]
    floats = any(isinstance(part, Tensor) and part.dtype.is_floating_point for part in numbers)
    return floats and operation_name(node.target) in _COMPUTED - _EXACT


# Of which argument an operation takes the shape, the dtype and the device, and no number.
SHAPE_ONLY = {
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "copy", "fill", "zero"), 0
    ),
    **dict.fromkeys(("type_as", "expand_as", "view_as", "reshape_as", "to"), 1),
}


def _number(target: Callable[..., Any], name: str, arguments: list[Any]) -> Any:
    numbers = arguments[0] if target is operator.getitem else arguments
    if not all(isinstance(number, (int, float)) for number in numbers) and target is not operator.getitem:
        raise UnsupportedOperation(f"{name} of {arguments} is no arithmetic of sizes.")
    result = target(*arguments)
    if isinstance(result, int) and result.bit_length() > 64:
        raise UnsupportedOperation(f"{name} makes a size of more than 64 bits.")
    return result


_COMPUTED = frozenset(" ".join((_EACH_NUMBER, _REDUCED, _PRODUCTS)).split())
_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


def _check_pure(target: Any, name: str, arguments: list[Any]) -> None:
    schema = getattr(target, "_schema", None)
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise UnsupportedOperation(
            f"{name} is random: two calls of the model give two answers. Fix the number it draws."
        )
    if schema is None or not schema.name.startswith("aten::") or name not in PURE or schema.is_mutable:
        raise UnsupportedOperation(
            f"{name} is not among the operations that relu_regions runs on constants: it may do more than compute. "
            "Compute its result beforehand and keep it as a buffer of the model."
        )


def _mapped(function: Callable[[Tensor], Any], argument: Any) -> Any:
    if isinstance(argument, (list, tuple)):
        return [_mapped(function, item) for item in argument]
    return function(argument) if isinstance(argument, Tensor) else argument


def _widened(argument: Any) -> Any:
    return torch.float64 if isinstance(argument, torch.dtype) and argument in _FLOATS else argument


def _holds_floats(argument: Any) -> bool:
    if isinstance(argument, (list, tuple)):
        return any(_holds_floats(item) for item in argument)
    return isinstance(argument, Tensor) and argument.dtype.is_floating_point


def _as_real(argument: Any, booleans: bool) -> Any:
    def real(tensor: Tensor) -> Tensor:
        return tensor.to(torch.float64) if booleans or tensor.dtype != torch.bool else tensor

    return _mapped(real, argument)


def as_float64(tensor: Tensor) -> Tensor:
    """A constant in the precision of the walk: exact for every narrower float, and detached from the model.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    tensor = tensor.detach()
    if not tensor.dtype.is_floating_point:
        return tensor
    wide = tensor.to(torch.float64, copy=True)
    if not torch.isfinite(wide).all():
        raise ValueError("The model's weights contain NaN or infinity; nothing can be computed from them.")
    return wide
