"""Constants of ONNX graphs: what does not depend on the input is computed once, by listed operators, its size known before."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from relu_regions.operations import UnsupportedOperation

__all__ = ["fold_constants", "shapes_of"]

Shape = list[object]  # a size each: a name where the axis is free, None where it is unknown

# Operators that give the same numbers for the same numbers, make no more than their results, and take time in proportion
# to them. No chance, no control flow, no loops over kernels.
_PURE = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos Cosh CumSum DequantizeLinear Div Dropout Equal Erf
    Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual HardSigmoid
    Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log MatMul Max Mean Min Mod Mul Neg Not OneHot Or PRelu Pad
    Pow QuantizeLinear Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign
    Sin Sinh Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tan Tanh Tile Transpose Trilu Unsqueeze Where
    Xor
"""
_SMALL = 4096  # numbers that may tell a shape
# How often the memory allowed for constants may be filled anew.
_ROUNDS = 16


def shapes_of(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Each tensor's shape as far as it is inferred."""
    shapes: dict[str, Shape] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        kind = entry.type.tensor_type
        if kind.HasField("shape"):
            axes = kind.shape.dim
            shapes[entry.name] = [a.dim_value if a.HasField("dim_value") else a.dim_param or None for a in axes]
    return shapes


def fold_constants(model: onnx.ModelProto, spare_bytes: int) -> None:
    """Replace what does not depend on the input's values by constants, and remove nodes that change nothing.

    Args:
        model: with inferred shapes; changed in place.
        spare_bytes: how much the constants may take beyond the model's own tensors.

    Raises:
        ValueError: they would take more.
        UnsupportedOperation: an operator that is not on the list depends on constants only.
    """
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = _Constants(model, known, spare_bytes)
    outputs = {output.name for output in graph.output}
    shapes, exact = shapes_of(graph), _exact_casts(graph)
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        shape = shapes.get(node.input[0]) if node.input else None
        if node.op_type == "Shape" and shape is not None and all(isinstance(size, int) for size in shape):
            settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            known[node.output[0]] = np.array(shape[settings.get("start", 0) : settings.get("end")], np.int64)
        elif all(name == "" or name in known for name in node.input):
            constants.evaluate(node)
        elif node.output[0] not in outputs and (node.output[0] in exact or _changes_nothing(node, known)):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | outputs
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in known.items() if name in used)


class _Constants:
    """What is known of a graph's values, and how much memory more of it may take."""

    def __init__(self, model: onnx.ModelProto, known: dict[str, np.ndarray], spare_bytes: int) -> None:
        self.known = known
        self._opsets = model.opset_import
        self._allowed = sum(array.nbytes for array in known.values()) + spare_bytes
        self._held = self._made = 0
        self._uses = Counter(name for node in model.graph.node for name in node.input)
        self._uses.update(output.name for output in model.graph.output)
        self._sizes: dict[str, int] = {}

    def evaluate(self, node: onnx.NodeProto) -> None:
        """Compute the outputs of a node whose inputs are all known."""
        if node.op_type not in _PURE.split():
            raise UnsupportedOperation(
                f"{node.op_type} (node {node.name!r}) depends on constants only, and is none of the operators that are "
                "computed while a file is read."
            )
        feeds = {name: self.known[name] for name in node.input if name}
        names = [name for name in node.output if name]
        inputs, outputs = (
            [helper.make_empty_tensor_value_info(name) for name in several] for several in (feeds, names)
        )
        alone = helper.make_model(helper.make_graph([node], "constant", inputs, outputs), opset_imports=self._opsets)
        self._count(node, self._inferred(alone, feeds))
        for name, value in zip(names, ReferenceEvaluator(alone).run(None, feeds)):
            array = np.asarray(value)
            if array.dtype.kind not in "biufV":
                raise UnsupportedOperation(f"{node.op_type} (node {node.name!r}) makes no numbers.")
            self.known[name] = array
        self._release(node)

    def _inferred(self, alone: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, int]:
        """How many bytes each output will take, from the shapes that onnx infers before anything is computed."""
        described = onnx.ModelProto()
        described.CopyFrom(alone)
        del described.graph.input[:]
        for name, array in feeds.items():
            if array.size <= _SMALL:
                described.graph.initializer.append(numpy_helper.from_array(array, name))
            else:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                described.graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
        inferred = onnx.shape_inference.infer_shapes(described, strict_mode=True, data_prop=True).graph
        shapes = shapes_of(inferred)
        sizes = {}
        for entry in inferred.output:
            shape = shapes.get(entry.name, [None])
            if not all(isinstance(size, int) and size >= 0 for size in shape):
                raise UnsupportedOperation(
                    f"{alone.graph.node[0].op_type} (node {alone.graph.node[0].name!r}) makes a constant whose size is not "
                    "known before it is computed."
                )
            sizes[entry.name] = prod(shape) * _itemsize(entry.type.tensor_type.elem_type)  # type: ignore[arg-type]
        return sizes

    def _count(self, node: onnx.NodeProto, sizes: dict[str, int]) -> None:
        self._sizes.update(sizes)
        self._held += sum(sizes.values())
        self._made += sum(sizes.values())
        if self._held > self._allowed or self._made > _ROUNDS * self._allowed:
            raise ValueError(
                f"with {node.op_type} (node {node.name!r}) its folded constants take {self._held:,} bytes, more than the "
                f"{self._allowed:,} allowed beside its own tensors; raise limits=relu_regions.Limits(spare_bytes=...) "
                "if you trust the file"
            )

    def _release(self, node: onnx.NodeProto) -> None:
        """Forget the constants that no other node asks for."""
        for name in node.input:
            self._uses[name] -= 1
            if name and not self._uses[name]:
                self._held -= self._sizes.get(name, 0)
                self.known.pop(name)


def _itemsize(kind: int) -> int:
    if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        raise UnsupportedOperation("A constant of the file holds no numbers.")
    return max(1, int(helper.tensor_dtype_to_np_dtype(kind).itemsize))


def _exact_casts(graph: onnx.GraphProto) -> set[str]:
    """Outputs of casts from one float to another: in the real network that is walked these change nothing."""
    floats = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
    entries = (*graph.input, *graph.value_info, *graph.output)
    numbers = {entry.name for entry in entries if entry.type.tensor_type.elem_type in floats}
    return {n.output[0] for n in graph.node if n.op_type == "Cast" and {n.input[0], n.output[0]} <= numbers}


def _changes_nothing(node: onnx.NodeProto, known: dict[str, np.ndarray]) -> bool:
    if node.op_type == "Dropout":
        training = node.input[2] if len(node.input) > 2 else ""
        return training == "" or (training in known and not known[training])
    return node.op_type == "Identity"
