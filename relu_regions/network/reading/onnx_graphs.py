"""ONNX graphs before conversion: a first axis of any size, and constants folded."""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import numpy as np
import onnx
from onnx import helper, numpy_helper

from relu_regions.network.reading.onnx_folding import Shape, fold_constants, shapes_of
from relu_regions.network.reading.onnx_misread import is_resized_wrongly
from relu_regions.network.reading.onnx_rebuilding import describe_nodes
from relu_regions.network.reading.operations import UnsupportedOperation

__all__ = ["folded", "with_free_batch"]


def with_free_batch(model: onnx.ModelProto, rows: int, spare_bytes: int) -> onnx.ModelProto:
    """The same network for a first axis of any size, with all that does not depend on the input's values folded.

    Files for a batch of fixed size write that size into their reshapes. Whether the first axis carries the batch all
    the way is seen in the shapes that are inferred for two other sizes of it.

    Args:
        model: with one input and one output, as rebuilt.
        rows: the size of the first axis in the file, 1 where it is free.
        spare_bytes: how much folded constants may take beyond the model's own tensors.

    Raises:
        ValueError: the first axis does not stay the batch, or constants take too much.
        UnsupportedOperation: a constant is made by an operator that is not folded.
        onnx.shape_inference.InferenceError: the shapes in the file contradict each other.
    """
    model = folded(model, rows, spare_bytes)
    shapes = shapes_of(model.graph)
    _narrow_equal_rows(model.graph, shapes, rows)
    rewritten = [
        node for node in model.graph.node if node.op_type == "Reshape" and _free_reshape(model, node, shapes, rows)
    ]
    joined = _joined_constants(model.graph, shapes)
    try:
        two, three = (shapes_of(_inferred(_at_batch(model, size, joined)).graph) for size in (rows + 1, rows + 2))
    except onnx.shape_inference.InferenceError as error:
        raise ValueError(f"the network works for a batch of {rows} only: {error}") from error
    carries = {
        name for name, shape in two.items() if shape[:1] == [rows + 1] and three.get(name) == [rows + 2, *shape[1:]]
    }
    mixing = [node for node in rewritten if node.input[0] not in carries]
    if mixing:
        raise ValueError(f"the batch is no longer the first axis at {describe_nodes(mixing)}")
    output = model.graph.output[0].name
    if output not in carries:
        raise ValueError(
            f"the output {output!r} does not keep the batch as its first axis: for {rows + 1} it is {two.get(output)}"
        )
    return _inferred(_at_batch(model, "N")) if not joined else _at_batch(model, "N")


def folded(model: onnx.ModelProto, rows: int, spare_bytes: int) -> onnx.ModelProto:
    """The network at a first axis of this size, its constants folded, its shapes inferred; errors as above."""
    model = _at_batch(model, rows)
    _check_splits(model.graph)
    fold_constants(model, spare_bytes)
    _check_layouts(model.graph)
    model = _inferred(_at_batch(model, rows))
    _spell_out_padding(model.graph)
    _check_resizing(model.graph)
    return model


_MOST_RESIZED = 1 << 20


def _check_resizing(graph: onnx.GraphProto) -> None:
    """Refuse resizing that torch, and so onnx2fx, does otherwise, and state scales in place of sizes."""
    shapes, constants = shapes_of(graph), {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Resize", "Upsample"):
            given, made = (
                [size for size in shapes.get(name) or [] if isinstance(size, int)]
                for name in (node.input[0], node.output[0])
            )
            if max(made, default=0) > _MOST_RESIZED:
                raise ValueError(
                    f"{describe_nodes([node])} makes an axis of {max(made):,} numbers; at most {_MOST_RESIZED:,} are "
                    "compared with what torch takes"
                )
            if len(given) != len(made) or is_resized_wrongly(node, given, made, constants):
                raise UnsupportedOperation(
                    f"{describe_nodes([node])} resizes as torch does not. Read are whole sizes by half pixels or "
                    "aligned corners, and of the nearest numbers those that torch takes."
                )
            scales = np.array([after / before for before, after in zip(given, made)], np.float32)
            if len(node.input) > 3 and [int(before * float(s)) for before, s in zip(given, scales)] == made:
                # Among the sizes would be that of the batch.
                graph.initializer.append(numpy_helper.from_array(scales, f"{node.output[0]}_scales"))
                inputs = [node.input[0], "", f"{node.output[0]}_scales"]
                del node.input[:]
                node.input.extend(inputs)


def _spell_out_padding(graph: onnx.GraphProto) -> None:
    """Padding of some axes becomes padding of all, by 0 where nothing is said: onnx2fx does not know the former."""
    shapes, constants = shapes_of(graph), {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Pad" or len(node.input) < 4 or not node.input[3]:
            continue
        given, axes, shape = constants.get(node.input[1]), constants.get(node.input[3]), shapes.get(node.input[0])
        if given is None or axes is None or shape is None:
            raise UnsupportedOperation(f"{describe_nodes([node])} pads axes that the input decides.")
        whole = np.zeros((2, len(shape)), np.int64)
        whole[:, numpy_helper.to_array(axes).reshape(-1)] = numpy_helper.to_array(given).reshape(2, -1)
        graph.initializer.append(numpy_helper.from_array(whole.reshape(-1), f"{node.output[0]}_pads"))
        inputs = [node.input[0], f"{node.output[0]}_pads", node.input[2]]
        del node.input[:]
        node.input.extend(inputs)


# Operators that put numbers of equal places together, so that a constant of one row does what one of equal rows does.
_SIDE_BY_SIDE = {"Add", "Concat", "Div", "Max", "Mean", "Min", "Mul", "Sub", "Sum", "Where"}


def _joined_constants(graph: onnx.GraphProto, shapes: dict[str, Shape]) -> set[str]:
    """The constants of one row that are joined to rows, along another axis than that of the batch."""
    constants = {tensor.name for tensor in graph.initializer if list(tensor.dims[:1]) == [1]}
    joined: set[str] = set()
    for node in graph.node:
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if node.op_type == "Concat" and axis % len(shapes.get(node.output[0]) or [1]):
            joined.update(constants.intersection(node.input))
    return joined


def _narrow_equal_rows(graph: onnx.GraphProto, shapes: dict[str, Shape], rows: int) -> None:
    """Keep one row of constants that have as many equal rows as the batch."""
    if rows == 1:
        return
    equal = {}
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor) if list(tensor.dims[:1]) == [rows] else None
        if array is not None and (array == array[:1]).all():
            equal[tensor.name] = array[:1]
    narrowed: set[str] = set()
    for node in graph.node:
        rank = len(shapes.get(node.output[0]) or [])
        along = any(attribute.name == "axis" and attribute.i in (0, -rank) for attribute in node.attribute)
        for place, name in enumerate(node.input):
            if node.op_type in _SIDE_BY_SIDE and not along and name in equal and rank == equal[name].ndim:
                narrowed.add(name)
                node.input[place] = f"{name}_row"
    for name in sorted(narrowed):
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(equal[name]), f"{name}_row"))


# Operators whose inputs after the first say how the first is laid out, by a few numbers for each of its axes.
_LAID_OUT = {
    "ConstantOfShape", "Expand", "Pad", "Reshape", "Resize", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze",
    "Upsample", "ReduceL1", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
}  # fmt: skip
_MOST_SIZES = 128  # two for each of 64 axes, which is as many as torch has
_MOST_PARTS = 1024  # of a split, whose sizes are no axes


def _check_layouts(graph: onnx.GraphProto) -> None:
    """Refuse layouts of thousands of axes: onnx takes the square of their number to infer a shape."""
    numbers = {tensor.name: prod(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        sizes = max((numbers.get(name, 0) for name in node.input[1:]), default=0)
        most = _MOST_PARTS if node.op_type == "Split" else _MOST_SIZES
        if node.op_type in _LAID_OUT and sizes > most:
            raise ValueError(f"{describe_nodes([node])} is laid out by {sizes:,} numbers; at most {most:,} are read")


def _check_splits(graph: onnx.GraphProto) -> None:
    """Refuse splits into other numbers of parts than outputs: onnx infers a shape for every part."""
    for node in graph.node:
        parts = next((one.i for one in node.attribute if one.name == "num_outputs"), len(node.output))
        if node.op_type == "Split" and parts != len(node.output):
            raise ValueError(f"{describe_nodes([node])} has {len(node.output)} outputs, and is to have {parts:,}")


def _free_reshape(model: onnx.ModelProto, node: onnx.NodeProto, shapes: dict[str, Shape], rows: int) -> bool:
    """Let a reshape that keeps a first axis of the batch's size keep one of any size."""
    source, target = shapes.get(node.input[0]), shapes.get(node.output[0])
    if not source or not target or source[0] != rows or target[0] != rows:
        return False
    # 0 copies the size of the input's first axis, the batch; the other sizes are known.
    sizes = numpy_helper.from_array(np.array([0, *target[1:]], np.int64), f"{node.output[0]}_sizes")
    model.graph.initializer.append(sizes)
    node.input[1] = sizes.name
    for attribute in [attribute for attribute in node.attribute if attribute.name == "allowzero"]:
        node.attribute.remove(attribute)
    return True


def _at_batch(model: onnx.ModelProto, size: int | str, spread: Collection[str] = ()) -> onnx.ModelProto:
    """A copy for a first axis of that size (a name leaves it free), without shapes in between.

    Args:
        spread: constants of one row that count as having a row for each member; their numbers are left out.
    """
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    graph = twin.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0]
    batch.Clear()
    if isinstance(size, int):
        batch.dim_value = size
    else:
        batch.dim_param = size
    for tensor in [tensor for tensor in graph.initializer if tensor.name in spread]:
        shape = [size, *tensor.dims[1:]]
        graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
        graph.initializer.remove(tensor)
    # What the file says of the shapes in between and at the end was true at its own batch size.
    del graph.value_info[:]
    for output in graph.output:
        output.type.tensor_type.ClearField("shape")
    return twin


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """With shapes as far as they follow from shapes; what follows from numbers is a constant by now."""
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)
