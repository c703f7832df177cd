"""ONNX graphs before conversion: a first axis of any size, and constants folded."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
from onnx import numpy_helper

from relu_regions.network.reading.onnx_folding import Shape, fold_constants, shapes_of
from relu_regions.network.reading.onnx_rebuilding import describe_nodes

__all__ = ["with_free_batch"]


def with_free_batch(model: onnx.ModelProto, spare_bytes: int) -> onnx.ModelProto:
    """The same network for a first axis of any size, with all that does not depend on the input's values folded.

    Files for a batch of 1 write that 1 into their reshapes. Whether the first axis carries the batch all the way is
    seen in the shapes that are inferred for two sizes of it.

    Args:
        model: with one input and one output, as rebuilt.
        spare_bytes: how much folded constants may take beyond the model's own tensors.

    Raises:
        ValueError: the first axis does not stay the batch, or constants take too much.
        UnsupportedOperation: a constant is made by an operator that is not folded.
        onnx.shape_inference.InferenceError: the shapes in the file contradict each other.
    """
    model = _at_batch(model, 1)
    fold_constants(model, spare_bytes)
    _check_layouts(model.graph)
    model = _inferred(_at_batch(model, 1))
    shapes = shapes_of(model.graph)
    rewritten = [node for node in model.graph.node if node.op_type == "Reshape" and _free_reshape(model, node, shapes)]
    try:
        two, three = (shapes_of(_inferred(_at_batch(model, size)).graph) for size in (2, 3))
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
    return _inferred(_at_batch(model, "N"))


# Operators whose inputs after the first say how the first is laid out, by a few numbers for each of its axes.
_LAID_OUT = {
    "ConstantOfShape", "Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze",
    "Upsample", "ReduceL1", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
}  # fmt: skip
_MOST_SIZES = 1024


def _check_layouts(graph: onnx.GraphProto) -> None:
    """Refuse layouts of thousands of axes: onnx takes the square of their number to infer a shape."""
    numbers = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        sizes = max((numbers.get(name, 0) for name in node.input[1:]), default=0)
        if node.op_type in _LAID_OUT and sizes > _MOST_SIZES:
            raise ValueError(
                f"{describe_nodes([node])} is laid out by {sizes:,} numbers; at most {_MOST_SIZES:,} are read"
            )


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


def _at_batch(model: onnx.ModelProto, size: int | str) -> onnx.ModelProto:
    """A copy for a first axis of that size (a name leaves it free), without shapes in between."""
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
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
    return twin


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """With shapes as far as they follow from shapes; what follows from numbers is a constant by now."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
