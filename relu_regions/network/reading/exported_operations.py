"""The operations that a ``.pt2`` file may name: those of the registry, pure ones, and arithmetic on sizes."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

import torch

from relu_regions.network.reading.decompositions import SPELLED_OUT
from relu_regions.network.reading.limits import Limits
from relu_regions.network.reading.operations import OPERATIONS, PURE, REFUSED, UnsupportedOperation

__all__ = ["counted", "operation_named", "writes"]

_ATEN = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
_SIZES = frozenset({"sym_size", "sym_numel"})
# Factorisations are left out: a file of a few megabytes could ask for hours of them.
_KNOWN = OPERATIONS.keys() | REFUSED.keys() | PURE | _SIZES | SPELLED_OUT
_LISTED = {name for name in _KNOWN if "linalg" not in name or "norm" in name} - {"matrix_exp", "chain_matmul"}
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "mod", "neg")
}


def operation_named(target: str, where: str) -> tuple[Callable[..., Any], Any]:
    """The function of a listed operation, and its schema; None for arithmetic on sizes.

    Args:
        target: as a file names it.
        where: the module that calls it, for the message.

    Raises:
        UnsupportedOperation: it is not on the list.
    """
    if target in _ARITHMETIC:
        return _on_sizes(_ARITHMETIC[target]), None
    match = _ATEN.fullmatch(target)
    name = match[1] if match else ""
    # An operation in place is that of the same name without it, for one who writes to a tensor of the graph.
    listed = {name, name.removesuffix("_")} & _LISTED
    packet = getattr(torch.ops.aten, name, None) if listed else None
    overload = getattr(packet, match[2], None) if match and packet is not None else None
    # What writes its result to a tensor that it is given is in no exported program, and not named as one in place.
    if not isinstance(overload, torch._ops.OpOverload) or any(given.is_out for given in overload._schema.arguments):
        raise UnsupportedOperation(
            f"It calls {target[:100]!r} in {where}, which is not known to be affine or piecewise linear. relu_regions "
            "reads continuous piecewise-linear networks; see relu_regions.supported_operations() for the operations it "
            "knows."
        )
    if name in _PARTS:
        return _of_parts(overload, name), overload._schema
    return overload, overload._schema


def writes(target: str) -> bool:
    """Whether an operation, listed or not, writes to a tensor that it is given: one in place, or with ``out=``."""
    match = _ATEN.fullmatch(target)
    packet = getattr(torch.ops.aten, match[1], None) if match else None
    schema = getattr(getattr(packet, match[2], None), "_schema", None) if match and packet is not None else None
    named_so = target.rpartition(".")[0].endswith("_")
    return named_so or (schema is not None and any(argument.is_out for argument in schema.arguments))


def counted(function: Callable[..., Any], schema: Any, limits: Limits) -> Callable[..., Any]:
    """A function whose operations are counted before tracing writes them out: those of recurrent layers."""
    if schema is None or not str(schema.name).startswith("aten::rnn_"):
        return function
    names = [argument.name for argument in schema.arguments]

    def compute(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args)), **kwargs}
        time = given["input"].shape[1 if given.get("batch_first") else 0] if "num_layers" in given else 1
        directions = 2 if given.get("bidirectional") else 1
        if isinstance(time, int):
            limits.check_nodes(_OPERATIONS_A_STEP * time * directions * int(given.get("num_layers", 1)))
        return function(*args, **kwargs)

    return compute


_OPERATIONS_A_STEP = 5  # of a recurrent layer


def _on_sizes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Arithmetic on whole numbers of 64 bits, of which one depends on the batch."""

    def compute(*sizes: Any) -> Any:
        if not all(isinstance(size, (int, torch.SymInt)) for size in sizes):
            raise UnsupportedOperation("It computes with numbers that are no sizes.")
        if sum(isinstance(size, torch.SymInt) for size in sizes) > 1:
            raise UnsupportedOperation("It computes a size from two that depend on the batch.")
        result = function(*sizes)
        if isinstance(result, int) and not -(1 << 63) <= result < 1 << 63:
            raise ValueError(f"it computes a size that 64 bits do not hold, by {function.__name__}")
        return result

    return compute


_MOST_PARTS = 1024


def _of_parts(function: torch._ops.OpOverload, name: str) -> Callable[..., Any]:
    """An operation that makes a list of tensors; tracing takes the square of their number."""
    names = [argument.name for argument in function._schema.arguments]

    def compute(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args)), **kwargs}
        size = given["self"].shape[given.get("dim", 0)]
        option = next((given[option] for option in _PARTS[name] if option in given), 1)
        parts: Any = size  # unbind, or split into parts of a size
        if isinstance(option, list):
            parts = len(option)
        elif name in ("chunk", "tensor_split"):
            parts = option
        elif isinstance(option, int) and option > 0:
            parts = -(-size // option)
        if not isinstance(parts, int) or parts > _MOST_PARTS:
            raise UnsupportedOperation(f"It calls {name}, which makes more than {_MOST_PARTS:,} tensors.")
        return function(*args, **kwargs)

    return compute


# What says how many parts there are, or how large each is.
_PARTS = {
    "split": ("split_size", "split_sizes"), "split_with_sizes": ("split_sizes",), "chunk": ("chunks",), "unbind": (),
    "tensor_split": ("sections", "indices", "tensor_indices_or_sections"),
}  # fmt: skip
