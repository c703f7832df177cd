"""Valid ONNX files and seeded mutations of them, for `mutants.py`."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
from mutants import HOSTILE, MARKER, NUMBERS, bytes_changed
from onnx import TensorProto, helper, numpy_helper

_INTS = [number for number in NUMBERS if isinstance(number, int) and abs(number) < 2**63]


def onnx_seeds() -> dict[str, bytes]:
    """A dense network, and a convolutional one with shapes computed in the graph."""
    random_ = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(random_.standard_normal(shape).astype(np.float32), name)

    def ints(name: str, *values: int) -> TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    node = helper.make_node
    dense = [
        node("Gemm", ["x", "w", "b"], ["h"], "first", transB=1), node("Relu", ["h"], ["r"], "/layers.0/Relu"),
        node("MatMul", ["r", "v"], ["y"], "last"),
    ]  # fmt: skip
    image = [
        node("Conv", ["x", "k"], ["c"], "conv", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", ["c"], ["r"], "relu"),
        node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["p"], ["s"], "shape"),
        node("Gather", ["s", "zero"], ["n"], "batch"), node("Concat", ["n", "rest"], ["to"], "sizes", axis=0),
        node("Reshape", ["p", "to"], ["f"], "reshape"), node("ConstantOfShape", ["size"], ["z"], "zeros"),
        node("Add", ["f", "z"], ["a"], "add"), node("Clip", ["a", "low", "high"], ["y"], "clip"),
    ]  # fmt: skip
    bounds = [numpy_helper.from_array(np.float32(value), name) for name, value in (("low", -1), ("high", 1))]
    return {
        "dense": _model(dense, ["N", 3], [weight("w", 4, 3), weight("b", 4), weight("v", 4, 2)]),
        "image": _model(
            image,
            [1, 1, 4, 4],
            [weight("k", 2, 1, 3, 3), ints("zero", 0), ints("rest", 8), ints("size", 8), *bounds],
        ),
    }


def _model(nodes: list[Any], shape: list[Any], weights: list[TensorProto]) -> bytes:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    result.type.tensor_type.shape.SetInParent()
    graph = helper.make_graph(nodes, "network", [source], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def onnx_mutate(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One or a few changes of the model, or of its bytes."""
    if chance.random() < 0.1:
        return bytes_changed(chance, data, others)
    model = onnx.ModelProto.FromString(data)
    changes = [_rename, _operator, _attribute, _tensor, _wires, _insert, _external, _versions, _entries]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        chance.choice(changes)(chance, model)
    return bytes(model.SerializeToString())


def _text(chance: random.Random) -> str:
    return chance.choice([text for text in HOSTILE if text.isprintable() or "\ud7ff" not in text])


def _rename(chance: random.Random, model: onnx.ModelProto) -> None:
    graph, text = model.graph, _text(chance)
    kind = chance.randrange(5)
    if kind == 0:
        chance.choice(graph.node).name = text
    elif kind == 1:
        graph.name, graph.doc_string, model.producer_name, model.domain = [text] * 4
        model.metadata_props.add(key=text, value=text)
    elif kind == 2:
        model.functions.add(name=chance.choice(["Relu", text]), domain=chance.choice(["", text]))
    elif kind == 3:
        chance.choice(graph.node).domain = text
        model.opset_import.add(domain=text, version=1)
    else:
        old = chance.choice([name for node in graph.node for name in (*node.input, *node.output)] or ["x"])
        for node in graph.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    names[index] = text if name == old else name
        for entry in (*graph.initializer, *graph.input, *graph.output):
            entry.name = text if entry.name == old else entry.name


def _operator(chance: random.Random, model: onnx.ModelProto) -> None:
    schemas = [schema.name for schema in onnx.defs.get_all_schemas()]
    chance.choice(model.graph.node).op_type = chance.choice([chance.choice(schemas), _text(chance)])


def _attribute(chance: random.Random, model: onnx.ModelProto) -> None:
    node = chance.choice(model.graph.node)
    known = list(onnx.defs.get_schema(node.op_type, 13).attributes) if onnx.defs.has(node.op_type, 13) else []
    name = chance.choice([*known, *(attribute.name for attribute in node.attribute), _text(chance)])
    numbers = [chance.choice(_INTS) for _ in range(chance.choice((0, 1, 2, 4, 8)))]
    array = numpy_helper.from_array(np.zeros(2, np.float32), _text(chance))
    value = chance.choice(
        [chance.choice(_INTS), 0.5, float("nan"), _text(chance), [1, 1], numbers, [0.5], ["a", "b"], array]
    )
    if chance.random() < 0.3 and node.attribute:
        node.attribute.pop(chance.randrange(len(node.attribute)))
    try:
        node.attribute.append(helper.make_attribute(name, value))
    except (ValueError, TypeError):
        node.attribute.add(name=name)


def _tensor(chance: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = chance.choice(model.graph.initializer)
    kind = chance.randrange(4)
    if kind == 0:
        tensor.dims[:] = [chance.choice(_INTS) for _ in range(chance.randrange(5))]
    elif kind == 1:
        tensor.data_type = chance.randrange(30)
    elif kind == 2:
        tensor.raw_data = bytes(chance.choice((0, 1, 8, 4096)))
    else:
        array = np.array([chance.choice(_INTS) for _ in range(chance.randrange(1, 4))], np.int64)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _wires(chance: random.Random, model: onnx.ModelProto) -> None:
    nodes = model.graph.node
    one, other = chance.choice(nodes), chance.choice(nodes)
    kind = chance.randrange(5)
    if kind == 0 and one.input:
        one.input[chance.randrange(len(one.input))] = chance.choice([*other.output, *other.input, "", "x"])
    elif kind == 1:
        nodes.remove(one)
        nodes.insert(chance.randrange(len(nodes) + 1), onnx.NodeProto.FromString(one.SerializeToString()))
    elif kind == 2 and len(nodes) > 1:
        nodes.remove(one)
    elif kind == 3:
        one.output.append(chance.choice(["", "more", *other.output]))
    else:
        one.input.extend([chance.choice(["x", "", "more"])] * chance.choice((1, 3, 100)))


def _insert(chance: random.Random, model: onnx.ModelProto) -> None:
    """Something in front of a node that makes much, runs long, or is not the same twice."""
    node = chance.choice(model.graph.node)
    if not node.input:
        return
    place = chance.randrange(len(node.input))
    size = chance.choice(_INTS)
    constant = numpy_helper.from_array(np.array([abs(size), chance.choice((1, 2, 2**20))], np.int64), "planted_sizes")
    three = [numpy_helper.from_array(np.array(value, np.int64), f"planted_{value}") for value in (0, 1)]
    limit = numpy_helper.from_array(np.array(size, np.int64), "planted_limit")
    model.graph.initializer.extend([constant, *three, limit])
    made = ["planted_output"]
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value_float=1.0)], MARKER, [], [])
    planted = chance.choice(
        [
            helper.make_node("ConstantOfShape", ["planted_sizes"], made),
            helper.make_node("Expand", [node.input[place], "planted_sizes"], made),
            helper.make_node("Tile", [node.input[place], "planted_sizes"], made),
            helper.make_node("Range", ["planted_0", "planted_limit", "planted_1"], made),
            helper.make_node("RandomNormal", [], made, shape=[2, 2]),
            helper.make_node("RandomUniform", [], made, shape=[2**15, 2**16]),
            helper.make_node("Pad", [node.input[place], "planted_sizes"], made),
            helper.make_node("OneHot", ["planted_sizes", "planted_limit", "planted_sizes"], made),
            helper.make_node("If", [node.input[place]], made, then_branch=branch, else_branch=branch),
            helper.make_node("Loop", ["planted_limit", "", node.input[place]], made, body=branch),
            helper.make_node("Resize", [node.input[place], "", "", "planted_sizes"], made),
            helper.make_node("Einsum", [node.input[place]], made, equation=_text(chance)),
        ]
    )
    node.input[place] = made[0]
    model.graph.node.insert(0, planted)


def _external(chance: random.Random, model: onnx.ModelProto) -> None:
    if not model.graph.initializer:
        return
    tensor = chance.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    places = ["/etc/passwd", "../canary", f"../../{MARKER}", "/dev/zero", "link", "", ".", "mutant.onnx", _text(chance)]
    tensor.external_data.add(key="location", value=chance.choice(places))
    if chance.random() < 0.5:
        tensor.external_data.add(key=chance.choice(["offset", "length"]), value=str(chance.choice([*_INTS, MARKER])))
    if chance.random() < 0.8:
        tensor.ClearField("raw_data")


def _versions(chance: random.Random, model: onnx.ModelProto) -> None:
    if chance.random() < 0.3:
        model.ir_version = chance.choice(_INTS)
    elif model.opset_import:
        model.opset_import[0].version = chance.choice([*range(25), *_INTS])
    if chance.random() < 0.2:
        model.opset_import.add(domain=chance.choice(["", "ai.onnx", _text(chance)]), version=chance.randrange(25))


def _entries(chance: random.Random, model: onnx.ModelProto) -> None:
    entry = chance.choice([*model.graph.input, *model.graph.output] or [model.graph.input.add()])
    kind = chance.randrange(4)
    if kind == 0:
        entry.type.tensor_type.elem_type = chance.randrange(25)
    elif kind == 1 and entry.type.tensor_type.shape.dim:
        axis = chance.choice(entry.type.tensor_type.shape.dim)
        if chance.random() < 0.5:
            axis.dim_value = chance.choice(_INTS)
        else:
            axis.dim_param = _text(chance)
    elif kind == 2:
        model.graph.input.add(name=chance.choice(["x", _text(chance), "w"]))
    else:
        entry.type.Clear()
