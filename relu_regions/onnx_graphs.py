"""ONNX graphs before conversion: one input, one output, a first axis of any size, and constants folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["describe_nodes", "keep_output", "name_nodes", "with_free_batch"]

Shape = list[Any]  # a size each: a name where the axis is free, None where it is unknown


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give nodes without a name one like ``Relu_3``: the operator, and its place in the graph."""
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"


def describe_nodes(nodes: Iterable[onnx.NodeProto]) -> str:
    """Operators and names for a message."""
    return ", ".join(f"{node.op_type} (node {node.name!r})" for node in nodes)


def keep_output(graph: onnx.GraphProto, name: str | None) -> None:
    """Remove all outputs but the one of this name; None where there is only one.

    Raises:
        ValueError: there are several and none is named, or the name is not among them.
    """
    names = [output.name for output in graph.output]
    if name is None and len(names) != 1:
        raise ValueError(f"the network has the outputs {names}; name one of them with output=")
    if name is not None and name not in names:
        raise ValueError(f"output={name!r} is not among the network's outputs {names}")
    kept = [output for output in graph.output if name is None or output.name == name]
    del graph.output[:]
    graph.output.extend(kept)


def with_free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network for a first axis of any size, with all that does not depend on the input's values folded.

    Files for a batch of 1 write that 1 into their reshapes. Whether the first axis carries the batch all the way is
    seen in the shapes that are inferred for two sizes of it.

    Raises:
        ValueError: there are several inputs, their sizes are not known, or the first axis does not stay the batch.
        onnx.shape_inference.InferenceError: the shapes in the file contradict each other.
    """
    model = _at_batch(model, 1)
    _fold_constants(model)
    model = _at_batch(model, 1)
    shapes = _shapes(model.graph)
    rewritten = [node for node in model.graph.node if node.op_type == "Reshape" and _free_reshape(model, node, shapes)]
    try:
        two, three = (_shapes(_at_batch(model, size).graph) for size in (2, 3))
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"the network works for a batch of 1 only: {error}") from error
    carries = {name for name, shape in two.items() if shape[:1] == [2] and three.get(name) == [3, *shape[1:]]}
    mixing = [node for node in rewritten if node.input[0] not in carries]
    if mixing:
        raise ValueError(f"the batch is no longer the first axis at {describe_nodes(mixing)}")
    output = model.graph.output[0].name
    if output not in carries:
        raise ValueError(
            f"the output {output!r} does not keep the batch as its first axis: for 2 it is {two.get(output)}"
        )
    return _at_batch(model, "N")


def _free_reshape(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict[str, Shape]) -> bool:
    """Let a reshape that keeps a first axis of 1 keep one of any size."""
    source, target = shapes.get(node.input[0]), shapes.get(node.output[0])
    if not source or not target or source[0] != 1 or target[0] != 1:
        return False
    # 0 copies the size of the input's first axis, the batch; the other sizes are known.
    sizes = numpy_helper.from_array(np.array([0, *target[1:]], np.int64), f"{node.output[0]}_sizes")
    model.graph.initializer.append(sizes)
    node.input[1] = sizes.name
    for attribute in [attribute for attribute in node.attribute if attribute.name == "allowzero"]:
        node.attribute.remove(attribute)
    return True


# ---------------------------------------------------------------- shapes


def _at_batch(model: onnx.ModelProto, size: int | str) -> onnx.ModelProto:
    """A copy with shapes inferred for a first axis of that size (a name leaves it free)."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    if len(inputs) != 1:
        raise ValueError(f"the network has the inputs {[entry.name for entry in inputs]}, expected one")
    del graph.input[:]
    graph.input.extend(inputs)  # before version 4 of the format the weights were listed as well
    twin.ir_version = max(twin.ir_version, 4)
    sizes = inputs[0].type.tensor_type.shape.dim
    if len(sizes) < 2 or sizes[0].dim_value not in (0, 1) or not all(axis.dim_value for axis in sizes[1:]):
        shown = [axis.dim_param or axis.dim_value or "?" for axis in sizes]
        raise ValueError(
            f"the input {inputs[0].name!r} has shape {shown}; expected a batch axis of size 1 or free, "
            "then axes of fixed size"
        )
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    batch.Clear()
    if isinstance(size, int):
        batch.dim_value = size
    else:
        batch.dim_param = size
    # What the file says of the shapes in between and at the end was true at its own batch size.
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(twin, strict_mode=True, data_prop=True)


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Each tensor's shape as far as it is inferred."""
    shapes: dict[str, Shape] = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        kind = entry.type.tensor_type
        if kind.HasField("shape"):
            axes = kind.shape.dim
            shapes[entry.name] = [a.dim_value if a.HasField("dim_value") else a.dim_param or None for a in axes]
    return shapes


# ---------------------------------------------------------------- constants


def _fold_constants(model: onnx.ModelProto) -> None:
    """Replace what does not depend on the input's values by constants, and remove nodes that change nothing."""
    graph = model.graph
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    shapes, exact = _shapes(graph), _exact_casts(graph)
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
            known.update(_evaluated(model, node, known))
        elif node.output[0] not in outputs and (node.output[0] in exact or _changes_nothing(node, known)):
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    used = {name for node in kept for name in node.input} | outputs
    del graph.node[:]
    graph.node.extend(kept)
    del graph.initializer[:]
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in known.items() if name in used)


def _evaluated(
    model: onnx.ModelProto, node: onnx.NodeProto, known: dict[str, np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """The named outputs of a node whose inputs are all known."""
    feeds = {name: known[name] for name in node.input if name}
    names = [name for name in node.output if name]
    inputs, outputs = ([helper.make_empty_tensor_value_info(name) for name in several] for several in (feeds, names))
    alone = helper.make_model(helper.make_graph([node], "constant", inputs, outputs), opset_imports=model.opset_import)
    return zip(names, map(np.asarray, ReferenceEvaluator(alone).run(None, feeds)))


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
