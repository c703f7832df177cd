"""The ends of an ONNX graph: which output is meant, which input is free, of what shape, and what the others hold."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from relu_regions.network.reading.foreign import Asked, shown
from relu_regions.network.reading.last_operations import LOGITS
from relu_regions.network.reading.limits import Budget

__all__ = ["Entry", "chosen_output", "fixed_tensor", "free_input", "stated_type"]

_MOST_AXES = 32  # onnx and torch take the square of their number, and more


@dataclass(frozen=True)
class Entry:
    """The input that is free.

    Attributes:
        value: as the file has it.
        sizes: its whole shape; a free first axis counts 1.
        free: whether the file leaves the size of its first axis open.
        batched: whether the first axis is a batch; None if that is tried first.
    """

    value: onnx.ValueInfoProto
    sizes: tuple[int, ...]
    free: bool
    batched: bool | None


# ---------------------------------------------------------------- the output


def chosen_output(graph: onnx.GraphProto, output: int | str | None) -> tuple[str, bool]:
    """The name of the value that is asked for, and whether it is the logits before it.

    Raises:
        ValueError: there are several outputs and none is named, or there is no such value.
    """
    names = [result.name for result in graph.output]
    given = list(map(shown, names[:100]))
    if isinstance(output, str):
        if output in names or (output and any(output in node.output for node in graph.node)):
            return output, False
        if output != LOGITS:
            raise ValueError(f"output={output!r} is not among the network's outputs {given}, nor a value inside of it")
    elif isinstance(output, int) and -len(names) <= output < len(names):
        return str(names[output]), False
    elif output is not None:
        raise ValueError(f"output={output!r} is no position among the network's {len(names)} outputs")
    if len(names) != 1:
        raise ValueError(f"the network has the outputs {given}; name one of them with output=")
    return str(names[0]), output == LOGITS


def stated_type(graph: onnx.GraphProto, name: str, entry: Entry) -> int:
    """The type of the numbers that the file states for a value; that of the free input if it states none."""
    for value in (*graph.output, *graph.value_info):
        if value.name == name and value.type.tensor_type.elem_type:
            return int(value.type.tensor_type.elem_type)
    return int(entry.value.type.tensor_type.elem_type)


# ---------------------------------------------------------------- the inputs


def free_input(graph: onnx.GraphProto, used: Collection[str], stored: Collection[str], asked: Asked) -> Entry:
    """The one input that is neither fixed nor stored; before version 4 of the format weights were inputs as well.

    Args:
        graph: of the file.
        used: the values that the chosen output depends on.
        stored: the names of the file's tensors.
        asked: what the caller fixes, and the shape of the input.

    Raises:
        ValueError: several inputs are left, fixed names one that is not there, or the shape is open or another one.
    """
    inputs = [entry for entry in graph.input if entry.name not in stored or entry.name in asked.fixed]
    names = [entry.name for entry in inputs]
    unknown = [name for name in asked.fixed if name not in names]
    if unknown:
        raise ValueError(f"fixed= names {unknown[:100]}; the network has the inputs {list(map(shown, names[:100]))}")
    left = [entry for entry in inputs if entry.name not in asked.fixed]
    left = [entry for entry in left if entry.name in used] or left
    if len(left) != 1:
        given = [shown(entry.name) for entry in left[:100]]
        raise ValueError(f"the network has the inputs {given}, expected one; fix the others with fixed={{name: array}}")
    return _entry(left[0], asked.input_shape)


def _entry(value: onnx.ValueInfoProto, asked: tuple[int, ...] | None) -> Entry:
    sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim]
    known = value.type.tensor_type.HasField("shape")
    given = [shown(axis.dim_param) or axis.dim_value or "?" for axis in value.type.tensor_type.shape.dim[:33]]
    where = f"the input {shown(value.name)!r} has shape {given if known else 'unknown'}"
    if max(len(sizes), len(asked or ())) > _MOST_AXES:
        raise ValueError(f"the input {shown(value.name)!r} has more than {_MOST_AXES} axes")
    if asked is not None:
        if not known:
            sizes = [0, *asked]
        whole = (*sizes[:1], *asked) if len(asked) == len(sizes) - 1 else asked
        fits = len(whole) == len(sizes) and all(size in (0, one) for size, one in zip(sizes, whole))
        if not fits or min(asked, default=0) < 1:
            raise ValueError(
                f"{where}; input_shape={asked} is neither this without the batch axis in front, nor all of it"
            )
        batched = len(asked) < len(sizes)
        return Entry(value, tuple(max(size, 1) for size in whole), batched and sizes[0] == 0, batched)
    if not sizes or not all(size > 0 for size in sizes[1:]) or (len(sizes) == 1 and sizes[0] < 1):
        raise ValueError(
            f"{where}; expected a batch axis, then axes of fixed size. Give input_shape=, the shape of one point "
            "without the batch axis, or all of the shape where there is no batch axis"
        )
    return Entry(value, (max(sizes[0], 1), *sizes[1:]), sizes[0] < 1, False if len(sizes) == 1 else None)


def fixed_tensor(graph: onnx.GraphProto, name: str, given: Any, called: str, budget: Budget) -> TensorProto:
    """What a caller fixes an input to, as a tensor of the type that the file states.

    Args:
        graph: of the file.
        name: of the input.
        given: numbers, of the input's shape or of this without the batch axis in front.
        called: the tensor's name.
        budget: pays for what a batch of the file's own size repeats.

    Raises:
        ValueError: they have another shape, or are no numbers of that type.
    """
    stated = next(entry for entry in graph.input if entry.name == name).type.tensor_type
    kind = helper.tensor_dtype_to_np_dtype(stated.elem_type or TensorProto.FLOAT)
    if kind.kind not in "biufV":
        raise ValueError(f"the input {name!r} takes {kind}, which can't be fixed; fixed= takes numbers")
    # numpy knows no bfloat16, whose numbers are all numbers of float32.
    given = given.detach().cpu() if isinstance(given, Tensor) else given
    plain = np.asarray(given.float() if isinstance(given, Tensor) and given.dtype == torch.bfloat16 else given)
    array = plain.astype(kind) if plain.dtype.kind in "biuf" else None
    if array is None or (kind.kind not in "fV" and not np.array_equal(array, plain)):
        raise ValueError(f"fixed[{name!r}] holds {plain.dtype}, and the file takes {kind} there")
    sizes = [axis.dim_value for axis in stated.shape.dim]
    if stated.HasField("shape") and array.ndim == len(sizes) - 1:
        # The same for every point of a batch that the file fixes.
        rows = max(1, sizes[0])
        budget.take_bytes(f"fixed[{name!r}] for {rows:,} points", (rows - 1) * array.nbytes)
        array = np.broadcast_to(array, (rows, *array.shape))
    if stated.HasField("shape") and not _agree(sizes, array.shape):
        raise ValueError(
            f"fixed[{name!r}] has shape {plain.shape}; the file takes {[size or '?' for size in sizes]} there, or this "
            "without its first axis"
        )
    return numpy_helper.from_array(np.ascontiguousarray(array), called)


def _agree(stated: Sequence[int], given: Sequence[int]) -> bool:
    return len(stated) == len(given) and all(size in (0, one) for size, one in zip(stated, given))
