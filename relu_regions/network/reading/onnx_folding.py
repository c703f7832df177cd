"""Constants of ONNX graphs: computed once, by listed operators, after their size is known to be allowed."""

from __future__ import annotations

from collections import Counter
from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["fold_constants", "shapes_of"]

Shape = list[object]  # a size each: a name where the axis is free, None where it is unknown

# Operators that give the same numbers for the same numbers, make no more than their results, and take time in
# proportion to them. No chance, no control flow, no loops over kernels.
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
        shape = _shape(entry)
        if shape is not None:
            shapes[entry.name] = shape
    return shapes


def fold_constants(model: onnx.ModelProto, spare_bytes: int) -> None:
    """Replace what does not depend on the input's values by constants, and remove nodes that change nothing.

    Args:
        model: its input of known size; changed in place.
        spare_bytes: how much the constants may take beyond the model's own tensors.

    Raises:
        ValueError: they would take more.
        UnsupportedOperation: an operator that is not on the list depends on constants only.
        onnx.shape_inference.InferenceError: shapes contradict each other.
    """
    graph = model.graph
    values = _Values(model, spare_bytes)
    known = values.known
    outputs = {output.name for output in graph.output}
    renamed: dict[str, str] = {}
    kept = []
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
        values.simplify(node)
        sizes = values.infer(node)
        shape = values.shape(node.input[0]) if node.input else None
        if node.op_type == "Shape" and shape is not None and all(isinstance(size, int) for size in shape):
            settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            known[node.output[0]] = np.array(shape[settings.get("start", 0) : settings.get("end")], np.int64)
        elif all(name == "" or name in known for name in node.input):
            values.evaluate(node, sizes)
        elif node.output[0] not in outputs and (values.is_exact_cast(node) or _changes_nothing(node, known)):
            renamed[node.output[0]] = node.input[0]
        elif node.op_type == "Dropout" and not _changes_nothing(node, known):
            raise UnsupportedOperation(f"Dropout (node {node.name!r}) is in training mode, where it is random")
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | outputs
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in known.items() if name in used)


_FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}


class _Values:
    """What is known of a graph's values, node by node: types, shapes and numbers, within the memory that is allowed."""

    def __init__(self, model: onnx.ModelProto, spare_bytes: int) -> None:
        graph = model.graph
        self.known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._types = {entry.name: entry for entry in graph.input}
        self._opsets = model.opset_import
        self._allowed = sum(array.nbytes for array in self.known.values()) + spare_bytes
        self._held = self._made = 0
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(output.name for output in graph.output)
        self._sizes: dict[str, int] = {}

    def shape(self, name: str) -> Shape | None:
        """The shape of a value, as far as it is inferred."""
        if name in self.known:
            return list(self.known[name].shape)
        entry = self._types.get(name)
        return _shape(entry) if entry is not None else None

    def simplify(self, node: onnx.NodeProto) -> None:
        """A cast of a constant to another value's type depends on that type alone; a clip without bounds on nothing."""
        if node.op_type == "CastLike" and node.input[0] in self.known and node.input[1] in self._types:
            kind = self._types[node.input[1]].type.tensor_type.elem_type
            node.op_type, node.input[1:] = "Cast", []
            node.attribute.append(helper.make_attribute("to", kind))
        elif node.op_type == "Clip" and not any(node.input[1:]) and not node.attribute:
            node.op_type, node.input[1:] = "Identity", []

    def is_exact_cast(self, node: onnx.NodeProto) -> bool:
        """Whether it is a cast from one float to another: in the real network that is walked these change nothing."""
        types = [
            self._types[name].type.tensor_type.elem_type for name in (*node.input, *node.output) if name in self._types
        ]
        return node.op_type == "Cast" and len(types) == 2 and _FLOATS.issuperset(types)

    def infer(self, node: onnx.NodeProto) -> dict[str, int | None]:
        """The types and shapes of a node's outputs, and how many bytes each takes; None where that is not known.

        A node is looked at alone: onnx computes what a whole graph's shapes depend on, however much that is.
        """
        if node.op_type == "Range":
            self._check_range(node)
        names = [name for name in node.output if name]
        graph = helper.make_graph([node], "node", [], list(map(helper.make_empty_tensor_value_info, names)))
        for name in dict.fromkeys(filter(None, node.input)):
            array = self.known.get(name)
            if array is not None and array.size <= _SMALL:
                graph.initializer.append(numpy_helper.from_array(array, name))
            elif array is not None:
                kind = helper.np_dtype_to_tensor_dtype(array.dtype)
                graph.input.append(helper.make_tensor_value_info(name, kind, array.shape))
            else:
                graph.input.append(self._types[name])
        alone = helper.make_model(graph, opset_imports=self._opsets)
        inferred = onnx.shape_inference.infer_shapes(alone, strict_mode=True).graph
        self._types.update((entry.name, entry) for entry in inferred.output)
        return {entry.name: _bytes_of(entry) for entry in inferred.output}

    def _check_range(self, node: onnx.NodeProto) -> None:
        """onnx counts a range by making it."""
        start, limit, delta = (self.known.get(name) for name in node.input)
        if (
            start is None
            or limit is None
            or delta is None
            or {start.size, limit.size, delta.size} != {1}
            or not delta.all()
        ):
            raise UnsupportedOperation(f"Range (node {node.name!r}) is not one between two constants.")
        count = (float(limit.item()) - float(start.item())) / float(delta.item())
        if not count * limit.itemsize <= self._allowed:
            raise self._too_large(node, count * limit.itemsize)

    def evaluate(self, node: onnx.NodeProto, sizes: dict[str, int | None]) -> None:
        """Compute the outputs of a node whose inputs are all known."""
        if node.op_type not in _PURE.split():
            raise UnsupportedOperation(
                f"{node.op_type} (node {node.name!r}) depends on constants only, and is none of the operators that are "
                "computed while a file is read."
            )
        self._count(node, sizes)
        feeds = {name: self.known[name] for name in node.input if name}
        names = [name for name in node.output if name]
        inputs, outputs = (
            [helper.make_empty_tensor_value_info(name) for name in several] for several in (feeds, names)
        )
        alone = helper.make_model(helper.make_graph([node], "constant", inputs, outputs), opset_imports=self._opsets)
        with np.errstate(all="ignore"):
            results = ReferenceEvaluator(alone).run(None, feeds)
        for name, value in zip(names, results):
            array = np.asarray(value)
            if array.dtype.kind not in "biufV":
                raise UnsupportedOperation(f"{node.op_type} (node {node.name!r}) makes no numbers.")
            self.known[name] = array
        self._release(node)

    def _count(self, node: onnx.NodeProto, sizes: dict[str, int | None]) -> None:
        for name, size in sizes.items():
            if size is None:
                raise UnsupportedOperation(
                    f"{node.op_type} (node {node.name!r}) makes a constant whose size is not known before it is "
                    "computed."
                )
            self._sizes[name] = size
            self._held += size
            self._made += size
        if self._held > self._allowed or self._made > _ROUNDS * self._allowed:
            raise self._too_large(node, self._held)

    def _too_large(self, node: onnx.NodeProto, size: float) -> ValueError:
        return ValueError(
            f"with {node.op_type} (node {node.name!r}) its folded constants take {size:,.0f} bytes, more than the "
            f"{self._allowed:,} allowed beside its own tensors, or are made again and again; raise "
            "limits=relu_regions.Limits(spare_bytes=...) if you trust the file"
        )

    def _release(self, node: onnx.NodeProto) -> None:
        """Forget the constants that no other node asks for."""
        for name in node.input:
            self._uses[name] -= 1
            if name and not self._uses[name]:
                self._held -= self._sizes.get(name, 0)
                self.known.pop(name)


def _shape(entry: onnx.ValueInfoProto) -> Shape | None:
    kind = entry.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [a.dim_value if a.HasField("dim_value") else a.dim_param or None for a in kind.shape.dim]


def _bytes_of(entry: onnx.ValueInfoProto) -> int | None:
    shape, kind = _shape(entry), entry.type.tensor_type.elem_type
    if shape is None or kind in (TensorProto.UNDEFINED, TensorProto.STRING):
        return None
    sizes = [size for size in shape if isinstance(size, int) and size >= 0]
    return (
        prod(sizes) * max(1, int(helper.tensor_dtype_to_np_dtype(kind).itemsize)) if len(sizes) == len(shape) else None
    )


def _changes_nothing(node: onnx.NodeProto, known: dict[str, np.ndarray]) -> bool:
    if node.op_type == "Dropout":
        training = node.input[2] if len(node.input) > 2 else ""
        return training == "" or (training in known and not known[training])
    return node.op_type == "Identity"
