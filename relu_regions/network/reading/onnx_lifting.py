"""ONNX graphs without a batch axis get one in front of every value that depends on the input.

Each operator is written so that it does to every point what it does to one. All shapes are known, so what only lays
numbers out anew is a reshape, and axes are counted one further.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from relu_regions.network.reading.onnx_folding import shapes_of
from relu_regions.network.reading.onnx_rebuilding import describe_nodes
from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["lifted"]

_Shape = tuple[int, ...]


def lifted(model: onnx.ModelProto, drops_one: bool) -> onnx.ModelProto:
    """The network for any number of points, of a model that takes one.

    Args:
        model: of one input and one output, its constants folded, all shapes fixed and inferred.
        drops_one: whether a first axis of size 1, of the input and of the output, is no part of a point.

    Returns:
        A model whose input and output have the points on a new first axis; no shapes in between are stated.

    Raises:
        UnsupportedOperation: an operator is there that is not lifted.
        ValueError: a shape is not known.
    """
    return _Lifting(model).model(drops_one)


class _Lifting:
    """Goes through a graph in order and writes each node for many points."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.file = model
        self.opset = model.opset_import[0].version
        self.shapes = shapes_of(model.graph)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []
        self.added: list[onnx.TensorProto] = []
        self.lifted: dict[str, str] = {}  # what stands for a value that depends on the input
        self.numbers = count()
        self.node = onnx.NodeProto()  # the one that is being written

    def model(self, drops_one: bool) -> onnx.ModelProto:
        source, result = self.file.graph.input[0], self.file.graph.output[0]
        shape = self.shape(source.name)
        point = shape[1:] if drops_one else shape
        self.node = helper.make_node("Reshape", [], [], "input")
        self.lifted[source.name] = self.reshaped(source.name, shape) if drops_one else source.name
        for node in self.file.graph.node:
            self.node = node
            if any(name in self.lifted for name in self.node.input):
                self.write()
            else:
                raise UnsupportedOperation(f"{describe_nodes([self.node])} does not depend on the input.")
        if result.name not in self.lifted:
            raise ValueError("its output does not depend on its input")
        out = self.shape(result.name)
        last = self.lifted[result.name]
        if drops_one and len(out) > 1 and out[0] == 1:
            last = self.reshaped(last, out[1:])
        kind = source.type.tensor_type.elem_type
        entry = helper.make_tensor_value_info(source.name, kind, ["N", *point])
        made = helper.make_tensor_value_info(last, result.type.tensor_type.elem_type, None)
        graph = helper.make_graph(self.nodes, "graph", [entry], [made], [*self.constants.values(), *self.added])
        return helper.make_model(graph, opset_imports=self.file.opset_import, ir_version=self.file.ir_version)

    # ---------------------------------------------------------------- pieces

    def shape(self, name: str) -> _Shape:
        """A value's shape for one point."""
        found = self.shapes.get(name)
        if found is None or not all(isinstance(size, int) for size in found):
            raise ValueError(f"the shape of {name} is not known")
        return tuple(found)  # type: ignore[arg-type]

    def emit(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """A node of the name of the one that is being written; the name of what it makes."""
        made = f"lifted_{next(self.numbers)}"
        self.nodes.append(helper.make_node(operator, inputs, [made], self.node.name, **attributes))
        return made

    def constant(self, array: np.ndarray) -> str:
        """A constant; its name."""
        self.added.append(numpy_helper.from_array(array, f"lifted_constant_{next(self.numbers)}"))
        return self.added[-1].name

    def ints(self, *numbers: int) -> str:
        """A constant of whole numbers."""
        return self.constant(np.array(numbers, np.int64))

    def reshaped(self, lifted: str, shape: Sequence[int], rows: int = 0) -> str:
        """A value for many points in another shape; rows −1 folds an axis into the points or takes it out again."""
        if 0 in shape:
            raise self.refuse()
        return self.emit("Reshape", [lifted, self.ints(rows, *shape)])

    def attributes(self, **changed: Any) -> dict[str, Any]:
        """The node's attributes with some changed; None leaves one out."""
        given = {one.name: helper.get_attribute_value(one) for one in self.node.attribute} | changed
        return {name: value for name, value in given.items() if value is not None}

    def numbers_of(self, place: int) -> list[int] | None:
        """The constant whole numbers at an input; None if there is nothing."""
        if len(self.node.input) <= place or not self.node.input[place]:
            return None
        if self.node.input[place] not in self.constants:
            raise self.refuse()
        return [int(n) for n in numpy_helper.to_array(self.constants[self.node.input[place]]).reshape(-1)]

    def refuse(self) -> UnsupportedOperation:
        return UnsupportedOperation(f"it has no batch axis, and cannot be given one at {describe_nodes([self.node])}.")

    def rest(self) -> list[str]:
        """All inputs but the first, which are constants."""
        if any(name in self.lifted for name in self.node.input[1:]):
            raise self.refuse()
        return list(self.node.input[1:])

    def first(self) -> tuple[str, _Shape]:
        """The first input for many points, and its shape for one."""
        name = self.node.input[0]
        if name not in self.lifted:
            raise self.refuse()
        return self.lifted[name], self.shape(name)

    def write(self) -> None:
        """Write the node for many points."""
        writer = _WRITERS.get(self.node.op_type) if self.opset >= _FIRST_OPSET else None
        if writer is None or (any(self.node.output[1:]) and self.node.op_type not in _SEVERAL):
            raise self.refuse()
        made = writer(self)
        if isinstance(made, str):
            self.lifted[self.node.output[0]] = made


# ---------------------------------------------------------------- operators


def _elementwise(self: _Lifting) -> str:
    """What broadcasts: axes of size 1 between the points and a shape that is shorter than the result's."""
    rank = len(self.shape(self.node.output[0]))
    inputs = []
    for name in self.node.input:
        shape = self.shape(name) if name in self.lifted else ()
        spread = name in self.lifted and len(shape) < rank
        inputs.append(
            self.reshaped(self.lifted[name], (*[1] * (rank - len(shape)), *shape))
            if spread
            else self.lifted.get(name, name)
        )
    return self.emit(self.node.op_type, inputs, **self.attributes())


def _mean(self: _Lifting) -> str:
    # The converter takes means of tensors of one shape alone.
    if any(name not in self.lifted or self.shape(name) != self.shape(self.node.output[0]) for name in self.node.input):
        raise self.refuse()
    return _elementwise(self)


def _laid_out(self: _Lifting) -> str:
    return self.reshaped(self.first()[0], self.shape(self.node.output[0]))


def _transpose(self: _Lifting) -> str:
    lifted, shape = self.first()
    order = self.attributes().get("perm") or range(len(shape))[::-1]
    return self.emit("Transpose", [lifted], perm=[0, *(axis + 1 for axis in order)])


def _axis(self: _Lifting, given: int, rank: int) -> int:
    if not -rank <= given < rank:
        raise self.refuse()
    return given % rank + 1


def _concat(self: _Lifting) -> str:
    rank = len(self.shape(self.node.output[0]))
    parts = [self.lifted[name] if name in self.lifted else _in_front(self, name) for name in self.node.input]
    return self.emit("Concat", parts, axis=_axis(self, self.attributes()["axis"], rank))


def _in_front(self: _Lifting, constant: str) -> str:
    """A constant with an axis of size 1 for the points."""
    return self.constant(numpy_helper.to_array(self.constants[constant])[None])


def _along_axis(self: _Lifting) -> str:
    lifted, shape = self.first()
    if self.opset < 13 and self.node.op_type in ("Softmax", "LogSoftmax"):
        raise self.refuse()
    default = -1 if self.node.op_type in ("Softmax", "LogSoftmax") else 0
    axis = _axis(self, self.attributes().get("axis", default), len(shape))
    return self.emit(self.node.op_type, [lifted, *self.rest()], **self.attributes(axis=axis))


def _split(self: _Lifting) -> None:
    lifted, shape = self.first()
    axis = _axis(self, self.attributes().get("axis", 0), len(shape))
    outputs = [f"lifted_{next(self.numbers)}" if name else "" for name in self.node.output]
    changed = self.attributes(axis=axis)
    self.nodes.append(helper.make_node("Split", [lifted, *self.rest()], outputs, self.node.name, **changed))
    self.lifted.update((name, made) for name, made in zip(self.node.output, outputs) if name)


def _slice(self: _Lifting) -> str:
    lifted, shape = self.first()
    starts, ends, axes, steps = (self.numbers_of(place) for place in (1, 2, 3, 4))
    if self.opset < 10 or starts is None or ends is None:
        raise self.refuse()
    axes = [_axis(self, axis, len(shape)) for axis in (axes if axes is not None else range(len(starts)))]
    return self.emit("Slice", [lifted, *(self.ints(*part) for part in (starts, ends, axes, steps or [1] * len(axes)))])


def _pad(self: _Lifting) -> str:
    lifted, shape = self.first()
    pads, axes = self.numbers_of(1), self.numbers_of(3)
    if self.opset < 11 or pads is None:
        raise self.refuse()
    rank, half = len(shape), len(pads) // 2
    places = [axis % rank for axis in axes] if axes is not None else list(range(half))
    before, after = [0] * (rank + 1), [0] * (rank + 1)
    for place, first, last in zip(places, pads[:half], pads[half:]):
        before[place + 1], after[place + 1] = first, last
    value = [self.node.input[2]] if len(self.node.input) > 2 and self.node.input[2] else []
    return self.emit("Pad", [lifted, self.ints(*before, *after), *value], **self.attributes())


def _reduce(self: _Lifting) -> str:
    lifted, shape = self.first()
    given = self.attributes().get("axes") if self.numbers_of(1) is None else self.numbers_of(1)
    axes = [_axis(self, axis, len(shape)) for axis in given] if given else list(range(1, len(shape) + 1))
    if not axes or (not given and self.attributes().get("noop_with_empty_axes")):  # of each number by itself
        return self.emit("Abs" if self.node.op_type == "ReduceL1" else "Identity", [lifted])
    changed = self.attributes(axes=None, noop_with_empty_axes=None)
    if self.opset >= 18 or (self.opset >= 13 and self.node.op_type == "ReduceSum"):
        return self.emit(self.node.op_type, [lifted, self.ints(*axes)], **changed)
    return self.emit(self.node.op_type, [lifted], axes=axes, **changed)


def _cumulated(self: _Lifting) -> str:
    lifted, shape = self.first()
    axes = self.numbers_of(1)
    if axes is None or len(axes) != 1:
        raise self.refuse()
    axis = self.constant(np.array(_axis(self, axes[0], len(shape)), np.int64))
    return self.emit("CumSum", [lifted, axis], **self.attributes())


def _expand(self: _Lifting) -> str:
    lifted, shape = self.first()
    out = self.shape(self.node.output[0])
    spread = self.reshaped(lifted, (*[1] * (len(out) - len(shape)), *shape))
    return self.emit("Expand", [spread, self.ints(1, *out)])


def _tile(self: _Lifting) -> str:
    lifted, _ = self.first()
    repeats = self.numbers_of(1)
    if repeats is None:
        raise self.refuse()
    return self.emit("Tile", [lifted, self.ints(1, *repeats)])


def _triangle(self: _Lifting) -> str:
    return self.emit("Trilu", [self.first()[0], *self.rest()], **self.attributes())


def _product(self: _Lifting) -> str:
    """MatMul, of which vectors are rows or columns of a matrix."""
    out = self.shape(self.node.output[0])
    shapes = [self.shape(name) for name in self.node.input]
    first, second = shapes
    wide = [(1, *first) if len(first) == 1 else first, (*second, 1) if len(second) == 1 else second]
    rank = max(map(len, wide))
    factors = []
    for name, shape, plain in zip(self.node.input, wide, shapes):
        if name in self.lifted:
            whole = (*[1] * (rank - len(shape)), *shape)
            factors.append(self.lifted[name] if whole == plain else self.reshaped(self.lifted[name], whole))
        elif shape == plain:
            factors.append(name)
        else:
            factors.append(self.emit("Reshape", [name, self.ints(*shape)]))
    made = self.emit("MatMul", factors)
    return made if len(first) > 1 and len(second) > 1 else self.reshaped(made, out)


def _einsum(self: _Lifting) -> str:
    """Einsum, with a letter for the points before the others of what depends on the input."""
    equation = self.attributes()["equation"].decode("ascii").replace(" ", "")
    given, arrow, result = equation.partition("->")
    letters = [letter for letter in given if letter.isalpha()]
    if not arrow:
        result = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    free = [letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in letters]
    if "." in equation or not free:
        raise self.refuse()
    parts = zip(given.split(","), self.node.input, strict=True)
    named = ",".join(free[0] + part if name in self.lifted else part for part, name in parts)
    inputs = [self.lifted.get(name, name) for name in self.node.input]
    return self.emit("Einsum", inputs, equation=f"{named}->{free[0]}{result}")


def _gemm(self: _Lifting) -> str:
    """Gemm as products, sums and multiples."""
    given = self.attributes()
    factors = []
    for name, option in zip(self.node.input[:2], ("transA", "transB")):
        place = self.lifted.get(name, name)
        turned = [0, 2, 1] if name in self.lifted else [1, 0]
        factors.append(self.emit("Transpose", [place], perm=turned) if given.get(option) else place)
    made = self.emit("MatMul", factors)
    made = _times(self, made, given.get("alpha", 1.0))
    if len(self.node.input) < 3 or not self.node.input[2]:
        return made
    name = self.node.input[2]
    bias, shape = self.lifted.get(name, name), self.shape(name)
    if name in self.lifted and len(shape) < 2:
        bias = self.reshaped(bias, (*[1] * (2 - len(shape)), *shape))
    return self.emit("Add", [made, _times(self, bias, given.get("beta", 1.0))])


def _times(self: _Lifting, value: str, factor: float) -> str:
    if factor == 1:
        return value
    kind = helper.tensor_dtype_to_np_dtype(self.file.graph.input[0].type.tensor_type.elem_type)
    return self.emit("Mul", [value, self.constant(np.array(factor, kind))])


def _spatial(self: _Lifting) -> str:
    """What acts on each row of the first axis alone: rows of all points are laid behind each other."""
    lifted, shape = self.first()
    out = self.shape(self.node.output[0])
    least = 2 if self.node.op_type == "BatchNormalization" else 3
    if len(shape) < least or shape[0] != out[0] or prod(shape) == 0:
        raise self.refuse()
    folds = 0 if shape[0] == 1 else -1
    rows = self.reshaped(lifted, shape[1:], folds)
    made = self.emit(self.node.op_type, [rows, *self.rest()], **self.attributes())
    return self.reshaped(made, out, folds)


_Writer = Callable[[_Lifting], "str | None"]
_SEVERAL = {"Split"}
_FIRST_OPSET = 7  # before it, arithmetic was told how to broadcast


def _writers() -> dict[str, _Writer]:
    table: list[tuple[str, _Writer]] = [
        (
            "Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast CastLike Ceil Celu Clip Cos Cosh Div Dropout Elu Equal "
            "Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity LeakyRelu Less LessOrEqual Log "
            "Max Min Mish Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh "
            "Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor",
            _elementwise,
        ),
        ("Mean", _mean),
        ("Flatten Reshape Squeeze Unsqueeze", _laid_out),
        ("Transpose", _transpose),
        ("Concat", _concat),
        ("Gather Softmax LogSoftmax", _along_axis),
        ("Split", _split),
        ("Slice", _slice),
        ("Pad", _pad),
        ("ReduceL1 ReduceMax ReduceMean ReduceMin ReduceSum", _reduce),
        ("CumSum", _cumulated),
        ("Einsum", _einsum),
        ("Expand", _expand),
        ("Tile", _tile),
        ("Trilu", _triangle),
        ("MatMul", _product),
        ("Gemm", _gemm),
        (
            "AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalMaxPool LpPool "
            "MaxPool SpaceToDepth",
            _spatial,
        ),
    ]
    return {name: writer for names, writer in table for name in names.split()}


_WRITERS = _writers()
